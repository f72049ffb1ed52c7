// Section 13: where two devices of one person meet at a broker to be linked.
import { base64url, concat, percentDecode, percentEncode, require, textBytes, unbase64url } from "./bytes.js";
import { isBrokerUrl } from "./chain.js";
import { pae, u64 } from "./pae.js";
import { hkdf, openXchacha, sealXchacha } from "./primitives.js";

const LINK = /^mesh:\/\/link\/1\?m=([\w-]{43})&b=([\w.~%-]{1,800})#([\w-]{43})$/;
const MAX_LINK = 1_024;
const MAX_CONTENT = 1_024;
const NONE = new Uint8Array();

export function makeMeetingLink({ mesh_id, broker_url, secret }) {
  return `mesh://link/1?m=${base64url(mesh_id)}&b=${percentEncode(broker_url)}#${base64url(secret)}`;
}

export function readMeetingLink(text) {
  const found = text.length <= MAX_LINK ? LINK.exec(text) : null;
  require(found !== null && !text.includes("\n"), "no link of two devices");
  const link = { mesh_id: unbase64url(found[1]), broker_url: percentDecode(found[2]), secret: unbase64url(found[3]) };
  require(isBrokerUrl(link.broker_url) && makeMeetingLink(link) === text, "a link has one spelling");
  return link;
}

/** The private key that both sides say hello with. */
export function meetingSeed({ secret }) {
  return hkdf(secret, pae("meet-key"));
}

/** The frames of one side of one attempt, `own` (a member's device) or `new`, each once and in their order. */
export class MeetingFrames {
  #sealed = 0;
  #opened = 0;

  constructor(link, side) {
    Object.assign(this, { link, side });
  }

  #key(side, number) {
    return hkdf(this.link.secret, pae("meet-frame", this.link.mesh_id, textBytes(side), u64(number)));
  }

  /** The next frame; `nonce` is 24 random bytes. */
  async seal(content, nonce) {
    require(content.length <= MAX_CONTENT, "more than one frame holds");
    this.#sealed += 1;
    return concat(nonce, sealXchacha(await this.#key(this.side, this.#sealed), nonce, NONE, content));
  }

  /** What the other side says with its next frame. */
  async open(frame) {
    require(frame.length >= 40 && frame.length <= 40 + MAX_CONTENT, "no frame of a meeting");
    const key = await this.#key(this.side === "own" ? "new" : "own", this.#opened + 1);
    const content = openXchacha(key, frame.subarray(0, 24), NONE, frame.subarray(24));
    this.#opened += 1;
    return content;
  }
}
