// Section 6: a message to one device.
import { compare, concat, require, textBytes } from "./bytes.js";
import { open as hpkeOpen, seal as hpkeSeal } from "./hpke.js";
import { field, lst, pae, readFields, readList, splitPae, u64 } from "./pae.js";
import { isSealedSize, pad, requirePadding } from "./padding.js";
import { agreementPublic, sha256, sign, verify } from "./primitives.js";
import { makeTipRef, readTipRef } from "./tip.js";

export const MAX_ENVELOPE = 262_144;
export const SUITE = Uint8Array.of(1);
const VERSION = Uint8Array.of(1);
export const lane = field.word("now", "next", "low");
export const ORIGIN = field.word("human", "agent");
export const attempt = field.number(0n, 255n);
const OUTER = {
  version: field.exactly(VERSION),
  suite: field.exactly(SUITE),
  mesh_id: field.bytes(32),
  from_device: field.bytes(32),
  to_device: field.bytes(32),
  msg_id: field.bytes(16),
  attempt,
  lane,
  expires_ms: field.number(),
  prekey_id: field.number(),
  enc: field.bytes(32),
  ct: readCiphertext,
};
const MESSAGE = {
  suite: field.exactly(SUITE),
  mesh_id: field.bytes(32),
  from_member: field.bytes(16),
  from_device: field.bytes(32),
  from_session: field.text(0, 128),
  origin: ORIGIN,
  to_member: field.bytes(16),
  to_device: field.bytes(32),
  to_session: field.text(0, 512),
  msg_id: field.bytes(16),
  conv_id: field.bytes(16),
  stream_seq: field.number(),
  created_ms: field.number(),
  expires_ms: field.number(),
  kind: field.text(1, 32),
  lane,
  reply_to: field.optional(16),
  tip: readTipRef,
  content_type: field.text(0, 128),
  content: field.data(0, MAX_ENVELOPE),
};

export function readCiphertext(data) {
  require(isSealedSize(data.length), "a ciphertext of a size that no padding gives");
  return data;
}

export function readOuter(data) {
  require(data.length <= MAX_ENVELOPE, "an envelope is too large");
  return readList(data, OUTER);
}

function routing(outer) {
  return [
    VERSION,
    SUITE,
    outer.mesh_id,
    outer.from_device,
    outer.to_device,
    outer.msg_id,
    u64(outer.attempt),
    textBytes(outer.lane),
    u64(outer.expires_ms),
    u64(outer.prekey_id),
  ];
}

export function messageInfo(outer, prekeyPub) {
  return pae("dm-info", ...routing(outer), prekeyPub);
}

/** `{message, raw, hash}` of an envelope to the holder of `prekey`, a private key. */
export async function openEnvelope(data, prekey) {
  const outer = readOuter(data);
  const info = messageInfo(outer, await agreementPublic(prekey));
  const padded = await hpkeOpen(prekey, info, outer.enc, outer.ct);
  const [fields, end] = splitPae(padded, "dm-sig", Object.keys(MESSAGE).length);
  requirePadding(padded, end + 64);
  const message = readFields(fields, MESSAGE);
  for (const name of ["mesh_id", "from_device", "to_device", "msg_id"])
    require(compare(message[name], outer[name]) === 0, `${name} inside is not the one outside`);
  require(message.lane === outer.lane && message.expires_ms === outer.expires_ms, "lane or expiry differ outside");
  await verify(message.from_device, padded.subarray(0, end), padded.subarray(end, end + 64));
  const raw = padded.subarray(0, end + 64);
  return { message, raw, hash: await sha256(raw) };
}

/** The signed message, as all its envelopes hold it. */
export async function signMessage(seed, message) {
  const signed = pae(
    "dm-sig",
    SUITE,
    message.mesh_id,
    message.from_member,
    message.from_device,
    textBytes(message.from_session),
    textBytes(message.origin),
    message.to_member,
    message.to_device,
    textBytes(message.to_session),
    message.msg_id,
    message.conv_id,
    u64(message.stream_seq),
    u64(message.created_ms),
    u64(message.expires_ms),
    textBytes(message.kind),
    textBytes(message.lane),
    message.reply_to,
    makeTipRef(message.tip),
    textBytes(message.content_type),
    message.content,
  );
  return concat(signed, await sign(seed, signed));
}

/** One envelope of a signed message; `to` is `{attempt, prekey_id, prekey_pub}`, `ephemeral` a fresh private key. */
export async function sealEnvelope(raw, message, to, ephemeral) {
  const outer = { ...message, ...to };
  const { enc, ct } = await hpkeSeal(ephemeral, to.prekey_pub, messageInfo(outer, to.prekey_pub), pad(raw));
  return lst(...routing(outer), enc, ct);
}
