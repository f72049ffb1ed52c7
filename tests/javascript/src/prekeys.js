// Section 3: signed prekeys and batches of one-time prekeys.
import { compare, concat, require } from "./bytes.js";
import { MAX, field, lst, pae, readFields, readU64, splitSigned, u64, unlst } from "./pae.js";
import { sign, verify } from "./primitives.js";

/** The lowest id of a one-time prekey. */
export const FIRST_ONETIME = 1n << 62n;
const MAX_BATCH = 100;
const KEY = 32;
const SPK = {
  mesh_id: field.bytes(32),
  device: field.bytes(32),
  prekey_id: field.number(),
  pub: field.bytes(KEY),
  made_ms: field.number(),
};
const BATCH = {
  mesh_id: field.bytes(32),
  device: field.bytes(32),
  first_id: field.number(FIRST_ONETIME, MAX - BigInt(MAX_BATCH)),
  made_ms: field.number(),
  pubs: readPubs,
};

function readPubs(data) {
  const count = data.length / KEY;
  require(Number.isInteger(count) && count >= 1 && count <= MAX_BATCH, "a batch has 1 to 100 keys of 32 bytes");
  return Array.from({ length: count }, (_, i) => data.subarray(i * KEY, (i + 1) * KEY));
}

export function readPrekey(data) {
  const { fields, signed, tail } = splitSigned(data, "prekey-spk", 5);
  return { ...readFields(fields, SPK), sig: tail, signed };
}

/** Throws Refused unless the prekey is this device's, for this mesh. */
export async function verifyPrekey(prekey, meshId, device) {
  require(compare(prekey.mesh_id, meshId) === 0 && compare(prekey.device, device) === 0, "another device's prekey");
  await verify(device, prekey.signed, prekey.sig);
}

export async function makePrekey(seed, { mesh_id, device, prekey_id, pub, made_ms }) {
  const signed = pae("prekey-spk", mesh_id, device, u64(prekey_id), pub, u64(made_ms));
  return concat(signed, await sign(seed, signed));
}

export function readBatch(data) {
  const { fields, signed, tail } = splitSigned(data, "prekey-opk-batch", 5);
  return { ...readFields(fields, BATCH), sig: tail, signed };
}

export async function verifyBatch(batch, meshId, device) {
  require(compare(batch.mesh_id, meshId) === 0 && compare(batch.device, device) === 0, "another device's prekeys");
  await verify(device, batch.signed, batch.sig);
}

export async function makeBatch(seed, { mesh_id, device, first_id, made_ms, pubs }) {
  const signed = pae("prekey-opk-batch", mesh_id, device, u64(first_id), u64(made_ms), concat(...pubs));
  return concat(signed, await sign(seed, signed));
}

/** `{prekey_id, pub, batch}` of what a broker hands out; the batch is still to be verified. */
export function readGiven(data) {
  const [place, encoded] = unlst(data, 2, 2);
  const batch = readBatch(encoded);
  const index = readU64(place);
  require(index < BigInt(batch.pubs.length), "a place behind the last key of the batch");
  return { prekey_id: batch.first_id + index, pub: batch.pubs[Number(index)], batch };
}

export function makeGiven(place, batch) {
  return lst(u64(place), batch);
}
