// Section 8: names, sealed and normal.
import { concat, readText, require, textBytes } from "./bytes.js";
import { lst, pae, splitList } from "./pae.js";
import { pad, requirePadding } from "./padding.js";
import { openXchacha, sealXchacha } from "./primitives.js";

const SIZE = 24 + 256 + 16;

function requireShowable(name) {
  const size = textBytes(name).length;
  require(size >= 1 && size <= 240, "a name must have 1 to 240 bytes");
  require(!/[\p{C}\u2028\u2029]/u.test(name), "a name holds characters that must not be shown");
  return name;
}

export function packName(name) {
  return pad(lst(textBytes(requireShowable(name))));
}

export function unpackName(padded) {
  const [[name], used] = splitList(padded, 1);
  requirePadding(padded, used);
  return requireShowable(readText(name));
}

export function sealName(key, subject, name, nonce) {
  return concat(nonce, sealXchacha(key, nonce, pae("name", subject), packName(name)));
}

export function openName(key, subject, sealed) {
  require(sealed.length === SIZE, "a sealed name has a size that none has");
  return unpackName(openXchacha(key, sealed.subarray(0, 24), pae("name", subject), sealed.subarray(24)));
}

/** The normal form of a member's name. */
export function normalName(name) {
  const normal = name.normalize("NFKC");
  require(/^[\p{L}\p{Nd}._-]{1,32}$/u.test(normal), "a name has 1 to 32 letters, digits, '-', '_' and '.'");
  return normal;
}

/** Unicode's full case folding, by the two mappings that JavaScript has: to capitals and back, twice for the capital sharp s. */
function foldCase(char) {
  if (char === "\u0131") return char;
  if (/\p{Script=Cherokee}/u.test(char)) return char.toUpperCase();
  return char.toUpperCase().toLowerCase().toUpperCase().toLowerCase();
}

/** The form in which two names are compared. */
export function comparedName(name) {
  return Array.from(name.normalize("NFKC"), foldCase).join("").normalize("NFKC");
}
