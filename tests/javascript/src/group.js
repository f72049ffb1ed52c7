// Section 12: one message to many.
import { compare, concat, equal, readText, require, textBytes } from "./bytes.js";
import { MAX_ENVELOPE, ORIGIN, SUITE, attempt, lane, readCiphertext } from "./envelope.js";
import { open as hpkeOpen, seal as hpkeSeal } from "./hpke.js";
import { field, lst, pae, readFields, readList, readU64, splitList, u64, unlst } from "./pae.js";
import { pad, requirePadding } from "./padding.js";
import { agreementPublic, openXchacha, sealXchacha, sha256, sign, verify } from "./primitives.js";
import { makeTipRef, readTipRef } from "./tip.js";

const VERSION = Uint8Array.of(2);
const MAX_FAN = 785_408;
const MAX_SHARED = 261_120;
const MAX_WRAPS = 2_048;
const ROUTING = { mesh_id: field.bytes(32), from_device: field.bytes(32), msg_id: field.bytes(16), lane, expires_ms: field.number() };
const HEAD = { version: field.exactly(VERSION), suite: field.exactly(SUITE) };
const WRAPPED = { enc: field.bytes(32), wrapped: field.bytes(112) };
const SHARED = { nonce: field.bytes(24), ct: readCiphertext };
const WRAP = { to_device: field.bytes(32), attempt, prekey_id: field.number(), ...WRAPPED };
const FAN = { ...HEAD, ...ROUTING, shared: readShared, wraps: readWraps };
const OUTER = {
  ...HEAD,
  mesh_id: field.bytes(32),
  from_device: field.bytes(32),
  to_device: field.bytes(32),
  msg_id: field.bytes(16),
  attempt,
  lane,
  expires_ms: field.number(),
  prekey_id: field.number(),
  ...WRAPPED,
  ...SHARED,
};
const TEXT = {
  from_member: field.bytes(16),
  from_session: field.text(0, 128),
  origin: ORIGIN,
  conv_id: field.bytes(16),
  created_ms: field.number(),
  kind: field.text(1, 32),
  reply_to: field.optional(16),
  tip: readTipRef,
  content_type: field.text(0, 128),
  recipients: readEntries,
  content: field.data(0, MAX_ENVELOPE),
};

function readShared(data) {
  require(data.length <= MAX_SHARED, "the shared part is too large");
  readList(data, SHARED);
  return data;
}

function requireRising(devices) {
  devices.forEach((device, i) => require(i === 0 || compare(devices[i - 1], device) < 0, "devices must rise"));
}

function readWraps(data) {
  const wraps = unlst(data, 1, MAX_WRAPS).map((wrap) => readList(wrap, WRAP));
  requireRising(wraps.map((wrap) => wrap.to_device));
  return wraps;
}

function readEntry(data) {
  require(data.length >= 40 && data.length <= 40 + 512, "an entry of a size that none has");
  const [device, number, label] = [data.subarray(0, 32), data.subarray(32, 40), data.subarray(40)];
  return { device, stream_seq: readU64(number), label: readText(label) };
}

function readEntries(data) {
  const entries = unlst(data, 1, MAX_WRAPS).map(readEntry);
  requireRising(entries.map((entry) => entry.device));
  return entries;
}

export function readFan(data) {
  require(data.length <= MAX_FAN, "a fan-out is too large");
  return readList(data, FAN);
}

function routing(message) {
  const { mesh_id, from_device, msg_id } = message;
  return [mesh_id, from_device, msg_id, textBytes(message.lane), u64(message.expires_ms)];
}

async function wrapInfo(message, to, prekeyPub, shared) {
  const { mesh_id, from_device, msg_id } = message;
  const { to_device, attempt: tried, prekey_id } = to;
  const ids = [mesh_id, from_device, msg_id, to_device, u64(tried), u64(prekey_id)];
  return pae("wrap-info", SUITE, ...ids, prekeyPub, await sha256(shared));
}

async function signedBytes(message, shared, key) {
  const commitment = await sha256(pae("group-kc", key));
  return pae("group-sig", SUITE, ...routing(message), await sha256(shared), commitment);
}

/** The broker's part: what each recipient of a fan-out gets, as `[{to_device, outer}]`. */
export function spread(data) {
  const fan = readFan(data);
  const shared = unlst(fan.shared, 2, 2);
  return fan.wraps.map((wrap) => ({
    to_device: wrap.to_device,
    outer: lst(
      VERSION,
      SUITE,
      fan.mesh_id,
      fan.from_device,
      wrap.to_device,
      fan.msg_id,
      u64(wrap.attempt),
      textBytes(fan.lane),
      u64(fan.expires_ms),
      u64(wrap.prekey_id),
      wrap.enc,
      wrap.wrapped,
      ...shared,
    ),
  }));
}

/** `{message, entry, hash}`: what `outer.to_device` reads with its private key `prekey`. */
export async function openGroup(data, prekey) {
  require(data.length <= MAX_ENVELOPE, "an envelope is too large");
  const outer = readList(data, OUTER);
  const shared = lst(outer.nonce, outer.ct);
  require(shared.length <= MAX_SHARED, "the shared part is too large");
  const info = await wrapInfo(outer, outer, await agreementPublic(prekey), shared);
  const secret = await hpkeOpen(prekey, info, outer.enc, outer.wrapped);
  const [key, signature] = [secret.subarray(0, 32), secret.subarray(32)];
  const signed = await signedBytes(outer, shared, key);
  await verify(outer.from_device, signed, signature);
  const aad = pae("group-aad", VERSION, SUITE, ...routing(outer));
  const padded = openXchacha(key, outer.nonce, aad, outer.ct);
  const [fields, end] = splitList(padded, Object.keys(TEXT).length);
  requirePadding(padded, end);
  const message = readFields(fields, TEXT);
  const entry = message.recipients.find(({ device }) => equal(device, outer.to_device));
  require(entry !== undefined, "this device is not on the list");
  return { message, outer, entry, hash: await sha256(concat(signed, signature)) };
}

/** `{shared, secret, signed}` of a message whose `recipients` stand in rising order. */
export async function sealGroup(seed, message, key, nonce) {
  const entries = message.recipients.map(({ device, stream_seq, label }) =>
    concat(device, u64(stream_seq), textBytes(label)),
  );
  const text = lst(
    message.from_member,
    textBytes(message.from_session),
    textBytes(message.origin),
    message.conv_id,
    u64(message.created_ms),
    textBytes(message.kind),
    message.reply_to,
    makeTipRef(message.tip),
    textBytes(message.content_type),
    lst(...entries),
    message.content,
  );
  const aad = pae("group-aad", VERSION, SUITE, ...routing(message));
  const shared = lst(nonce, sealXchacha(key, nonce, aad, pad(text)));
  const signed = await signedBytes(message, shared, key);
  return { shared, signed, secret: concat(key, await sign(seed, signed)) };
}

/** One wrap, encoded; `to` is `{to_device, attempt, prekey_id, prekey_pub}`. */
export async function wrapFor(message, { shared, secret }, to, ephemeral) {
  const { enc, ct } = await hpkeSeal(ephemeral, to.prekey_pub, await wrapInfo(message, to, to.prekey_pub, shared), secret);
  return lst(to.to_device, u64(to.attempt), u64(to.prekey_id), enc, ct);
}

export function makeFan(message, shared, wraps) {
  return lst(VERSION, SUITE, ...routing(message), shared, lst(...wraps));
}
