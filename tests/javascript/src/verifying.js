// Section 13: safety numbers, and the words by which a new device is linked.
import { base64url, compare, concat, equal, hex, require, unbase64url } from "./bytes.js";
import { field, lst, pae, readList } from "./pae.js";
import { readPrekey, verifyPrekey } from "./prekeys.js";
import { sha256, sha512 } from "./primitives.js";
import { WORDS } from "./words.js";

const ROUNDS = 5_200;
const SIZE = 60;
const CODE = "mesh://verify/1#";
const NONE = new Uint8Array();
const REVEAL = { mesh_id: field.bytes(32), device: field.bytes(32), spk: (data) => data, nonce: field.bytes(32) };

/** 60 bytes for two sides `{member_id, devices}`, the same in either order. */
export async function safetyNumber(meshId, one, other) {
  require(compare(one.member_id, other.member_id) !== 0, "a safety number is of two members");
  const sides = [one, other]
    .sort((a, b) => compare(a.member_id, b.member_id))
    .map(({ member_id, devices }) => {
      require(devices.length >= 1 && new Set(devices.map(hex)).size === devices.length, "devices, each once");
      return lst(member_id, ...[...devices].sort(compare));
    });
  const content = pae("safety-number", meshId, ...sides);
  let digest = content;
  for (let round = 0; round < ROUNDS; round++) digest = await sha512(concat(digest, content));
  return digest.subarray(0, SIZE);
}

/** Twelve groups of five digits. */
export function digitsOf(number) {
  const groups = [];
  for (let place = 0; place < SIZE; place += 5) {
    const value = number.subarray(place, place + 5).reduce((sum, byte) => sum * 256 + byte, 0);
    groups.push(String(value % 100_000).padStart(5, "0"));
  }
  return groups.join(" ");
}

export function codeOf(number) {
  return CODE + base64url(number);
}

export function readCode(text) {
  require(text.startsWith(CODE), "not a code of a safety number");
  const number = unbase64url(text.slice(CODE.length));
  require(number.length === SIZE, "not a code of a safety number");
  return number;
}

/** What a new device shows: `{mesh_id, device, spk, nonce}`, verified. */
export async function readReveal(data) {
  const reveal = readList(data, REVEAL);
  await verifyPrekey(readPrekey(reveal.spk), reveal.mesh_id, reveal.device);
  return reveal;
}

export function makeReveal({ mesh_id, device, spk, nonce }) {
  return lst(mesh_id, device, spk, nonce);
}

export function commitment({ mesh_id, device, spk, nonce }) {
  return sha256(pae("link-commit", mesh_id, device, spk, nonce));
}

async function wordsOf({ mesh_id, device, spk, nonce }, by, byNonce) {
  const digest = await sha256(pae("link-words", mesh_id, by, byNonce, device, spk, nonce));
  return Array.from(digest.subarray(0, 4), (byte) => WORDS[byte]);
}

/** A member's device's side of one attempt to link another; `nonce` is 32 random bytes made for it. */
export class OwnDevice {
  #committed = NONE;
  #done = false;

  constructor(meshId, device, nonce) {
    Object.assign(this, { meshId, device, nonce });
  }

  /** The nonce that answers the new device's commitment. */
  answer(committed) {
    require(committed.length === 32 && this.#committed.length === 0, "one commitment, of 32 bytes");
    this.#committed = committed;
    return this.nonce;
  }

  /** `{reveal, words}`: a person compares the words before the chain is touched. */
  async confirm(data) {
    require(!this.#done && this.#committed.length > 0, "a device is shown out of turn");
    this.#done = true;
    const reveal = await readReveal(data);
    const same = equal(reveal.mesh_id, this.meshId) && equal(await commitment(reveal), this.#committed);
    require(same, "another device than the one that asked");
    return { reveal, words: await wordsOf(reveal, this.device, this.nonce) };
  }
}

/** The new device's words, once the member's device has said its id and nonce. */
export { wordsOf };
