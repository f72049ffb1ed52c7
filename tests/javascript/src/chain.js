// Section 5: the records of the chain, as bytes.
import { Refused, compare, readText, require, textBytes } from "./bytes.js";
import { field, lst, pae, readFields, readList, splitSigned, u64, unlst } from "./pae.js";
import { sha256, sign, verify } from "./primitives.js";
import { PERMISSIONS, ROLES } from "./rights.js";

export const MAX_RECORD = 4_096;
const NONE = new Uint8Array();
const member_id = field.bytes(16);
const device = field.bytes(32);
const hash = field.bytes(32);
const role = field.word(...ROLES);
const sealed = field.data(1, 512);

export function isBrokerUrl(url) {
  return url === "local:" || (url.length <= 256 && /^wss?:\/\/[!-~]*$/.test(url));
}

function readUrl(data) {
  const url = readText(data);
  require(isBrokerUrl(url), "a broker URL must be local:, ws:// or wss:// in printable ASCII");
  return url;
}

function rising(items, inOrder) {
  items.forEach((item, i) => require(i === 0 || inOrder(items[i - 1], item), "a list must rise"));
  return items;
}

const urls = (data) => unlst(data, 1, 8).map(readUrl);
const kept = (data) => rising(unlst(data, 0, 90).map(device), (one, next) => compare(one, next) < 0);
const permissions = (data) =>
  rising(unlst(data, 0, PERMISSIONS.length).map(field.word(...PERMISSIONS)), (one, next) => one < next);

/** The fields of each type's body, in their order. */
const BODIES = {
  genesis: {
    salt: field.bytes(16),
    member_id,
    device,
    recovery_pub: field.bytes(32),
    broker_key: field.bytes(32),
    broker_urls: urls,
    sealed_mesh_name: sealed,
    sealed_member_name: sealed,
  },
  epoch: { epoch: field.number(1n), kc: hash },
  add_member: { member_id, role, device, sealed_name: sealed, invite_id: field.optional(32) },
  add_device: { member_id, device },
  invite_open: {
    invite_pub: field.bytes(32),
    role,
    max_uses: field.number(1n, 1000n),
    expires_ms: field.number(),
    approve: field.flag,
  },
  invite_close: { invite_id: field.bytes(32) },
  remove_member: { member_id, ban: field.flag },
  unban: { member_id },
  revoke_device: { device, kept },
  add_signer: { device },
  remove_signer: { device },
  set_role: { member_id, role },
  policy: { member_id, permissions },
  set_name: { member_id, sealed_name: sealed },
  broker_key: { key: field.bytes(32), urls },
  snapshot: {
    log_seq: field.number(1n),
    log_head: hash,
    fold_version: field.number(1n),
    views_hash: hash,
    blob: hash,
  },
  resolve: { head: hash, log_seq: field.number(), log_head: hash },
};
const RECORD = {
  seq: field.number(1n),
  prev_hash: field.optional(32),
  type: field.text(1, 32),
  body: field.data(0, MAX_RECORD),
  signer: device,
  sig: field.bytes(64),
};

export function isKnown(type) {
  return Object.hasOwn(BODIES, type);
}

/** A record with its `hash`; nothing is judged yet but its shape. */
export async function readRecord(data) {
  require(data.length <= MAX_RECORD, "a record is too large");
  const record = readFields(splitSigned(data, "chain-record", 6, 0).fields, RECORD);
  require((record.prev_hash.length === 0) === (record.seq === 1n), "only the first record has no previous one");
  return { ...record, hash: await sha256(data) };
}

export function readBody(record) {
  if (!isKnown(record.type)) throw new Refused("a record of an unknown type");
  return readList(record.body, BODIES[record.type]);
}

function write(value) {
  if (typeof value === "string") return textBytes(value);
  if (typeof value === "bigint") return u64(value);
  if (typeof value === "boolean") return Uint8Array.of(value ? 1 : 0);
  return Array.isArray(value) ? lst(...value.map(write)) : value;
}

export function makeBody(type, body) {
  return lst(...Object.keys(BODIES[type]).map((name) => write(body[name])));
}

function recordFields(record) {
  return [u64(record.seq), record.prev_hash, textBytes(record.type), record.body, record.signer];
}

function signedBytes(record, meshId) {
  return pae("chain-sig", record.seq === 1n ? NONE : meshId, ...recordFields(record));
}

/** Throws Refused unless its signer signed the record for this mesh. */
export async function verifyRecord(record, meshId) {
  await verify(record.signer, signedBytes(record, meshId), record.sig);
}

/** The encoding of `{seq, prev_hash, type, body, signer}`, signed. */
export async function makeRecord(seed, record, meshId) {
  const sig = await sign(seed, signedBytes(record, meshId));
  return pae("chain-record", ...recordFields(record), sig);
}

/** The mesh that a first record begins. */
export function meshIdOf(record) {
  return sha256(pae("genesis", ...recordFields(record), record.sig));
}

export function epochCommitment(meshId, epoch, key) {
  return sha256(pae("epoch-kc", meshId, u64(epoch), key));
}

