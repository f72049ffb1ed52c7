// Sections 10 and 13: links that name an inviter, and the meeting of two devices.
import assert from "node:assert/strict";
import { test } from "node:test";

import { unhex } from "../src/bytes.js";
import { makeLink, readLink } from "../src/invite.js";
import { MeetingFrames, makeMeetingLink, meetingSeed, readMeetingLink } from "../src/meeting.js";
import { signingPublic } from "../src/primitives.js";
import { each, load, refuses, revive, sameBytes, sameContent } from "./kit.js";

const links = load("links");
const [{ url: place }] = links.meetings;
const other = (side) => (side === "own" ? "new" : "own");

each("invite by somebody", links.invites.map((row) => ({ ...row, name: row.decoded.inviter })), (row) => {
  sameContent(readLink(row.url), row.decoded);
  assert.equal(makeLink(revive(row.decoded)), row.url);
});
each("invite refused", links.invites_refused, (row) => refuses(() => readLink(row.url)));
each("meeting", links.meetings, async (row) => {
  sameContent(readMeetingLink(row.url), row.decoded);
  assert.equal(makeMeetingLink(revive(row.decoded)), row.url);
  sameBytes(await signingPublic(await meetingSeed(readMeetingLink(row.url))), row.public);
});
each("meeting refused", links.meetings_refused, (row) => refuses(() => readMeetingLink(row.url)));
each("frame of a meeting", links.frames, async (row) => {
  const sealing = new MeetingFrames(readMeetingLink(place), row.side);
  const opening = new MeetingFrames(readMeetingLink(place), other(row.side));
  for (const { side, content, nonce, hex } of links.frames.slice(0, links.frames.indexOf(row) + 1)) {
    if (side !== row.side) continue;
    sameBytes(await sealing.seal(unhex(content), unhex(nonce)), hex);
    sameBytes(await opening.open(unhex(hex)), content);
  }
});
each("frame of a meeting refused", links.frames_refused, (row) =>
  refuses(() => new MeetingFrames(readMeetingLink(place), "own").open(unhex(row.hex))),
);
test("a frame that comes twice is refused, and the next one still opens", async () => {
  const opening = new MeetingFrames(readMeetingLink(place), "own");
  const [first, second] = links.frames.filter(({ side }) => side === "new").map(({ hex }) => unhex(hex));
  await opening.open(first);
  await refuses(() => opening.open(first));
  sameBytes(await opening.open(second), "68656c6c6f");
});
