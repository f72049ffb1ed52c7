// Section 5: what each type of record may do, and who may sign it.
import { equal, hex, require } from "./bytes.js";
import { includesAll, rank } from "./rights.js";

const MAX_MEMBER_DEVICES = 10;
const MAX_SIGNERS = 64;

function openInvite(state, id) {
  const invite = state.invites.get(hex(id));
  require(invite !== undefined && invite.open, "no such open invite");
  return invite;
}

/** `rule(state, record, body)` of each type but genesis; each throws Refused or changes the state. */
export const RULES = {
  epoch(state, record, body) {
    if (!state.awaiting) state.actor(record);
    require(body.epoch === state.epoch + 1n, "epochs are numbered without gaps");
    state.epoch = body.epoch;
    state.commitments.set(body.epoch, body.kc);
  },

  add_member(state, record, body) {
    const [member, device] = [hex(body.member_id), hex(body.device)];
    state.requireGrant(state.actor(record, "invite"), body.role);
    require(!state.members.has(member), "a member id is listed once");
    state.requireNewDevice(device);
    if (body.invite_id.length) {
      const invite = openInvite(state, body.invite_id);
      require(rank(body.role) <= rank(invite.role), "a role above the invite's");
      invite.uses += 1n;
      invite.open = invite.uses < invite.max_uses;
    }
    state.addMember(member, body.role, body.sealed_name, record.seq);
    state.addDevice(device, member, hex(record.signer), record.seq);
  },

  add_device(state, record, body) {
    const member = state.member(body.member_id);
    const active = state.activeOf(member).length;
    if (!state.isOwn(record, member)) {
      require(active === 0, "a member with active devices adds his own");
      state.manager(record, member);
    }
    state.requireNewDevice(hex(body.device));
    require(active < MAX_MEMBER_DEVICES, "too many devices of a member");
    state.addDevice(hex(body.device), member.id, hex(record.signer), record.seq);
  },

  invite_open(state, record, body) {
    state.requireGrant(state.actor(record, "invite"), body.role);
    require(!state.inviteKeys.has(hex(body.invite_pub)), "an invite key is listed once");
    state.inviteKeys.add(hex(body.invite_pub));
    state.invites.set(hex(record.hash), { id: hex(record.hash), ...body, uses: 0n, open: true });
  },

  invite_close(state, record, body) {
    const actor = state.actor(record, "invite");
    const invite = openInvite(state, body.invite_id);
    require(rank(invite.role) <= actor.rank, "an invite to a higher role");
    invite.open = false;
  },

  remove_member(state, record, body) {
    const member = state.members.get(hex(body.member_id));
    require(member !== undefined && (!member.removed || (body.ban && !member.banned)), "no such member");
    state.manager(record, member);
    if (member.removed) {
      member.banned = true;
      return;
    }
    require(!state.isOwn(record, member), "nobody removes himself");
    state.endDevices(record, state.activeOf(member), false);
    Object.assign(member, { removed: record.seq, banned: body.ban });
  },

  unban(state, record, body) {
    const member = state.members.get(hex(body.member_id));
    require(member?.banned === true, "not banned");
    state.manager(record, member);
    member.banned = false;
  },

  revoke_device(state, record, body) {
    const target = state.activeDevice(body.device);
    const member = state.members.get(target.member);
    const most = state.isOwn(record, member) ? rank(member.role) : state.manager(record, member).rank;
    const kept = new Set(body.kept.map(hex));
    const { added, going } = state.along(target.id, kept);
    require(includesAll([...added], [...kept]), "keeps what would not go");
    require(!going.has(hex(record.signer)), "its signer would go");
    for (const id of going) require(rank(state.ownerOf(id).role) <= most, "takes along a higher role's device");
    state.requireOwnerLeft(record, going);
    state.endDevices(record, going, true);
  },

  add_signer(state, record, body) {
    const target = state.activeDevice(body.device);
    state.manager(record, state.members.get(target.member));
    require(!state.signers.has(target.id) && state.signers.size < MAX_SIGNERS, "a signer already, or too many");
    state.signers.add(target.id);
  },

  remove_signer(state, record, body) {
    const id = hex(body.device);
    require(state.signers.has(id), "not a signer");
    state.manager(record, state.ownerOf(id));
    state.requireOwnerLeft(record, new Set([id]));
    state.signers.delete(id);
  },

  set_role(state, record, body) {
    const member = state.member(body.member_id);
    state.requireGrant(state.manager(record, member), body.role);
    if (body.role !== "owner") state.requireOwnerLeft(record, new Set(), member);
    Object.assign(member, { role: body.role, policy: null });
  },

  policy(state, record, body) {
    const member = state.member(body.member_id);
    const actor = state.manager(record, member);
    require(member.role !== "owner" && includesAll(actor.permissions, body.permissions), "a policy that may not be");
    member.policy = body.permissions;
  },

  set_name(state, record, body) {
    const member = state.member(body.member_id);
    if (!state.isOwn(record, member)) state.manager(record, member);
    member.sealedName = body.sealed_name;
  },

  broker_key(state, record, body) {
    state.actor(record, "manage_permissions");
    require(!state.devices.has(hex(body.key)) && hex(body.key) !== state.recovery, "a key with another use");
    Object.assign(state, { broker: hex(body.key), urls: body.urls });
  },

  snapshot(state, record, body) {
    state.actor(record);
    require(state.snapshot === null || body.log_seq > state.snapshot.log_seq, "not newer than the last snapshot");
    state.snapshot = body;
  },

  resolve(state, record, body) {
    state.actor(record);
    require(equal(body.head, record.prev_hash), "names another head than its own");
  },
};
