// Section 11: frames of the live lane.
import { compare, concat, require, textBytes } from "./bytes.js";
import { SUITE } from "./envelope.js";
import { field, lst, pae, readFields, readList, splitPae, u64 } from "./pae.js";
import { pad, requirePadding } from "./padding.js";
import { hkdf, hmac, openXchacha, sealXchacha, sign, verify } from "./primitives.js";
import { makeTipRef, readTipRef } from "./tip.js";

const VERSION = Uint8Array.of(1);
const MAX_LIVE = 65_536;
const ROUTE = {
  mesh_id: field.bytes(32),
  device: field.bytes(32),
  epoch: field.number(1n),
  channel: field.bytes(16),
};
const FRAME = {
  version: field.exactly(VERSION),
  suite: field.exactly(SUITE),
  ...ROUTE,
  nonce: field.bytes(24),
  ct: field.data(16, MAX_LIVE),
};
const INNER = {
  suite: field.exactly(SUITE),
  mesh_id: ROUTE.mesh_id,
  device: ROUTE.device,
  epoch: ROUTE.epoch,
  generation: field.number(),
  n: field.number(),
  channel: ROUTE.channel,
  kind: field.text(1, 32),
  created_ms: field.number(),
  tip: readTipRef,
  content: field.data(0, MAX_LIVE),
};
const NONE = new Uint8Array();

export async function channelId(key, name) {
  return (await hmac(await hkdf(key, pae("live-chan")), textBytes(name))).subarray(0, 16);
}

function routing(frame) {
  return [VERSION, SUITE, frame.mesh_id, frame.device, u64(frame.epoch), frame.channel];
}

/** The frame under its epoch's key. Membership, and whether it is new, are the reader's to judge. */
export async function openLive(data, key) {
  require(data.length <= MAX_LIVE, "a live frame is too large");
  const route = readList(data, FRAME);
  const padded = openXchacha(await hkdf(key, pae("live-key", ...routing(route))), route.nonce, NONE, route.ct);
  const [fields, end] = splitPae(padded, "live-sig", Object.keys(INNER).length);
  requirePadding(padded, end + 64);
  const frame = readFields(fields, INNER);
  for (const name of ["mesh_id", "device", "channel"])
    require(compare(frame[name], route[name]) === 0, `${name} inside is not the one outside`);
  require(frame.epoch === route.epoch, "the epoch inside is not the one outside");
  await verify(frame.device, padded.subarray(0, end), padded.subarray(end, end + 64));
  return frame;
}

export async function sealLive(seed, frame, key, nonce) {
  const signed = pae(
    "live-sig",
    SUITE,
    frame.mesh_id,
    frame.device,
    u64(frame.epoch),
    u64(frame.generation),
    u64(frame.n),
    frame.channel,
    textBytes(frame.kind),
    u64(frame.created_ms),
    makeTipRef(frame.tip),
    frame.content,
  );
  const inner = pad(concat(signed, await sign(seed, signed)));
  const derived = await hkdf(key, pae("live-key", ...routing(frame)));
  return lst(...routing(frame), nonce, sealXchacha(derived, nonce, NONE, inner));
}
