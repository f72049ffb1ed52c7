// Sections 6 and 12: messages to one and to many, and what they hold.
import assert from "node:assert/strict";

import { hex, unhex } from "../src/bytes.js";
import {
  makeAsk,
  makeAttachments,
  makeBounce,
  makeProfile,
  makeReceipts,
  makeStandings,
  makeVoid,
  makeWitness,
  openWitness,
  readAsk,
  readAttachments,
  readBounce,
  readProfile,
  readReceipts,
  readStandings,
  readVoid,
} from "../src/contents.js";
import { messageInfo, openEnvelope, readOuter, sealEnvelope, signMessage } from "../src/envelope.js";
import { makeFan, openGroup, readFan, sealGroup, spread, wrapFor } from "../src/group.js";
import { agreementPublic, sha256 } from "../src/primitives.js";
import { each, load, refuses, revive, sameBytes, sameContent, whole } from "./kit.js";

each("envelope", load("envelope").envelopes, async (row) => {
  const [data, prekey] = [unhex(row.hex), unhex(row.prekey_private)];
  const prekeyPub = await agreementPublic(prekey);
  const { message, raw, hash } = await openEnvelope(data, prekey);
  sameContent(message, row.decoded);
  assert.deepEqual([hex(raw), hex(hash), hex(await sha256(data))], [row.raw, row.message_hash, row.outer_hash]);
  sameBytes(messageInfo(readOuter(data), prekeyPub), row.info);
  const decoded = revive(row.decoded);
  const made = await signMessage(unhex(row.signer_seed), decoded);
  sameBytes(made, row.raw);
  const to = { attempt: row.attempt, prekey_id: BigInt(row.prekey_id), prekey_pub: prekeyPub };
  sameBytes(await sealEnvelope(made, decoded, to, unhex(row.ephemeral)), row.hex);
});

each("message to many", load("group").messages, async (row) => {
  const decoded = revive(row.decoded);
  const [seed, key, nonce] = [row.signer_seed, row.content_key, row.nonce].map(unhex);
  const sealed = await sealGroup(seed, decoded, key, nonce);
  assert.deepEqual([hex(sealed.shared), hex(sealed.signed), hex(sealed.secret)], [row.shared, row.signed, row.secret]);
  const wraps = [];
  const outers = new Map(spread(unhex(row.fan)).map(({ to_device, outer }) => [hex(to_device), outer]));
  assert.equal(outers.size, row.wraps.length);
  for (const wrap of row.wraps) {
    const prekey = unhex(wrap.prekey_private);
    const { to_device, attempt, prekey_id } = revive(wrap);
    const to = { to_device, attempt, prekey_id, prekey_pub: await agreementPublic(prekey) };
    wraps.push(await wrapFor(decoded, sealed, to, unhex(wrap.ephemeral)));
    sameBytes(outers.get(wrap.to_device), wrap.outer);
    sameBytes(await sha256(outers.get(wrap.to_device)), wrap.outer_hash);
    const { message, outer, entry, hash } = await openGroup(unhex(wrap.outer), prekey);
    sameContent({ ...outer, ...message }, row.decoded);
    sameContent(entry, row.decoded.recipients.find(({ device }) => device === wrap.to_device));
    sameBytes(hash, row.message_hash);
  }
  sameBytes(makeFan(decoded, sealed.shared, wraps), row.fan);
  sameContent(readFan(unhex(row.fan)).wraps, row.wraps.map(({ to_device, enc, wrapped }) => ({ to_device, enc, wrapped })));
});

const receipt = load("receipt");
each("receipts", receipt.receipts, (row) => {
  sameContent(readReceipts(unhex(row.hex)), row.decoded);
  sameBytes(makeReceipts(revive(row.decoded)), row.hex);
});
each("bounce", receipt.bounces, async (row) => {
  const { spk, ...fields } = row.decoded;
  const bounce = readBounce(unhex(row.hex));
  sameContent(bounce, fields);
  if (spk === null) assert.equal(bounce.prekey, null);
  else sameContent(bounce.prekey, spk);
  sameBytes(makeBounce(revive(fields), bounce.prekey && Buffer.concat([bounce.prekey.signed, bounce.prekey.sig])), row.hex);
});

const profile = load("profile");
each("profile", profile.profiles, (row) => {
  sameContent(readProfile(unhex(row.hex)), row.decoded);
  sameBytes(makeProfile(revive(row.decoded)), row.hex);
});
each("profile refused", profile.refused, (row) => refuses(() => readProfile(unhex(row.hex))));

const voids = load("void");
each("void", voids.voids, (row) => {
  assert.deepEqual(readVoid(unhex(row.hex)), whole(row.numbers));
  sameBytes(makeVoid(row.numbers), row.hex);
});
each("void refused", voids.refused, (row) => refuses(() => readVoid(unhex(row.hex))));

const attachments = load("attachments");
each("text with files", attachments.texts, (row) => {
  sameContent(readAttachments(unhex(row.hex)), { text: row.text, files: row.files });
  sameBytes(makeAttachments(row.text, revive(row.files)), row.hex);
});
each("text with files refused", attachments.refused, (row) => refuses(() => readAttachments(unhex(row.hex))));

const told = load("witness");
const [meshId, broker] = [unhex(told.mesh_id), unhex(told.broker)];
each("ask", told.asks, (row) => {
  const { name, hex: encoded, ...decoded } = row;
  sameContent(readAsk(unhex(encoded)), decoded);
  sameBytes(makeAsk(revive(decoded)), encoded);
});
each("ask refused", told.asks_refused, (row) => refuses(() => readAsk(unhex(row.hex))));
each("witness", told.witnesses, async (row) => {
  const { tip, records } = await openWitness(unhex(row.hex), meshId, broker);
  sameContent(tip, row.tip);
  assert.equal(records.length, row.records.length);
  const signedTip = unhex(row.hex).subarray(16, 16 + 244);
  sameBytes(makeWitness(signedTip, row.records.map(unhex)), row.hex);
});
each("witness refused", told.witnesses_refused, (row) => refuses(() => openWitness(unhex(row.hex), meshId, broker)));

const standing = load("standing");
each("standings", standing.standings, (row) => {
  sameContent(readStandings(unhex(row.hex)), row.decoded);
  sameBytes(makeStandings(revive(row.decoded)), row.hex);
});
each("standings refused", standing.refused, (row) => refuses(() => readStandings(unhex(row.hex))));
