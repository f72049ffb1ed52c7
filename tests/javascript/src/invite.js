// Section 10: invites by link, and the request that answers one.
import { base64url, compare, equal, hex, percentDecode, percentEncode, require, unbase64url } from "./bytes.js";
import { isBrokerUrl } from "./chain.js";
import { SUITE } from "./envelope.js";
import { open as hpkeOpen, seal as hpkeSeal } from "./hpke.js";
import { normalName, packName, unpackName } from "./names.js";
import { field, lst, pae, readFields, readList, splitSigned, u64, unlst } from "./pae.js";
import { readPrekey, verifyPrekey } from "./prekeys.js";
import { agreementPublic, hkdf, sha256, sign, verify } from "./primitives.js";
import { makeTipRef, readTipRef } from "./tip.js";

const LINK = new RegExp(
  "^mesh://join/1\\?m=([\\w-]{43})&i=([\\w-]{43})&b=([\\w.~%-]{1,800})(?:&f=([\\w.~%-]{1,400}))?#([\\w-]{43})$",
);
const MAX_LINK = 1_536;
const REQUEST = {
  mesh_id: field.bytes(32),
  invite_id: field.bytes(32),
  device: field.bytes(32),
  spk: readPrekey,
  tip: readTipRef,
  names_hash: field.bytes(32),
};
const NAME = {
  signer: field.bytes(32),
  prekey_id: field.number(),
  enc: field.bytes(32),
  ct: field.bytes(256 + 16),
};

/** The link; `inviter` is what its maker calls himself, or empty. */
export function makeLink({ mesh_id, invite_id, broker_url, secret, inviter = "" }) {
  const by = inviter ? `&f=${percentEncode(inviter)}` : "";
  const where = `m=${base64url(mesh_id)}&i=${base64url(invite_id)}&b=${percentEncode(broker_url)}${by}`;
  return `mesh://join/1?${where}#${base64url(secret)}`;
}

export function readLink(text) {
  const found = text.length <= MAX_LINK ? LINK.exec(text) : null;
  require(found !== null && !text.includes("\n"), "not an invite link");
  const [mesh_id, invite_id, secret] = [found[1], found[2], found[5]].map(unbase64url);
  const [broker_url, inviter] = [percentDecode(found[3]), percentDecode(found[4] ?? "")];
  require(isBrokerUrl(broker_url), "an invite link names no broker");
  require(inviter === "" || normalName(inviter) === inviter, "a name in another form than names have");
  const link = { mesh_id, invite_id, broker_url, secret, inviter };
  require(makeLink(link) === text, "an invite link has one spelling");
  return link;
}

/** The private key of an invite. */
export function inviteSeed(secret) {
  return hkdf(secret, pae("invite-key"));
}

function nameInfo(request, name, prekeyPub) {
  const ids = [request.mesh_id, request.invite_id, request.device, name.signer, u64(name.prekey_id)];
  return pae("join-name", SUITE, ...ids, prekeyPub);
}

/** A verified request: by the invite's key and by the device. The caller compares mesh and invite. */
export async function openJoinRequest(data, invitePub) {
  require(data.length <= 65_536, "a join request is too large");
  const [signed, names, inviteSignature, deviceSignature] = unlst(data, 4, 4);
  const request = readFields(splitSigned(signed, "join-request", 6, 0).fields, REQUEST);
  require(equal(await sha256(names), request.names_hash), "other names than it was signed with");
  request.names = unlst(names, 1, 64).map((name) => readList(name, NAME));
  const signers = new Set(request.names.map(({ signer }) => hex(signer)));
  require(signers.size === request.names.length, "two names for one signer");
  await verify(invitePub, signed, inviteSignature);
  await verify(request.device, signed, deviceSignature);
  await verifyPrekey(request.spk, request.mesh_id, request.device);
  return request;
}

/** The joiner's name, as the signer reads it with the private key of the prekey that it was sealed to. */
export async function openJoinerName(request, signer, prekey) {
  const name = request.names.find((each) => compare(each.signer, signer) === 0);
  require(name !== undefined, "no name for this signer");
  return unpackName(await hpkeOpen(prekey, nameInfo(request, name, await agreementPublic(prekey)), name.enc, name.ct));
}

/** One sealed name, encoded; `to` is `{signer, prekey_id, prekey_pub}`. */
export async function sealJoinerName(request, name, to, ephemeral) {
  const { enc, ct } = await hpkeSeal(ephemeral, to.prekey_pub, nameInfo(request, to, to.prekey_pub), packName(name));
  return lst(to.signer, u64(to.prekey_id), enc, ct);
}

/** `prekey`: the bytes of the joiner's signed prekey; `names` as `sealJoinerName` makes them. */
export async function makeJoinRequest(seeds, request, prekey, names) {
  const all = lst(...names);
  const { mesh_id, invite_id, device, tip } = request;
  const signed = pae("join-request", mesh_id, invite_id, device, prekey, makeTipRef(tip), await sha256(all));
  return lst(signed, all, await sign(seeds.invite, signed), await sign(seeds.device, signed));
}
