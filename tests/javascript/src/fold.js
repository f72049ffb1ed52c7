// Section 5: the fold over a chain. A pure function of the records.
import { Refused, equal, hex, require } from "./bytes.js";
import { isKnown, meshIdOf, readBody, verifyRecord } from "./chain.js";
import { RULES } from "./rules.js";
import { State } from "./state.js";

/** After records of these types the epoch of the same append follows. */
export const AWAIT_EPOCH = ["genesis", "add_device", "revoke_device", "remove_member"];
export const MAX_RUN = 32;

async function begin(record) {
  require(record.seq === 1n && record.type === "genesis", "a chain begins with genesis");
  const meshId = await meshIdOf(record);
  const genesis = readBody(record);
  await verifyRecord(record, meshId);
  require(equal(record.signer, genesis.device), "genesis is signed by the device it names");
  const keys = new Set([genesis.device, genesis.recovery_pub, genesis.broker_key].map(hex));
  require(keys.size === 3, "device, recovery key and broker key differ");
  const state = new State(meshId, record, genesis);
  return Object.assign(state, { seq: 1n, head: record.hash, awaiting: hex(record.signer), run: MAX_RUN });
}

async function add(state, record) {
  require(record.seq === state.seq + 1n && equal(record.prev_hash, state.head), "a record out of its place");
  require(isKnown(record.type) && record.type !== "genesis", "a record of a type that may not stand here");
  if (state.awaiting) {
    const goesOn = record.type === "epoch" || (AWAIT_EPOCH.includes(record.type) && state.run < MAX_RUN);
    require(goesOn && hex(record.signer) === state.awaiting, "an append ends with its epoch");
  }
  const body = readBody(record);
  await verifyRecord(record, state.meshId);
  RULES[record.type](state, record, body);
  const awaits = AWAIT_EPOCH.includes(record.type);
  state.run = awaits ? state.run + 1 : 0;
  state.awaiting = awaits ? hex(record.signer) : "";
  state.seq = record.seq;
  state.head = record.hash;
}

/** The state after `records`, which follow `before`; null: they begin the chain. Throws Refused, and changes nothing. */
export async function extend(before, records) {
  let state = before?.copy() ?? null;
  for (const record of records) {
    if (state === null) state = await begin(record);
    else await add(state, record);
  }
  if (state === null || state.awaiting) throw new Refused("a chain that ends inside of an append");
  return state;
}
