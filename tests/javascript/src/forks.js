// Section 5: what a set of records comes to when some of them follow the same one.
import { Refused, compare, equal, hex } from "./bytes.js";
import { isKnown, meshIdOf, verifyRecord } from "./chain.js";
import { AWAIT_EPOCH, MAX_RUN, extend } from "./fold.js";

/** `{frozen, heads, common, void}`: heads are `{seq, hash}` in rising order. */
export async function judge(meshId, records) {
  const branches = await grow(meshId, records);
  if (!branches.length) throw new Refused("no chain of this mesh");
  const voids = (one, other) => one !== other && isVoided(other, one);
  const alive = branches.filter((each) => !branches.some((other) => voids(other, each)));
  const contested = alive.length ? alive : branches.filter((each) => branches.some((other) => voids(each, other)));
  const ended = branches.filter((each) => !contested.includes(each)).map(headOf).sort(byPlace);
  const heads = contested.map(headOf).sort(byPlace);
  const common = contested.reduce((path, each) => path.slice(0, shared(path, each.appends)), contested[0].appends);
  return { frozen: heads.length > 1, heads, void: ended, common: common.length ? headOf({ appends: common }) : null };
}

function headOf({ appends }) {
  const { seq, head } = appends.at(-1).state;
  return { seq, hash: head };
}

function byPlace(one, other) {
  return one.seq === other.seq ? compare(one.hash, other.hash) : one.seq < other.seq ? -1 : 1;
}

/** How many appends both paths begin with. */
function shared(one, other) {
  let count = 0;
  while (count < one.length && count < other.length && one[count] === other[count]) count += 1;
  return count;
}

/** Whether `by` ends `branch`; a branch is a path of appends, each `{records, state}`. */
function isVoided(branch, by) {
  const fork = shared(branch.appends, by.appends);
  const { recovery } = by.appends[0].state;
  const above = (path) => path.appends.slice(fork).flatMap(({ records }) => records);
  const judges = (path) => above(path).filter(({ type }) => type === "resolve").map(({ signer }) => hex(signer));
  if (judges(by).includes(recovery)) return true;
  if (judges(branch).includes(recovery) || fork === 0) return false;
  const [before, after] = [branch.appends[fork - 1].state.signers, branch.appends.at(-1).state.signers];
  return judges(by).some((signer) => before.has(signer) && after.has(signer));
}

/** Every branch of the tree of valid appends. */
async function grow(meshId, records) {
  const following = new Map();
  for (const record of new Map(records.map((each) => [hex(each.hash), each])).values()) {
    const place = hex(record.prev_hash);
    following.set(place, [...(following.get(place) ?? []), record]);
  }
  const after = (record) => (following.get(hex(record.hash)) ?? []).filter(({ seq }) => seq === record.seq + 1n);
  const first = [];
  for (const record of following.get("") ?? [])
    if (record.type === "genesis" && equal(await meshIdOf(record), meshId)) first.push(record);
  const branches = [];
  const waiting = [{ appends: [], next: first }];
  while (waiting.length) {
    const { appends, next } = waiting.pop();
    const state = appends.at(-1)?.state ?? null;
    const grown = [];
    for (const run of wholeAppends(next, after)) {
      const extended = await tryExtend(state, run);
      if (extended !== null)
        grown.push({ appends: [...appends, { records: run, state: extended }], next: after(run.at(-1)) });
    }
    waiting.push(...grown);
    if (!grown.length && appends.length) branches.push({ appends });
  }
  return branches;
}

/** The runs of records that begin with one of `records` and end with what needs no epoch behind it. */
function wholeAppends(records, after) {
  const whole = [];
  const waiting = records.map((record) => [record]);
  while (waiting.length) {
    const run = waiting.pop();
    if (!AWAIT_EPOCH.includes(run.at(-1).type)) whole.push(run);
    else if (run.length <= MAX_RUN) waiting.push(...after(run.at(-1)).map((record) => [...run, record]));
  }
  return whole;
}

/** The state after the append; null when it breaks a rule. A member's record of an unknown type is refused. */
async function tryExtend(state, run) {
  try {
    return await extend(state, run);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
  }
  const strange = run.find(({ type }) => !isKnown(type));
  if (strange !== undefined && state !== null) {
    const signer = hex(strange.signer);
    const known = signer === state.recovery || state.ownerOf(signer) !== undefined;
    if (known && (await holds(strange, state.meshId))) throw new Refused("a record of a type that newer readers may count");
  }
  return null;
}

async function holds(record, meshId) {
  return verifyRecord(record, meshId).then(
    () => true,
    () => false,
  );
}
