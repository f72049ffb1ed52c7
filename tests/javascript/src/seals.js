// Section 7: the mesh's keys on their way to a device, and a device's request for them.
import { compare, concat, equal, require } from "./bytes.js";
import { epochCommitment } from "./chain.js";
import { SUITE } from "./envelope.js";
import { open as hpkeOpen, seal as hpkeSeal } from "./hpke.js";
import { openName } from "./names.js";
import { field, lst, pae, readFields, readList, readU64, splitList, splitSigned, u64 } from "./pae.js";
import { pad, requirePadding } from "./padding.js";
import { readPrekey, verifyPrekey } from "./prekeys.js";
import { agreementPublic, sign, verify } from "./primitives.js";
import { makeTipRef, readTipRef } from "./tip.js";

const ENTRY = 40;
const MAX_EPOCHS = 16_384;
const SEAL = {
  suite: field.exactly(SUITE),
  to_device: field.bytes(32),
  epoch: field.number(1n),
  prekey_id: field.number(),
  enc: field.bytes(32),
  ct: field.data(16, 1 << 20),
};
const REQUEST = {
  mesh_id: field.bytes(32),
  device: field.bytes(32),
  first_epoch: field.number(1n),
  spk: readPrekey,
  tip: readTipRef,
  bad_seal: field.optional(32),
};

function sealInfo(seal, meshId, prekeyPub) {
  const ids = [u64(seal.epoch), seal.to_device, u64(seal.prekey_id)];
  return pae("epoch-seal", SUITE, meshId, ...ids, prekeyPub);
}

function readEntries(data, epoch) {
  const count = data.length / ENTRY;
  require(Number.isInteger(count) && count >= 1 && count <= MAX_EPOCHS, "epoch keys of a size that none have");
  const epochs = new Map();
  let last = 0n;
  for (let place = 0; place < data.length; place += ENTRY) {
    const number = readU64(data.subarray(place, place + 8));
    require(number > last, "epoch keys must rise");
    epochs.set(number, data.subarray(place + 8, place + ENTRY));
    last = number;
  }
  require(last === epoch, "a seal holds its own epoch's key and none newer");
  return epochs;
}

/** `{nameKey, epochs, tip, seal}`: nothing of it is proven until `checkKeys`. */
export async function openSeal(data, prekey, meshId) {
  const seal = readList(data, SEAL);
  const info = sealInfo(seal, meshId, await agreementPublic(prekey));
  const padded = await hpkeOpen(prekey, info, seal.enc, seal.ct);
  const [[nameKey, entries, tip], used] = splitList(padded, 3);
  requirePadding(padded, used);
  require(nameKey.length === 32, "a name key has 32 bytes");
  return { nameKey, epochs: readEntries(entries, seal.epoch), tip: readTipRef(tip), seal };
}

/** Throws Refused unless each key is the one that the verified chain commits to, and the name key opens the mesh's name. */
export async function checkKeys(keys, { meshId, commitments }, genesis) {
  for (const [epoch, key] of keys.epochs) {
    const commitment = commitments.get(epoch);
    require(commitment !== undefined, "a key of an epoch that the chain does not have");
    require(equal(await epochCommitment(meshId, epoch, key), commitment), "another key than the chain's");
  }
  openName(keys.nameKey, genesis.salt, genesis.sealed_mesh_name);
}

/** A seal; `to` is `{to_device, epoch, prekey_id, prekey_pub}`, `epochs` a Map in rising order. */
export async function makeSeal({ nameKey, epochs, tip }, to, meshId, ephemeral) {
  const entries = concat(...[...epochs].flatMap(([epoch, key]) => [u64(epoch), key]));
  const text = pad(lst(nameKey, entries, makeTipRef(tip)));
  const { enc, ct } = await hpkeSeal(ephemeral, to.prekey_pub, sealInfo(to, meshId, to.prekey_pub), text);
  return lst(SUITE, to.to_device, u64(to.epoch), u64(to.prekey_id), enc, ct);
}

/** The request of an active device of the mesh whose verified `state` this is. */
export async function openKeyRequest(data, state, isActive) {
  require(data.length <= 1_024, "a key request is too large");
  const { fields, signed, tail } = splitSigned(data, "key-request", 6);
  const request = readFields(fields, REQUEST);
  require(compare(request.mesh_id, state.meshId) === 0 && isActive(request.device), "no device of this mesh");
  await verify(request.device, signed, tail);
  await verifyPrekey(request.spk, request.mesh_id, request.device);
  return request;
}

/** `prekey`: the bytes of the asker's signed prekey. */
export async function makeKeyRequest(seed, { mesh_id, device, first_epoch, tip, bad_seal }, prekey) {
  const signed = pae("key-request", mesh_id, device, u64(first_epoch), prekey, makeTipRef(tip), bad_seal);
  return concat(signed, await sign(seed, signed));
}
