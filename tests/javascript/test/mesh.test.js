// Sections 4, 7, 9, 10, 11 and 13: tips, keys, hellos, invites, live frames, verifying.
import assert from "node:assert/strict";
import { test } from "node:test";

import { hex, unhex } from "../src/bytes.js";
import { readRecord } from "../src/chain.js";
import { extend } from "../src/fold.js";
import { admissionProof, brokerHello, clientHello, transcript, verifyBrokerHello, verifyClientHello } from "../src/hello.js";
import { inviteSeed, makeJoinRequest, makeLink, openJoinRequest, openJoinerName, readLink, sealJoinerName } from "../src/invite.js";
import { channelId, openLive, sealLive } from "../src/live.js";
import { makePrekey } from "../src/prekeys.js";
import { agreementPublic, sign, signingPublic } from "../src/primitives.js";
import { makeKeyRequest, makeSeal, openKeyRequest, openSeal } from "../src/seals.js";
import { logHead, makeTip, makeTipRef, marker, openTip, readTipRef } from "../src/tip.js";
import { OwnDevice, codeOf, commitment, digitsOf, makeReveal, readCode, readReveal, safetyNumber, wordsOf } from "../src/verifying.js";
import { WORDS } from "../src/words.js";
import { each, load, revive, sameBytes, sameContent } from "./kit.js";

const tips = load("tip");
each("tip named", tips.refs, (row) => {
  sameContent(readTipRef(unhex(row.hex)), row.decoded);
  sameBytes(makeTipRef(revive(row.decoded)), row.hex);
});
each("tip", tips.tips, async (row) => {
  const [meshId, seed] = [unhex(tips.mesh_id), unhex(tips.broker_seed)];
  sameContent(await openTip(unhex(row.hex), meshId, await signingPublic(seed)), row.decoded);
  sameBytes(await makeTip(seed, meshId, revive(row.decoded)), row.hex);
});
each("log head", tips.log_heads, async (row) => {
  const item = marker(row.n, unhex(row.chain_hash));
  sameBytes(item, row.marker);
  sameBytes(await logHead(unhex(tips.mesh_id), row.n, unhex(row.previous), item), row.head);
});

each("seal", load("seals").seals, async (row) => {
  const [meshId, prekey] = [unhex(row.mesh_id), unhex(row.prekey_private)];
  const { nameKey, epochs, tip } = await openSeal(unhex(row.hex), prekey, meshId);
  const shown = Object.fromEntries([...epochs].map(([epoch, key]) => [String(epoch), hex(key)]));
  assert.deepEqual([hex(nameKey), shown], [row.decoded.name_key, row.decoded.epochs]);
  sameContent(tip, row.decoded.tip);
  const { to_device, epoch, prekey_id } = revive(row);
  const to = { to_device, epoch, prekey_id, prekey_pub: await agreementPublic(prekey) };
  sameBytes(await makeSeal({ nameKey, epochs, tip }, to, meshId, unhex(row.ephemeral)), row.hex);
});

const hello = load("hello");
test("client hello", async () => {
  const { decoded, signer_seed, sig } = hello.client;
  const client = revive(decoded);
  sameBytes(clientHello(client), hello.client.hex);
  await verifyClientHello(client, unhex(sig));
  sameBytes(await sign(unhex(signer_seed), clientHello(client)), sig);
  sameBytes(await transcript(client, unhex(sig)), hello.client.transcript_hash);
});
test("broker hello", async () => {
  const broker = revive(hello.broker.decoded);
  sameBytes(brokerHello(broker), hello.broker.hex);
  await verifyBrokerHello(broker, unhex(hello.broker.sig), revive(hello.client.decoded), unhex(hello.client.sig));
  sameBytes(await sign(unhex(hello.broker.signer_seed), brokerHello(broker)), hello.broker.sig);
});
test("admission", async () => {
  sameBytes(await admissionProof(unhex(hello.admission.token), revive(hello.client.decoded)), hello.admission.proof);
});

const invite = load("invite");
each("invite link", invite.links, (row) => {
  sameContent(readLink(row.url), row.decoded);
  assert.equal(makeLink(revive(row.decoded)), row.url);
});
test("invite key", async () => {
  sameBytes(await signingPublic(await inviteSeed(unhex(invite.key.secret))), invite.key.public);
});
test("join request", async () => {
  const { decoded, device_seed, hex: encoded } = invite.request;
  const { sealed_names, spk, ...fields } = decoded;
  const request = await openJoinRequest(unhex(encoded), unhex(invite.key.public));
  sameContent(request, { ...fields, spk });
  const names = [];
  for (const name of sealed_names) {
    const [signer, prekey] = [unhex(name.signer), unhex(name.prekey_private)];
    assert.equal(await openJoinerName(request, signer, prekey), name.name);
    const to = { signer, prekey_id: BigInt(name.prekey_id), prekey_pub: await agreementPublic(prekey) };
    names.push(await sealJoinerName(request, name.name, to, unhex(name.ephemeral)));
  }
  const seeds = { invite: await inviteSeed(unhex(invite.key.secret)), device: unhex(device_seed) };
  const prekey = await makePrekey(seeds.device, revive(spk));
  sameBytes(await makeJoinRequest(seeds, revive(fields), prekey, names), encoded);
});

const live = load("live");
each("channel", live.channels, async (row) => sameBytes(await channelId(unhex(row.gk), row.name), row.id));
each("live frame", live.frames, async (row) => {
  sameContent(await openLive(unhex(row.hex), unhex(row.gk)), row.decoded);
  sameBytes(await sealLive(unhex(row.signer_seed), revive(row.decoded), unhex(row.gk), unhex(row.nonce)), row.hex);
});

each("key request", load("requests").requests, async (row) => {
  const records = await Promise.all(load("chain").records.map((each) => readRecord(unhex(each.hex))));
  const state = await extend(null, records);
  const asks = (device) => hex(device) === row.decoded.device;
  sameContent(await openKeyRequest(unhex(row.hex), state, asks), row.decoded);
  const { spk, ...fields } = revive(row.decoded);
  const prekey = await makePrekey(unhex(row.signer_seed), spk);
  sameBytes(await makeKeyRequest(unhex(row.signer_seed), fields, prekey), row.hex);
});

const verifying = load("verifying");
each("safety number", verifying.safety_numbers, async (row) => {
  const { mesh_id, sides } = revive(row.decoded);
  const number = await safetyNumber(mesh_id, sides[1], sides[0]);
  assert.deepEqual([hex(number), digitsOf(number), codeOf(number)], [row.hex, row.digits, row.code]);
  sameBytes(readCode(row.code), row.hex);
});
test("words", () => assert.deepEqual(WORDS, verifying.words));
each("linked device", verifying.links, async (row) => {
  const reveal = await readReveal(unhex(row.hex));
  const { spk, ...fields } = row.decoded;
  sameContent(reveal, fields);
  sameBytes(makeReveal(reveal), row.hex);
  sameBytes(await commitment(reveal), row.commitment);
  const [by, nonce] = [unhex(row.by), unhex(row.by_nonce)];
  assert.deepEqual(await wordsOf(reveal, by, nonce), row.words);
  const own = new OwnDevice(reveal.mesh_id, by, nonce);
  own.answer(unhex(row.commitment));
  assert.deepEqual((await own.confirm(unhex(row.hex))).words, row.words);
  assert.equal(spk.device, hex(reveal.device));
});
