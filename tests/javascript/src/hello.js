// Section 9: the hellos of device and broker. Neither travels: both sides build both.
import { concat, equal, require } from "./bytes.js";
import { pae, u64 } from "./pae.js";
import { hmac, sha256, verify } from "./primitives.js";

const MAX_VERSION = 65_535n;

export function clientHello(hello) {
  const { broker_key, mesh_id, device, challenge, nonce, ver_min, ver_max, generation } = hello;
  const ids = [broker_key, mesh_id, device, challenge, nonce];
  require(ids.every((each) => each.length === 32), "a field of a hello has another size than 32 bytes");
  require(ver_min <= ver_max && ver_max <= MAX_VERSION, "versions that none has");
  return pae("hello-client", ...ids, u64(ver_min), u64(ver_max), u64(generation));
}

/** Throws Refused unless its device signed the hello; broker key and challenge in it must be the broker's own. */
export async function verifyClientHello(hello, signature) {
  await verify(hello.device, clientHello(hello), signature);
}

export function transcript(hello, signature) {
  return sha256(concat(clientHello(hello), signature));
}

export function brokerHello({ transcript_hash, version, session_id, server_ms }) {
  require(transcript_hash.length === 32 && session_id.length === 16, "a field of a hello has a wrong size");
  return pae("hello-broker", transcript_hash, u64(version), session_id, u64(server_ms));
}

/** Throws Refused unless the broker that `client` names answered this very hello, with a version it offered. */
export async function verifyBrokerHello(hello, signature, client, clientSignature) {
  require(equal(hello.transcript_hash, await transcript(client, clientSignature)), "answers another hello");
  require(hello.version >= client.ver_min && hello.version <= client.ver_max, "a version that was not offered");
  await verify(client.broker_key, brokerHello(hello), signature);
}

export function admissionProof(token, hello) {
  return hmac(token, clientHello(hello));
}
