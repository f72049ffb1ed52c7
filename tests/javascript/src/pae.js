// Section 1 of SPEC.md: numbers, lists, and the one encoding of what is signed, hashed or authenticated.
import { Refused, concat, equal, readText, require, textBytes } from "./bytes.js";

/** The greatest integer of the protocol. Numbers are BigInt everywhere. */
export const MAX = (1n << 63n) - 1n;
const WORD = 8;
const NONE = new Uint8Array();

function word(number) {
  const data = new Uint8Array(WORD);
  new DataView(data.buffer).setBigUint64(0, number, true);
  return data;
}

function readWord(data, place) {
  return new DataView(data.buffer, data.byteOffset).getBigUint64(place, true);
}

export function u64(number) {
  const whole = BigInt(number);
  require(whole >= 0n && whole <= MAX, "a number lies outside 0 .. 2^63 - 1");
  return word(whole);
}

export function readU64(data) {
  require(data.length === WORD, "a number must have 8 bytes");
  const number = readWord(data, 0);
  require(number <= MAX, "a number lies above 2^63 - 1");
  return number;
}

export function lst(...fields) {
  return concat(word(BigInt(fields.length)), ...fields.flatMap((field) => [word(BigInt(field.length)), field]));
}

/** `count` items from `place` on, and where they end. */
function readItems(data, place, count) {
  const items = [];
  for (let i = 0; i < count; i++) {
    require(place + WORD <= data.length, "a list is cut off before a length");
    const size = readWord(data, place);
    place += WORD;
    require(size <= BigInt(data.length - place), "a length points behind the end");
    items.push(data.subarray(place, place + Number(size)));
    place += Number(size);
  }
  return [items, place];
}

/** The items of a list that fills `data`, `low` to `high` of them. */
export function unlst(data, low, high) {
  require(data.length >= WORD, "a list is cut off before its count");
  const count = readWord(data, 0);
  require(count >= BigInt(low) && count <= BigInt(high), "a list has another number of items");
  const [items, end] = readItems(data, WORD, Number(count));
  require(end === data.length, "bytes that belong to nothing");
  return items;
}

/** The items of a list of exactly `count` at the start of `data`, and the bytes it takes. */
export function splitList(data, count) {
  require(data.length >= WORD && readWord(data, 0) === BigInt(count), "a list has another number of items");
  return readItems(data, WORD, count);
}

function label(purpose) {
  return textBytes("meshd/v1/" + purpose);
}

export function pae(purpose, ...fields) {
  return lst(label(purpose), ...fields);
}

/** The `count` fields of the PAE at the start of `data`, and the bytes it takes. */
export function splitPae(data, purpose, count) {
  const [[found, ...fields], end] = splitList(data, count + 1);
  require(equal(found, label(purpose)), `not a ${purpose}`);
  return [fields, end];
}

/** `{fields, signed, tail}` of `PAE ‖ tail`, the tail having exactly `tail` bytes. */
export function splitSigned(data, purpose, count, tail = 64) {
  const [fields, end] = splitPae(data, purpose, count);
  require(data.length - end === tail, `a ${purpose} is followed by other bytes than belong there`);
  return { fields, signed: data.subarray(0, end), tail: data.subarray(end) };
}

/** What a field holds: `parse(bytes)`, which throws Refused. Each makes a reader of one kind of field. */
export const field = {
  bytes: (size) => (data) => {
    require(data.length === size, `a field has ${data.length} bytes where ${size} belong`);
    return data;
  },
  optional: (size) => (data) => (data.length === 0 ? NONE : field.bytes(size)(data)),
  data: (low, high) => (data) => {
    require(data.length >= low && data.length <= high, "a field has a size that none has");
    return data;
  },
  number: (low = 0n, high = MAX) => (data) => {
    const number = readU64(data);
    require(number >= low && number <= high, "a number is out of its range");
    return number;
  },
  text: (low, high) => (data) => {
    require(data.length >= low && data.length <= high, "a text has a length that none has");
    return readText(data);
  },
  word: (...words) => (data) => {
    const text = readText(data);
    require(words.includes(text), "an unknown word");
    return text;
  },
  flag: (data) => {
    require(data.length === 1 && data[0] < 2, "a flag must be 0 or 1");
    return data[0] === 1;
  },
  exactly: (value) => (data) => {
    require(equal(data, value), "another version or suite");
    return data;
  },
};

/** An object of `fields` by the readers of `shape`: `{name: reader}` in the order of the format. */
export function readFields(fields, shape) {
  const names = Object.keys(shape);
  if (fields.length !== names.length) throw new Refused("another number of fields");
  return Object.fromEntries(names.map((name, i) => [name, shape[name](fields[i])]));
}

/** `readFields` of a list that fills `data`. */
export function readList(data, shape) {
  const count = Object.keys(shape).length;
  return readFields(unlst(data, count, count), shape);
}
