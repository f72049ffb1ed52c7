// HPKE base mode (RFC 9180), single shot: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.
import { concat, require, textBytes } from "./bytes.js";
import { agree, agreementPublic, hmac, openChacha, sealChacha } from "./primitives.js";

const KEM = concat(textBytes("KEM"), number(0x0020));
const SUITE = concat(textBytes("HPKE"), number(0x0020), number(0x0001), number(0x0003));
const NONE = new Uint8Array();

function number(value) {
  return Uint8Array.of(value >> 8, value & 255);
}

function extract(salt, suite, label, key) {
  return hmac(salt, concat(textBytes("HPKE-v1"), suite, textBytes(label), key));
}

/** Up to 32 bytes, which is one block of HKDF's expansion. */
async function expand(key, suite, label, info, length) {
  const whole = concat(number(length), textBytes("HPKE-v1"), suite, textBytes(label), info, Uint8Array.of(1));
  return (await hmac(key, whole)).subarray(0, length);
}

async function schedule(shared, enc, recipient, info) {
  const kem = await extract(NONE, KEM, "eae_prk", shared);
  const secret = await expand(kem, KEM, "shared_secret", concat(enc, recipient), 32);
  const context = concat(
    Uint8Array.of(0),
    await extract(NONE, SUITE, "psk_id_hash", NONE),
    await extract(NONE, SUITE, "info_hash", info),
  );
  const key = await extract(secret, SUITE, "secret", NONE);
  return [await expand(key, SUITE, "key", context, 32), await expand(key, SUITE, "base_nonce", context, 12)];
}

/** `{enc, ct}` for the holder of `recipient`; `ephemeral` is a fresh private key. */
export async function seal(ephemeral, recipient, info, text, aad = NONE) {
  const enc = await agreementPublic(ephemeral);
  const [key, nonce] = await schedule(await agree(ephemeral, recipient), enc, recipient, info);
  return { enc, ct: sealChacha(key, nonce, aad, text) };
}

/** The text that was sealed to the private key `secret`. */
export async function open(secret, info, enc, ct, aad = NONE) {
  require(enc.length === 32 && ct.length >= 16, "a sealed text is shorter than its key and tag");
  const [key, nonce] = await schedule(await agree(secret, enc), enc, await agreementPublic(secret), info);
  return openChacha(key, nonce, aad, ct);
}
