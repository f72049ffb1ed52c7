// Section 5: what a verified chain says, while records are added to it.
import { Refused, hex, require } from "./bytes.js";
import { PERMISSIONS, includesAll, permissionsOf, rank } from "./rights.js";

const MAX_DEVICES = 10_000;

/** Members, devices and invites by their hexadecimal ids. */
export class State {
  constructor(meshId, record, genesis) {
    const [first, member] = [hex(genesis.device), hex(genesis.member_id)];
    this.meshId = meshId;
    this.recovery = hex(genesis.recovery_pub);
    this.broker = hex(genesis.broker_key);
    this.urls = genesis.broker_urls;
    this.members = new Map();
    this.devices = new Map();
    this.invites = new Map();
    this.inviteKeys = new Set();
    this.signers = new Set([first]);
    this.epoch = 0n;
    this.commitments = new Map();
    this.snapshot = null;
    this.addMember(member, "owner", genesis.sealed_member_name, record.seq);
    this.addDevice(first, member, first, record.seq);
  }

  /** A copy, so that a chain that is refused leaves no trace. */
  copy() {
    const made = Object.assign(Object.create(State.prototype), this);
    for (const name of ["devices", "invites"]) made[name] = new Map([...this[name]].map(([id, each]) => [id, { ...each }]));
    made.members = new Map([...this.members].map(([id, each]) => [id, { ...each, devices: [...each.devices] }]));
    made.commitments = new Map(this.commitments);
    made.inviteKeys = new Set(this.inviteKeys);
    made.signers = new Set(this.signers);
    return made;
  }

  addMember(id, role, sealedName, seq) {
    this.members.set(id, { id, role, sealedName, policy: null, devices: [], added: seq, removed: 0n, banned: false });
  }

  addDevice(id, member, by, seq) {
    this.members.get(member).devices.push(id);
    this.devices.set(id, { id, member, by, active: true, revoked: false, added: seq, ended: 0n });
  }

  permissions(member) {
    if (member.removed) return [];
    return member.role === "owner" || member.policy === null ? permissionsOf(member.role) : member.policy;
  }

  /** The member whose active device this is, or undefined. */
  ownerOf(device) {
    const found = this.devices.get(device);
    return found?.active ? this.members.get(found.member) : undefined;
  }

  /** A member of now. */
  member(id) {
    const found = this.members.get(hex(id));
    require(found !== undefined && !found.removed, "no such member");
    return found;
  }

  activeDevice(id) {
    const found = this.devices.get(hex(id));
    require(found?.active === true, "no such active device");
    return found;
  }

  activeOf(member) {
    return member.devices.filter((id) => this.devices.get(id).active);
  }

  /** The signer or the recovery key, with this permission where one is named. */
  actor(record, permission) {
    const signer = hex(record.signer);
    if (signer === this.recovery) return { rank: rank("owner"), permissions: PERMISSIONS };
    const member = this.ownerOf(signer);
    require(member !== undefined && this.signers.has(signer), "signed by a key that may not sign it");
    const permissions = this.permissions(member);
    require(permission === undefined || permissions.includes(permission), "without a permission");
    return { rank: rank(member.role), permissions };
  }

  /** An actor who may change this member's rights. */
  manager(record, member) {
    const actor = this.actor(record, "manage_permissions");
    require(rank(member.role) <= actor.rank, "acts on a higher role");
    return actor;
  }

  isOwn(record, member) {
    return this.ownerOf(hex(record.signer)) === member;
  }

  requireGrant(actor, role) {
    require(rank(role) <= actor.rank && includesAll(actor.permissions, permissionsOf(role)), "grants too much");
  }

  requireNewDevice(id) {
    const known = this.devices.get(id);
    require(id !== this.recovery && id !== this.broker, "the key of the recovery or of the broker");
    if (known === undefined) require(this.devices.size < MAX_DEVICES, "too many devices");
    else require(!known.active && !known.revoked && !this.members.get(known.member).banned, "a device listed already");
  }

  /** Rule 14: without these signers, and with `lowered` no owner, one of an owner is left if there was one. */
  requireOwnerLeft(record, without, lowered) {
    if (hex(record.signer) === this.recovery) return;
    const owners = [...this.signers].filter((id) => this.ownerOf(id)?.role === "owner");
    const left = owners.filter((id) => !without.has(id) && this.devices.get(id).member !== lowered?.id);
    if (owners.length && !left.length) throw new Refused("no signer of an owner would be left");
  }

  /** Take active devices out, and close the open invites. */
  endDevices(record, ids, revoked) {
    for (const id of ids) {
      Object.assign(this.devices.get(id), { active: false, revoked, ended: record.seq });
      this.signers.delete(id);
    }
    for (const invite of this.invites.values()) invite.open = false;
  }

  /** `{added, going}` of a revocation: what came by `add_device` from what goes, and all that goes. */
  along(first, kept) {
    const [added, going] = [new Set(), new Set([first])];
    const inOrder = [...this.devices.values()].sort((one, other) => (one.added < other.added ? -1 : 1));
    for (const each of inOrder) {
      if (!each.active || !going.has(each.by) || this.members.get(each.member).added === each.added) continue;
      added.add(each.id);
      if (!kept.has(each.id)) going.add(each.id);
    }
    return { added, going };
  }
}
