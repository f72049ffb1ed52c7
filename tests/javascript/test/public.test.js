// The primitives against their published vectors.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { hex, unhex } from "../src/bytes.js";
import { open as hpkeOpen, seal as hpkeSeal } from "../src/hpke.js";
import {
  agree,
  agreementPublic,
  hkdf,
  hmac,
  openChacha,
  openXchacha,
  sealChacha,
  sealXchacha,
  sign,
  signingPublic,
  verify,
} from "../src/primitives.js";
import { each, parse, refuses, sameBytes } from "./kit.js";

const folder = new URL("../../vectors/", import.meta.url);
const rfc = parse(readFileSync(new URL("rfc.json", folder), "utf8"));
const edges = parse(readFileSync(new URL("edges.json", folder), "utf8"));
const fields = (row, ...names) => names.map((name) => unhex(row[name]));

each("RFC 8032", rfc.ed25519.vectors, async (row) => {
  const [seed, key, message, signature] = fields(row, "seed", "public", "message", "signature");
  assert.deepEqual([hex(await signingPublic(seed)), hex(await sign(seed, message))], [row.public, row.signature]);
  await verify(key, message, signature);
});
each("RFC 7748, product", rfc.x25519.products, async (row) => {
  const [scalar, u] = fields(row, "scalar", "u");
  sameBytes(await agree(scalar, u), row.out);
});
each("RFC 7748, public key", rfc.x25519.publics, async (row) => sameBytes(await agreementPublic(unhex(row.scalar)), row.public));
test("RFC 7748, a thousand iterations", async () => {
  let [scalar, u] = [Uint8Array.of(9, ...new Uint8Array(31)), Uint8Array.of(9, ...new Uint8Array(31))];
  for (let count = 1; count <= 1000; count++) {
    [scalar, u] = [await agree(scalar, u), scalar];
    const expected = rfc.x25519.iterated[String(count)];
    if (expected) sameBytes(scalar, expected);
  }
});
each("RFC 5869", rfc.hkdf.vectors, async (row) => {
  const [ikm, salt, info] = fields(row, "ikm", "salt", "info");
  sameBytes(await hkdf(ikm, info, row.length, salt), row.okm);
});
each("RFC 4231", rfc.hmac.vectors, async (row) => {
  const [key, data] = fields(row, "key", "data");
  sameBytes((await hmac(key, data)).subarray(0, row.mac.length / 2), row.mac);
});
each("RFC 8439", rfc.chacha20poly1305.vectors, (row) => {
  const [key, nonce, aad, text] = fields(row, "key", "nonce", "aad", "plaintext");
  sameBytes(sealChacha(key, nonce, aad, text), row.ciphertext);
  sameBytes(openChacha(key, nonce, aad, unhex(row.ciphertext)), row.plaintext);
});
each("the xchacha draft", rfc.xchacha20poly1305.vectors, (row) => {
  const [key, nonce, aad, text] = fields(row, "key", "nonce", "aad", "plaintext");
  sameBytes(sealXchacha(key, nonce, aad, text), row.ciphertext);
});
each("RFC 9180", rfc.hpke.vectors.filter(({ aead }) => aead === "ChaCha20-Poly1305"), async (row) => {
  const [own, ephemeral, info, aad, text] = fields(row, "sk_r", "sk_e", "info", "aad", "plaintext");
  const { enc, ct } = await hpkeSeal(ephemeral, unhex(row.pk_r), info, text, aad);
  assert.deepEqual([hex(enc), hex(ct)], [row.enc, row.ciphertext]);
  sameBytes(await hpkeOpen(own, info, enc, ct, aad), row.plaintext);
});

each("a signature at an edge", edges.ed25519.map((row) => ({ ...row, name: row.why })), async (row) => {
  const [key, message, signature] = fields(row, "public", "message", "signature");
  if (row.holds) await verify(key, message, signature);
  else await refuses(() => verify(key, message, signature));
});
each("a point at an edge", edges.x25519.map((row) => ({ ...row, name: row.why })), async (row) => {
  const [scalar, u] = fields(row, "scalar", "u");
  if (row.out) sameBytes(await agree(scalar, u), row.out);
  else await refuses(() => agree(scalar, u));
});
for (const [name, open] of [["chacha20poly1305", openChacha], ["xchacha20poly1305", openXchacha]])
  each(`${name} at an edge`, edges[name].map((row) => ({ ...row, name: row.why })), async (row) => {
    const [key, nonce, aad, data] = fields(row, "key", "nonce", "aad", "ciphertext");
    if (row.plaintext !== null) sameBytes(open(key, nonce, aad, data), row.plaintext);
    else await refuses(() => open(key, nonce, aad, data));
  });
each("hkdf at an edge", edges.hkdf.map((row) => ({ ...row, name: row.why })), async (row) => {
  const [ikm, salt, info] = fields(row, "ikm", "salt", "info");
  sameBytes(await hkdf(ikm, info, row.length, salt), row.okm);
});
each("hmac at an edge", edges.hmac.map((row) => ({ ...row, name: row.why })), async (row) => {
  const [key, data] = fields(row, "key", "data");
  sameBytes(await hmac(key, data), row.mac);
});
