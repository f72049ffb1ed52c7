// Section 4: tips, and the head of the log.
import { compare, concat, require, textBytes } from "./bytes.js";
import { field, lst, pae, readFields, readList, splitSigned, u64 } from "./pae.js";
import { sha256, sign, verify } from "./primitives.js";

const REF = {
  chain_seq: field.number(),
  chain_hash: field.bytes(32),
  log_seq: field.number(),
  log_head: field.bytes(32),
};
const TIP = { mesh_id: field.bytes(32), ...REF };

/** The reader of a nested TipRef. */
export function readTipRef(data) {
  return readList(data, REF);
}

function refFields(tip) {
  return [u64(tip.chain_seq), tip.chain_hash, u64(tip.log_seq), tip.log_head];
}

export function makeTipRef(tip) {
  return lst(...refFields(tip));
}

/** The tip of this mesh that this broker signed. */
export async function openTip(data, meshId, brokerKey) {
  const { fields, signed, tail } = splitSigned(data, "tip", 5);
  const tip = readFields(fields, TIP);
  require(compare(tip.mesh_id, meshId) === 0, "a tip of another mesh");
  await verify(brokerKey, signed, tail);
  return tip;
}

export async function makeTip(seed, meshId, ref) {
  const signed = pae("tip", meshId, ...refFields(ref));
  return concat(signed, await sign(seed, signed));
}

/** The log's item for the chain record `seq`. */
export function marker(seq, chainHash) {
  return lst(textBytes("marker"), u64(seq), chainHash);
}

export function logHead(meshId, number, previous, item) {
  return sha256(pae("log-head", meshId, u64(number), previous, item));
}
