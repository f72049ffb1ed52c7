// Section 5: roles, and what each may do.

/** From the least to the most. */
export const ROLES = ["member", "admin", "owner"];
export const PERMISSIONS = [
  "delete_mesh",
  "deploy_mcp",
  "invite",
  "manage_files",
  "manage_permissions",
  "manage_vault",
  "manage_watches",
  "manage_webhooks",
  "send",
  "use_tools",
  "write_state",
];
const OF_ROLE = {
  owner: PERMISSIONS,
  admin: PERMISSIONS.filter((each) => each !== "delete_mesh"),
  member: ["send", "use_tools", "write_state"],
};

export function rank(role) {
  return ROLES.indexOf(role);
}

export function permissionsOf(role) {
  return OF_ROLE[role];
}

export function includesAll(all, some) {
  return some.every((each) => all.includes(each));
}
