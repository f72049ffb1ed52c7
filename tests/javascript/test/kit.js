// The frozen vectors, each as a test of its own.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Refused, hex, unhex } from "../src/bytes.js";

const FOLDER = new URL("../../../protocol/mesh_protocol/vectors/", import.meta.url);
/** Fields that are texts; all other strings are bytes in hexadecimal. */
const TEXTS = new Set(
  (
    "from_session to_session origin kind lane content_type label state reason session evidence name role type text " +
    "permissions urls broker_urls broker_url inviter side policy withheld words digits code url why"
  ).split(" "),
);

/** A JSON document without loss: integers that JavaScript's numbers cannot hold come as BigInt. */
export function parse(text) {
  const quoted = text.replace(/([:[,]\s*)(\d{15,})(?=\s*[,\]}])/g, '$1"integer:$2"');
  return JSON.parse(quoted, (_, value) =>
    typeof value === "string" && value.startsWith("integer:") ? BigInt(value.slice(8)) : value,
  );
}

export function load(name) {
  return parse(readFileSync(new URL(`${name}.json`, FOLDER), "utf8"));
}

/** Decoded content as the modules take it: bytes, and BigInt. */
export function revive(value, name = "") {
  if (Array.isArray(value)) return value.map((each) => revive(each, name));
  if (value !== null && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, revive(each, key)]));
  if (typeof value === "number") return BigInt(value);
  return typeof value === "string" && !TEXTS.has(name) ? unhex(value) : value;
}

/** What the modules give as the vectors write it; `names`: only these fields of an object. */
export function show(value, names) {
  if (value instanceof Uint8Array) return hex(value);
  if (Array.isArray(value)) return value.map((each) => show(each));
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).filter(([key]) => !names || names.includes(key));
  return Object.fromEntries(entries.map(([key, each]) => [key, show(each)]));
}

/** Asserts that all fields of `expected`, decoded content of a vector, stand in `actual` so. */
export function sameContent(actual, expected) {
  assert.deepEqual(narrow(show(actual), expected), whole(expected));
}

/** Integers of a document as BigInt throughout. */
export function whole(value) {
  if (Array.isArray(value)) return value.map(whole);
  if (typeof value === "number") return BigInt(value);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, whole(each)]));
}

function narrow(actual, expected) {
  if (Array.isArray(expected) && Array.isArray(actual)) return actual.map((each, i) => narrow(each, expected[i]));
  if (expected === null || typeof expected !== "object" || actual === null) return actual;
  return Object.fromEntries(Object.keys(expected).map((key) => [key, narrow(actual[key], expected[key])]));
}

export function sameBytes(actual, expected) {
  assert.equal(hex(actual), expected);
}

/** One test for each row. */
export function each(title, rows, check) {
  assert.ok(rows.length > 0, `${title}: no vectors`);
  rows.forEach((row, i) => test(`${title}: ${row?.name ?? row?.why ?? row?.reason ?? i + 1}`, () => check(row)));
}

/** Asserts that `work` refuses, and does so by the one exception that is made for it. */
export async function refuses(work) {
  await assert.rejects(async () => work(), Refused);
}
