// Section 2: zero padding to Padmé buckets.
import { concat, isZero, require } from "./bytes.js";

const LEAST = 256;

export function bucket(size) {
  if (size <= LEAST) return LEAST;
  const exponent = Math.floor(Math.log2(size));
  const step = 2 ** (exponent - (Math.floor(Math.log2(exponent)) + 1));
  return Math.ceil(size / step) * step;
}

export function pad(data) {
  return concat(data, new Uint8Array(bucket(data.length) - data.length));
}

export function requirePadding(padded, used) {
  const right = padded.length === bucket(used) && isZero(padded.subarray(used));
  require(right, "the padding is not what the content's size asks for");
}

/** Whether `size` is that of a padded text under an AEAD with a tag of 16 bytes. */
export function isSealedSize(size) {
  return size >= LEAST + 16 && bucket(size - 16) === size - 16;
}
