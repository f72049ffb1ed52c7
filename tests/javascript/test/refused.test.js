// What must be refused: broken encodings, and every good object with one thing wrong.
import assert from "node:assert/strict";
import { test } from "node:test";

import { equal, hex, require, unhex } from "../src/bytes.js";
import { readBody, readRecord } from "../src/chain.js";
import { openEnvelope } from "../src/envelope.js";
import { extend } from "../src/fold.js";
import { openGroup, readFan, spread } from "../src/group.js";
import { brokerHello, clientHello, verifyBrokerHello, verifyClientHello } from "../src/hello.js";
import { openJoinRequest, readLink } from "../src/invite.js";
import { openLive } from "../src/live.js";
import { readU64, splitSigned, unlst } from "../src/pae.js";
import { readPrekey, verifyPrekey } from "../src/prekeys.js";
import { signingPublic } from "../src/primitives.js";
import { checkKeys, openSeal } from "../src/seals.js";
import { openTip } from "../src/tip.js";
import { each, load, refuses, revive } from "./kit.js";

const refused = load("refused");
const chain = load("chain");
const meshId = unhex(chain.mesh_id);
const records = await Promise.all(chain.records.map((row) => readRecord(unhex(row.hex))));

/** The record in the place of the `index`-th; nothing after it vouches for it but the epoch that its append needs. */
function recordAt(index) {
  const after = ["genesis", "add_device"].includes(records[index].type) ? records.slice(index + 1, index + 2) : [];
  return async (data) => {
    const state = await extend(null, [...records.slice(0, index), await readRecord(data), ...after]);
    require(equal(state.meshId, meshId), "another mesh");
  };
}

const { client, broker } = load("hello");
const clientFields = revive(client.decoded);
const [seal] = load("seals").seals;
const [envelope] = load("envelope").envelopes;
const [frame] = load("live").frames;
const [, prekey] = load("keys").signed_prekeys;
const { key: inviteKey, request } = load("invite");
const [group] = load("group").messages;
const prekeys = new Map(group.wraps.map((wrap) => [wrap.to_device, unhex(wrap.prekey_private)]));

/** What the receiver of each object checks. */
const CHECKS = {
  prekey: (data) => verifyPrekey(readPrekey(data), unhex(prekey.decoded.mesh_id), unhex(prekey.decoded.device)),
  tip: async (data) => openTip(data, meshId, await signingPublic(unhex(load("tip").broker_seed))),
  ...Object.fromEntries(records.map((record, i) => [`${record.type} ${record.seq}`, recordAt(i)])),
  "client hello": async (data) => {
    // The broker takes key and challenge from itself, whatever the client signed.
    const { fields, signed, tail } = splitSigned(data, "hello-client", 8);
    const [, mesh_id, device, , nonce, ...numbers] = fields;
    const [ver_min, ver_max, generation] = numbers.map(readU64);
    const { broker_key, challenge } = clientFields;
    const rebuilt = { broker_key, mesh_id, device, challenge, nonce, ver_min, ver_max, generation };
    require(equal(clientHello(rebuilt), signed), "another hello");
    await verifyClientHello(rebuilt, tail);
  },
  "broker hello": async (data) => {
    const { fields, signed, tail } = splitSigned(data, "hello-broker", 4);
    const [transcript_hash, version, session_id, server_ms] = fields;
    const answer = { transcript_hash, version: readU64(version), session_id, server_ms: readU64(server_ms) };
    require(equal(brokerHello(answer), signed), "another hello");
    await verifyBrokerHello(answer, tail, clientFields, unhex(client.sig));
  },
  envelope: (data) => openEnvelope(data, unhex(envelope.prekey_private)),
  "epoch seal": async (data) => {
    const keys = await openSeal(data, unhex(seal.prekey_private), meshId);
    require(hex(keys.seal.to_device) === seal.to_device, "for another device");
    await checkKeys(keys, await extend(null, records), readBody(records[0]));
  },
  "join request": async (data) => {
    const opened = await openJoinRequest(data, unhex(inviteKey.public));
    const same = hex(opened.mesh_id) === request.decoded.mesh_id && hex(opened.invite_id) === request.decoded.invite_id;
    require(same, "another mesh or invite");
  },
  "live frame": (data) => openLive(data, unhex(frame.gk)),
  "group envelope": (data) => openGroup(data, unhex(refused.group_prekey)),
  "fan-out": async (data) => {
    const outers = spread(data);
    require(outers.length === prekeys.size, "somebody is left out");
    for (const { to_device, outer } of outers) {
      const own = prekeys.get(hex(to_device));
      require(own !== undefined, "for another device");
      await openGroup(outer, own);
    }
  },
};
const GOOD = {
  prekey: prekey.hex,
  tip: load("tip").tips[0].hex,
  ...Object.fromEntries(chain.records.map((row, i) => [`${records[i].type} ${records[i].seq}`, row.hex])),
  "client hello": client.hex + client.sig,
  "broker hello": broker.hex + broker.sig,
  envelope: envelope.hex,
  "epoch seal": seal.hex,
  "join request": request.hex,
  "live frame": frame.hex,
  "group envelope": group.wraps.find((wrap) => wrap.prekey_private === refused.group_prekey).outer,
  "fan-out": group.fan,
};

each("a good object", Object.entries(GOOD).map(([name, good]) => ({ name, good })), ({ name, good }) => CHECKS[name](unhex(good)));
each("altered", refused.objects.map((row) => ({ ...row, name: `${row.object}, ${row.why}` })), (row) =>
  refuses(() => CHECKS[row.object](unhex(row.hex))),
);
test("every object is altered, and each that is altered is checked", () => {
  assert.deepEqual(new Set(refused.objects.map(({ object }) => object)), new Set(Object.keys(CHECKS)));
});
each("a broken list", refused.lists, (row) => refuses(() => unlst(unhex(row.hex), 0, 1e9)));
each("a broken number", refused.numbers, (row) => refuses(() => readU64(unhex(row.hex))));
each("a broken link", refused.links, (row) => refuses(() => readLink(row.url)));
each("a forged group envelope", refused.group_envelopes, (row) =>
  refuses(() => openGroup(unhex(row.hex), unhex(refused.group_prekey))),
);
each("a broken fan-out", refused.fans, (row) => refuses(() => readFan(unhex(row.hex))));
