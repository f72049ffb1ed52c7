// Section 5: records, the fold over them, and forks.
import assert from "node:assert/strict";
import { test } from "node:test";

import { hex, unhex } from "../src/bytes.js";
import { epochCommitment, makeBody, makeRecord, meshIdOf, readBody, readRecord } from "../src/chain.js";
import { extend } from "../src/fold.js";
import { judge } from "../src/forks.js";
import { each, load, refuses, revive, sameBytes, sameContent, whole } from "./kit.js";

const read = (rows) => Promise.all(rows.map((row) => readRecord(unhex(row))));

function shown(state) {
  return {
    seq: state.seq,
    head: hex(state.head),
    epoch: state.epoch,
    signers: [...state.signers].sort(),
    members: [...state.members.values()].map((member) => ({
      member_id: member.id,
      role: member.role,
      sealed_name: hex(member.sealedName),
      devices: member.devices,
      permissions: [...state.permissions(member)].sort(),
      added_seq: member.added,
      removed_seq: member.removed,
      banned: member.banned,
    })),
    devices: [...state.devices.values()].map((device) => ({
      device: device.id,
      member_id: device.member,
      added_by: device.by,
      active: device.active,
      revoked: device.revoked,
      added_seq: device.added,
      ended_seq: device.ended,
    })),
    invites: [...state.invites.values()].map(({ id, uses, open }) => ({ invite_id: id, uses, open })),
    broker_key: state.broker,
    broker_urls: state.urls,
    snapshot: state.snapshot,
  };
}

for (const name of ["chain", "membership"]) {
  const doc = load(name);
  const meshId = unhex(doc.mesh_id);
  each(`${name}, record`, doc.records.map((row) => ({ ...row, name: `${row.decoded.seq} ${row.decoded.type}` })), async (row) => {
    const record = await readRecord(unhex(row.hex));
    const { body, ...fields } = row.decoded;
    sameContent(record, fields);
    sameContent(readBody(record), body);
    sameBytes(record.hash, row.hash);
    const encoded = makeBody(record.type, revive(body));
    sameBytes(encoded, row.body);
    sameBytes(await makeRecord(unhex(row.signer_seed), { ...record, body: encoded }, meshId), row.hex);
  });
  test(`${name}: its mesh id and what it says`, async () => {
    const records = await read(doc.records.map((row) => row.hex));
    sameBytes(await meshIdOf(records[0]), doc.mesh_id);
    sameContent(shown(await extend(null, records)), doc.state);
  });
  test(`${name}: taken step by step it says the same`, async () => {
    const records = await read(doc.records.map((row) => row.hex));
    let [state, append] = [null, []];
    for (const record of records) {
      append.push(record);
      if (["genesis", "add_device", "revoke_device", "remove_member"].includes(record.type)) {
        await refuses(() => extend(state, append));
        continue;
      }
      state = await extend(state, append);
      append = [];
    }
    sameContent(shown(state), doc.state);
  });
  test(`${name}: a record of another mesh or place is refused`, async () => {
    const records = await read(doc.records.map((row) => row.hex));
    await refuses(() => extend(null, records.slice(1)));
    await refuses(() => extend(null, [...records, records.at(-1)]));
    await refuses(() => extend(null, [records[0], ...records.slice(2)]));
  });
}

each("epoch's commitment", load("chain").commitments, async (row) => {
  sameBytes(await epochCommitment(unhex(load("chain").mesh_id), row.epoch, unhex(row.gk)), row.kc);
});

const { pool, refused } = load("membership");
each("refused", refused.map((row, i) => ({ ...row, name: `${i + 1} ${row.reason}` })), async (row) => {
  const state = await extend(null, await read(row.chain.map((index) => pool[index])));
  const before = shown(state);
  const records = await read(row.then);
  await refuses(() => extend(state, records));
  assert.deepEqual(shown(state), before);
});

const forks = load("forks");
each("fork", forks.cases, async (row) => {
  const records = await read(row.records.map((index) => forks.records[index]));
  const heads = (found) => found.map(({ seq, hash }) => ({ seq, hash: hex(hash) }));
  for (const order of [records, [...records].reverse(), [...records].sort((a, b) => (hex(a.sig) < hex(b.sig) ? -1 : 1))]) {
    const judged = await judge(unhex(forks.mesh_id), [...order, order[0]]);
    assert.equal(judged.frozen ? "frozen" : "settled", row.verdict);
    assert.deepEqual(heads(judged.heads), whole(row.heads));
    assert.deepEqual(judged.common && heads([judged.common])[0], whole(row.common));
    assert.deepEqual(heads(judged.void), whole(row.void));
  }
});
