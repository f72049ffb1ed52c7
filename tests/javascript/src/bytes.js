// Byte strings: joining, comparing, hexadecimal, UTF-8 and base64url, each strict.

/** Something from outside is not what it must be. Nothing of it may be used or shown. */
export class Refused extends Error {}

/** Throws Refused unless `condition` holds. */
export function require(condition, why) {
  if (!condition) throw new Refused(why);
}

export function concat(...parts) {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    joined.set(part, place);
    place += part.length;
  }
  return joined;
}

/** -1, 0 or 1: the order of byte strings in every sorted list of the protocol. */
export function compare(one, other) {
  const size = Math.min(one.length, other.length);
  for (let i = 0; i < size; i++) if (one[i] !== other[i]) return one[i] < other[i] ? -1 : 1;
  return Math.sign(one.length - other.length);
}

/** Whether both are the same; looks at every byte wherever they differ. */
export function equal(one, other) {
  if (one.length !== other.length) return false;
  let difference = 0;
  for (let i = 0; i < one.length; i++) difference |= one[i] ^ other[i];
  return difference === 0;
}

export function isZero(data) {
  return data.every((byte) => byte === 0);
}

export function hex(data) {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function unhex(text) {
  require(/^([0-9a-f]{2})*$/.test(text), "not lower-case hexadecimal");
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

export function readText(data) {
  try {
    return decoder.decode(data);
  } catch {
    throw new Refused("a text is not valid UTF-8");
  }
}

export function textBytes(text) {
  require(!/\p{Surrogate}/u.test(text), "a text holds a lone surrogate");
  return encoder.encode(text);
}

export function base64url(data) {
  const plain = btoa(String.fromCharCode(...data));
  return plain.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Bytes of base64url without padding; what another spelling would give is refused. */
export function unbase64url(text) {
  require(/^[A-Za-z0-9_-]*$/.test(text) && text.length % 4 !== 1, "not base64url");
  const data = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
  require(base64url(data) === text, "base64url with stray bits");
  return data;
}

/** All but `A-Z a-z 0-9 - . _ ~` as upper-case escapes. */
export function percentEncode(text) {
  return encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

export function percentDecode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Refused("escapes that are no UTF-8");
  }
}
