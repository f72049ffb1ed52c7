// Section 6: what messages hold: receipts, bounces, profiles, voids, texts with files, asks, witnesses, standings.
import { Refused, equal, readText, require, textBytes } from "./bytes.js";
import { readRecord } from "./chain.js";
import { attempt } from "./envelope.js";
import { field, lst, readList, readU64, u64, unlst } from "./pae.js";
import { readPrekey } from "./prekeys.js";
import { openTip } from "./tip.js";

const NONE = new Uint8Array();
const ROW = {
  msg_id: field.bytes(16),
  attempt,
  message_hash: field.bytes(32),
  state: field.word("stored", "shown", "turn_started", "held", "refused", "expired", "no_such_session"),
  reason: field.text(0, 64),
  session: field.text(0, 128),
  evidence: field.text(0, 64),
  at_ms: field.number(),
  n: field.number(),
};
const BOUNCE = {
  msg_id: field.bytes(16),
  attempt,
  outer_hash: field.bytes(32),
  reason: field.word("prekey_gone", "unreadable", "removed", "too_large"),
  prekey: (data) => data,
};
const ASK = { chain_seq: field.number(1n), chain_hash: field.bytes(32) };
const STANDING = {
  member_id: field.bytes(16),
  policy: field.word("allow", "hold", "refuse", "block"),
  withheld: readWords,
  at_ms: field.number(),
};
const FILE = { name: readFileName, size: field.number(), digest: field.bytes(32) };

export function readReceipts(data) {
  return unlst(data, 1, 64).map((row) => readList(row, ROW));
}

export function makeReceipts(rows) {
  const made = rows.map((row) =>
    lst(
      row.msg_id,
      u64(row.attempt),
      row.message_hash,
      textBytes(row.state),
      textBytes(row.reason),
      textBytes(row.session),
      textBytes(row.evidence),
      u64(row.at_ms),
      u64(row.n),
    ),
  );
  return lst(...made);
}

export function readBounce(data) {
  const bounce = readList(data, BOUNCE);
  const renews = bounce.reason === "prekey_gone";
  require((bounce.prekey.length > 0) === renews, "a prekey comes with prekey_gone and with nothing else");
  return { ...bounce, prekey: renews ? readPrekey(bounce.prekey) : null };
}

/** `prekey`: the bytes of a signed prekey, or null. */
export function makeBounce(bounce, prekey) {
  return lst(bounce.msg_id, u64(bounce.attempt), bounce.outer_hash, textBytes(bounce.reason), prekey ?? NONE);
}

function readGroup(data) {
  return readList(data, { name: field.text(1, 128), role: field.text(0, 256) });
}

function readSession(data) {
  return readList(data, {
    session: field.text(1, 128),
    groups: (groups) => unlst(groups, 1, 32).map(readGroup),
  });
}

export function readProfile(data) {
  require(data.length <= 32_768, "a profile is too large");
  return readList(data, {
    version: field.number(1n),
    sessions: (sessions) => unlst(sessions, 0, 256).map(readSession),
  });
}

export function makeProfile(profile) {
  const sessions = profile.sessions.map(({ session, groups }) =>
    lst(textBytes(session), lst(...groups.map(({ name, role }) => lst(textBytes(name), textBytes(role))))),
  );
  return lst(u64(profile.version), lst(...sessions));
}

export function readVoid(data) {
  const numbers = unlst(data, 1, 1024).map(readU64);
  numbers.forEach((number, i) => require(number > (i ? numbers[i - 1] : 0n), "numbers must rise from 1"));
  return numbers;
}

export function makeVoid(numbers) {
  return lst(...numbers.map(u64));
}

function readFileName(data) {
  const name = field.text(1, 255)(data);
  if (name === "." || name === ".." || /[/\\\p{C}]/u.test(name)) throw new Refused("a file's name that must not be used");
  return name;
}

/** `{text, files}` of content type mesh/text-and-files. */
export function readAttachments(data) {
  const [text, ...files] = unlst(data, 2, 17);
  return { text: readText(text), files: files.map((file) => readList(file, FILE)) };
}

export function makeAttachments(text, files) {
  return lst(textBytes(text), ...files.map((file) => lst(textBytes(file.name), u64(file.size), file.digest)));
}

/** What a message named that its receiver does not know. */
export function readAsk(data) {
  return readList(data, ASK);
}

export function makeAsk({ chain_seq, chain_hash }) {
  return lst(u64(chain_seq), chain_hash);
}

/** `{tip, records}`: the newest tip that the broker signed for an author, and linked records, the last one the tip's. */
export async function openWitness(data, meshId, brokerKey) {
  const [encoded, items] = unlst(data, 2, 2);
  require(items.length <= 32_768 + 8 * 65, "more records than a witness brings");
  const records = await Promise.all(unlst(items, 0, 64).map(readRecord));
  const tip = await openTip(encoded, meshId, brokerKey);
  records.forEach((record, i) => {
    const expected = i + 1 < records.length ? records[i + 1].prev_hash : tip.chain_hash;
    require(equal(record.hash, expected), "records that do not lead to the tip");
  });
  return { tip, records };
}

/** `tip` and `records` encoded. */
export function makeWitness(tip, records) {
  return lst(tip, lst(...records));
}

function readWords(data) {
  const words = unlst(data, 0, 16).map(readText);
  words.forEach((word, i) => {
    require(/^[a-z][a-z-]{0,31}$/.test(word), "a grant is a word of small letters");
    require(i === 0 || words[i - 1] < word, "grants must rise");
  });
  return words;
}

export function readStandings(data) {
  return unlst(data, 1, 256).map((entry) => readList(entry, STANDING));
}

export function makeStandings(rows) {
  const made = rows.map(({ member_id, policy, withheld, at_ms }) =>
    lst(member_id, textBytes(policy), lst(...withheld.map(textBytes)), u64(at_ms)),
  );
  return lst(...made);
}
