// Section 2: the primitives, WebCrypto's but for the two stream ciphers.
import { chacha20poly1305, xchacha20poly1305 } from "@noble/ciphers/chacha.js";

import { Refused, concat, isZero, require, unhex } from "./bytes.js";

const subtle = globalThis.crypto.subtle;
/** What stands before a 32-byte private key in PKCS #8 (RFC 8410). */
const PKCS8 = { Ed25519: unhex("302e020100300506032b657004220420"), X25519: unhex("302e020100300506032b656e04220420") };
const FIELD = (1n << 255n) - 19n;
/** The y coordinates of the points of small order on edwards25519, little endian. */
const SMALL_ORDER = [
  0n,
  1n,
  FIELD - 1n,
  littleEndian(unhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")),
  littleEndian(unhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")),
];

function littleEndian(data) {
  return data.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

/** The y coordinate of an encoded point, without the sign of x. */
function yOf(point) {
  return littleEndian(point) & ((1n << 255n) - 1n);
}

function importPrivate(name, seed, uses) {
  require(seed.length === 32, "a private key must have 32 bytes");
  return subtle.importKey("pkcs8", concat(PKCS8[name], seed), { name }, true, uses);
}

async function publicOf(name, seed, uses) {
  const jwk = await subtle.exportKey("jwk", await importPrivate(name, seed, uses));
  return Uint8Array.from(atob(jwk.x.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
}

export async function sha256(data) {
  return new Uint8Array(await subtle.digest("SHA-256", data));
}

export async function sha512(data) {
  return new Uint8Array(await subtle.digest("SHA-512", data));
}

export async function hmac(key, data) {
  // A key of zero length, which WebCrypto refuses, is the same key as zero bytes: HMAC pads with them.
  const raw = key.length ? key : new Uint8Array(32);
  const held = await subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await subtle.sign("HMAC", held, data));
}

/** HKDF-SHA256 (RFC 5869). */
export async function hkdf(key, info, length = 32, salt = new Uint8Array()) {
  const held = await subtle.importKey("raw", key, "HKDF", false, ["deriveBits"]);
  return new Uint8Array(await subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info }, held, 8 * length));
}

export function signingPublic(seed) {
  return publicOf("Ed25519", seed, ["sign"]);
}

export async function sign(seed, message) {
  return new Uint8Array(await subtle.sign("Ed25519", await importPrivate("Ed25519", seed, ["sign"]), message));
}

/** Throws Refused unless the signature holds, with a canonical key, and neither key nor R of small order. */
export async function verify(key, message, signature) {
  require(key.length === 32 && signature.length === 64, "a key or a signature has the wrong size");
  const [y, r] = [yOf(key), yOf(signature.subarray(0, 32))];
  require(y < FIELD && !SMALL_ORDER.includes(y) && !SMALL_ORDER.includes(r % FIELD), "a point of small order");
  let held;
  try {
    held = await subtle.importKey("raw", key, "Ed25519", false, ["verify"]);
  } catch {
    throw new Refused("not a public key");
  }
  require(await subtle.verify("Ed25519", held, signature, message), "the signature does not hold");
}

export function agreementPublic(seed) {
  return publicOf("X25519", seed, ["deriveBits"]);
}

/** X25519 (RFC 7748). Throws Refused where it gives only zeros. */
export async function agree(seed, point) {
  require(point.length === 32, "a public key must have 32 bytes");
  const own = await importPrivate("X25519", seed, ["deriveBits"]);
  let shared;
  try {
    const other = await subtle.importKey("raw", point, "X25519", false, []);
    shared = new Uint8Array(await subtle.deriveBits({ name: "X25519", public: other }, own, 256));
  } catch {
    throw new Refused("a public key of low order");
  }
  require(!isZero(shared), "a public key of low order");
  return shared;
}

function opened(cipher, data) {
  try {
    return cipher.decrypt(data);
  } catch {
    throw new Refused("a ciphertext does not open under this key and these fields");
  }
}

export function sealChacha(key, nonce, aad, text) {
  return chacha20poly1305(key, nonce, aad).encrypt(text);
}

export function openChacha(key, nonce, aad, data) {
  require(data.length >= 16, "a ciphertext is shorter than its tag");
  return opened(chacha20poly1305(key, nonce, aad), data);
}

export function sealXchacha(key, nonce, aad, text) {
  return xchacha20poly1305(key, nonce, aad).encrypt(text);
}

export function openXchacha(key, nonce, aad, data) {
  require(data.length >= 16 && nonce.length === 24 && key.length === 32, "a ciphertext, nonce or key of a wrong size");
  return opened(xchacha20poly1305(key, nonce, aad), data);
}
