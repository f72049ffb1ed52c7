// Sections 1 to 3 and 8: numbers, lists, padding, keys, prekeys, sealing, names.
import assert from "node:assert/strict";
import { test } from "node:test";

import { hex, unhex } from "../src/bytes.js";
import { open as hpkeOpen, seal as hpkeSeal } from "../src/hpke.js";
import { comparedName, normalName, openName, sealName } from "../src/names.js";
import { lst, pae, readU64, splitPae, u64, unlst } from "../src/pae.js";
import { bucket, pad } from "../src/padding.js";
import { makeBatch, makeGiven, makePrekey, readBatch, readGiven, readPrekey, verifyBatch, verifyPrekey } from "../src/prekeys.js";
import { agreementPublic, hkdf, openXchacha, sealXchacha, signingPublic } from "../src/primitives.js";
import { each, load, refuses, revive, sameBytes, sameContent } from "./kit.js";

const encoding = load("pae");
each("number", encoding.numbers, (row) => {
  sameBytes(u64(row.n), row.hex);
  assert.equal(readU64(unhex(row.hex)), BigInt(row.n));
});
each("list", encoding.lists, (row) => {
  const fields = row.fields.map(unhex);
  sameBytes(lst(...fields), row.hex);
  assert.deepEqual(unlst(unhex(row.hex), fields.length, fields.length).map(hex), row.fields);
});
each("pae", encoding.paes, (row) => {
  sameBytes(pae(row.purpose, ...row.fields.map(unhex)), row.hex);
  const [fields, end] = splitPae(unhex(row.hex + "00"), row.purpose, row.fields.length);
  assert.deepEqual([fields.map(hex), end], [row.fields, row.hex.length / 2]);
});
each("padding", load("padding").buckets, (row) => {
  assert.equal(bucket(row.size), row.bucket);
  assert.equal(pad(new Uint8Array(row.size)).length, row.bucket);
});

const keys = load("keys");
each("signing key", keys.signing_keys, async (row) => sameBytes(await signingPublic(unhex(row.seed)), row.public));
each("prekey pair", keys.prekey_pairs, async (row) => sameBytes(await agreementPublic(unhex(row.seed)), row.public));
each("signed prekey", keys.signed_prekeys, async (row) => {
  const prekey = readPrekey(unhex(row.hex));
  const { mesh_id, device, ...others } = revive(row.decoded);
  await verifyPrekey(prekey, mesh_id, device);
  sameContent(prekey, row.decoded);
  sameBytes(await makePrekey(unhex(row.signer_seed), { mesh_id, device, ...others }), row.hex);
});
each("aead", keys.aead, (row) => {
  const [key, nonce, aad] = [row.key, row.nonce, row.aad].map(unhex);
  sameBytes(openXchacha(key, nonce, aad, unhex(row.hex)), row.plaintext);
  sameBytes(sealXchacha(key, nonce, aad, unhex(row.plaintext)), row.hex);
});
each("hkdf", keys.hkdf, async (row) => sameBytes(await hkdf(unhex(row.key), unhex(row.info), row.length), row.hex));
each("hpke", load("hpke").opens, async (row) => {
  const [secret, ephemeral, info, text] = [row.private, row.ephemeral, row.info, row.plaintext].map(unhex);
  sameBytes(await hpkeOpen(secret, info, unhex(row.enc), unhex(row.ct)), row.plaintext);
  const { enc, ct } = await hpkeSeal(ephemeral, await agreementPublic(secret), info, text);
  assert.deepEqual([hex(enc), hex(ct)], [row.enc, row.ct]);
});

const onetime = load("onetime");
each("one-time batch", onetime.batches, async (row) => {
  const { hex: encoded, signer_seed, name, ...decoded } = row;
  const batch = readBatch(unhex(encoded));
  await verifyBatch(batch, unhex(row.mesh_id), unhex(row.device));
  sameContent(batch, decoded);
  sameBytes(await makeBatch(unhex(signer_seed), revive(decoded)), encoded);
});
each("one-time key given", onetime.given, (row) => {
  const given = readGiven(unhex(row.hex));
  assert.deepEqual(hex(given.pub), hex(readBatch(unhex(row.batch)).pubs[row.place]));
  assert.equal(given.prekey_id, given.batch.first_id + BigInt(row.place));
  sameBytes(makeGiven(row.place, unhex(row.batch)), row.hex);
});
each("one-time key refused", onetime.given_refused, (row) => refuses(() => readGiven(unhex(row.hex))));
each("one-time batch refused", onetime.refused, (row) => refuses(() => readBatch(unhex(row.hex))));

const names = load("names");
each("sealed name", names.sealed, (row) => {
  const [key, subject, nonce] = [row.name_key, row.subject, row.nonce].map(unhex);
  assert.equal(openName(key, subject, unhex(row.hex)), row.name);
  sameBytes(sealName(key, subject, row.name, nonce), row.hex);
});
each("name accepted", names.accepted, (row) => assert.equal(normalName(row.name), row.normal));
each("name refused", names.refused, (name) => refuses(() => normalName(name)));
each("names alike", names.equal, ([one, other, form]) => {
  assert.equal(comparedName(one), form);
  assert.equal(comparedName(other), form);
});

test("a number above 2^63 - 1 is not written", () => refuses(() => u64(1n << 63n)));
