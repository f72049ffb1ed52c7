"""The frozen vectors rebuilt from their decoded content by the reference, which shares no code with the product."""

import hmac
import json
from base64 import urlsafe_b64encode
from pathlib import Path
from urllib.parse import quote

import pytest

import group_reference as group
import mesh_reference as ref

VECTORS = Path(__file__).resolve().parents[2] / "protocol" / "mesh_protocol" / "vectors"
H = bytes.fromhex
SUITE = b"\x01"


def load(name):
    return json.loads((VECTORS / f"{name}.json").read_text())


def tip_ref(tip):
    return ref.lst(ref.u64(tip["chain_seq"]), H(tip["chain_hash"]), ref.u64(tip["log_seq"]), H(tip["log_head"]))


def signed(seed, message):
    return message + ref.sign(H(seed), message)


def spk(decoded, seed):
    fields = ref.pae(
        "prekey-spk",
        H(decoded["mesh_id"]),
        H(decoded["device"]),
        ref.u64(decoded["prekey_id"]),
        H(decoded["pub"]),
        ref.u64(decoded["made_ms"]),
    )
    return signed(seed, fields) if seed else fields + H(decoded["sig"])


def test_the_reference_makes_every_encoding_and_key_vector():
    doc = load("pae")
    for row in doc["lists"]:
        assert ref.lst(*map(H, row["fields"])) == H(row["hex"])
    for row in doc["paes"]:
        assert ref.pae(row["purpose"], *map(H, row["fields"])) == H(row["hex"])
    doc = load("keys")
    for row in doc["signing_keys"]:
        assert ref.ed25519_public(H(row["seed"])) == H(row["public"])
    for row in doc["prekey_pairs"]:
        assert ref.x25519_public(H(row["seed"])) == H(row["public"])
    for row in doc["signed_prekeys"]:
        assert spk(row["decoded"], row["signer_seed"]) == H(row["hex"])
    for row in doc["aead"]:
        made = ref.xchacha_seal(H(row["key"]), H(row["nonce"]), H(row["aad"]), H(row["plaintext"]))
        assert made == H(row["hex"])
    for row in doc["hkdf"]:
        assert ref.hkdf(H(row["key"]), H(row["info"]), row["length"]) == H(row["hex"])
    for row in load("padding")["buckets"]:
        assert len(ref.padme(bytes(row["size"]))) == row["bucket"]


@pytest.mark.parametrize("row", load("envelope")["envelopes"], ids=lambda row: row["name"])
def test_the_reference_makes_every_envelope(row):
    m = row["decoded"]
    raw = signed(
        row["signer_seed"],
        ref.pae(
            "dm-sig",
            SUITE,
            H(m["mesh_id"]),
            H(m["from_member"]),
            H(m["from_device"]),
            m["from_session"].encode(),
            m["origin"].encode(),
            H(m["to_member"]),
            H(m["to_device"]),
            m["to_session"].encode(),
            H(m["msg_id"]),
            H(m["conv_id"]),
            ref.u64(m["stream_seq"]),
            ref.u64(m["created_ms"]),
            ref.u64(m["expires_ms"]),
            m["kind"].encode(),
            m["lane"].encode(),
            H(m["reply_to"]),
            tip_ref(m["tip"]),
            m["content_type"].encode(),
            H(m["content"]),
        ),
    )
    routing = (
        b"\x01",
        SUITE,
        H(m["mesh_id"]),
        H(m["from_device"]),
        H(m["to_device"]),
        H(m["msg_id"]),
        ref.u64(row["attempt"]),
        m["lane"].encode(),
        ref.u64(m["expires_ms"]),
        ref.u64(row["prekey_id"]),
    )
    prekey = ref.x25519_public(H(row["prekey_private"]))
    enc, ct = ref.hpke_seal(H(row["ephemeral"]), prekey, ref.pae("dm-info", *routing, prekey), ref.padme(raw))
    assert raw == H(row["raw"])
    assert ref.sha256(raw) == H(row["message_hash"])
    assert ref.lst(*routing, enc, ct) == H(row["hex"])


@pytest.mark.parametrize("row", load("group")["messages"], ids=lambda row: row["name"])
def test_the_reference_makes_every_message_to_many(row):
    m, key = row["decoded"], H(row["content_key"])
    body = ref.lst(
        H(m["from_member"]),
        m["from_session"].encode(),
        m["origin"].encode(),
        H(m["conv_id"]),
        ref.u64(m["created_ms"]),
        m["kind"].encode(),
        H(m["reply_to"]),
        tip_ref(m["tip"]),
        m["content_type"].encode(),
        ref.lst(*(group.entry(H(each["device"]), each["stream_seq"], each["label"]) for each in m["recipients"])),
        H(m["content"]),
    )
    routing = group.Routing(H(m["mesh_id"]), H(m["from_device"]), H(m["msg_id"]), m["lane"], m["expires_ms"])
    shared = group.shared(routing, key, H(row["nonce"]), ref.padme(body))
    signed_bytes = group.signed(routing, shared, key)
    signature = ref.sign(H(row["signer_seed"]), signed_bytes)
    assert (shared, signed_bytes, key + signature) == (H(row["shared"]), H(row["signed"]), H(row["secret"]))
    assert ref.sha256(signed_bytes + signature) == H(row["message_hash"])
    items = []
    for each in row["wraps"]:
        prekey = ref.x25519_public(H(each["prekey_private"]))
        to = group.Address(H(each["to_device"]), each["attempt"], each["prekey_id"], prekey)
        wrapped = group.wrap(routing, shared, key + signature, to, H(each["ephemeral"]))
        assert group.info(routing, shared, to) == H(each["info"])
        assert wrapped == (H(each["enc"]), H(each["wrapped"]))
        assert group.outer(routing, shared, to, wrapped) == H(each["outer"])
        assert ref.sha256(H(each["outer"])) == H(each["outer_hash"])
        items.append(group.wrap_item(to, wrapped))
    assert group.fan(routing, shared, items) == H(row["fan"])


def test_the_reference_makes_every_receipt_and_bounce():
    doc = load("receipt")
    for row in doc["receipts"]:
        items = [
            ref.lst(
                H(each["msg_id"]),
                ref.u64(each["attempt"]),
                H(each["message_hash"]),
                each["state"].encode(),
                each["reason"].encode(),
                each["session"].encode(),
                each["evidence"].encode(),
                ref.u64(each["at_ms"]),
                ref.u64(each["n"]),
            )
            for each in row["decoded"]
        ]
        assert ref.lst(*items) == H(row["hex"])
    for row in doc["bounces"]:
        b = row["decoded"]
        prekey = spk(b["spk"], "") if b["spk"] else b""
        made = ref.lst(H(b["msg_id"]), ref.u64(b["attempt"]), H(b["outer_hash"]), b["reason"].encode(), prekey)
        assert made == H(row["hex"])


def test_the_reference_makes_both_hellos_and_the_admission_proof():
    doc = load("hello")
    c, b = doc["client"]["decoded"], doc["broker"]["decoded"]
    client = ref.pae(
        "hello-client",
        *(H(c[name]) for name in ("broker_key", "mesh_id", "device", "challenge", "nonce")),
        *(ref.u64(c[name]) for name in ("ver_min", "ver_max", "generation")),
    )
    assert signed(doc["client"]["signer_seed"], client) == H(doc["client"]["hex"] + doc["client"]["sig"])
    transcript = ref.sha256(client + H(doc["client"]["sig"]))
    assert transcript == H(b["transcript_hash"])
    broker = ref.pae("hello-broker", transcript, ref.u64(b["version"]), H(b["session_id"]), ref.u64(b["server_ms"]))
    assert signed(doc["broker"]["signer_seed"], broker) == H(doc["broker"]["hex"] + doc["broker"]["sig"])
    proof = hmac.digest(H(doc["admission"]["token"]), client, "sha256")
    assert proof == H(doc["admission"]["proof"])


def test_the_reference_makes_every_tip_and_log_head():
    doc = load("tip")
    mesh_id = H(doc["mesh_id"])
    for row in doc["tips"]:
        t = row["decoded"]
        fields = ref.pae(
            "tip",
            mesh_id,
            ref.u64(t["chain_seq"]),
            H(t["chain_hash"]),
            ref.u64(t["log_seq"]),
            H(t["log_head"]),
        )
        assert signed(doc["broker_seed"], fields) == H(row["hex"])
    head = bytes(32)
    for row in doc["log_heads"]:
        item = ref.lst(b"marker", ref.u64(row["n"]), H(row["chain_hash"]))
        head = ref.sha256(ref.pae("log-head", mesh_id, ref.u64(row["n"]), head, item))
        assert head == H(row["head"])


def chain_body(kind, b):
    if kind == "genesis":
        urls = ref.lst(*(url.encode() for url in b["broker_urls"]))
        first = [H(b[name]) for name in ("salt", "member_id", "device", "recovery_pub", "broker_key")]
        return ref.lst(*first, urls, H(b["sealed_mesh_name"]), H(b["sealed_member_name"]))
    if kind == "epoch":
        return ref.lst(ref.u64(b["epoch"]), H(b["kc"]))
    if kind == "add_member":
        return ref.lst(H(b["member_id"]), b["role"].encode(), H(b["device"]), H(b["sealed_name"]), H(b["invite_id"]))
    if kind == "add_device":
        return ref.lst(H(b["member_id"]), H(b["device"]))
    assert kind == "invite_open"
    return ref.lst(
        H(b["invite_pub"]),
        b["role"].encode(),
        ref.u64(b["max_uses"]),
        ref.u64(b["expires_ms"]),
        bytes([b["approve"]]),
    )


def test_the_reference_makes_every_chain_record():
    doc = load("chain")
    previous = b""
    for row in doc["records"]:
        r = row["decoded"]
        fields = (
            ref.u64(r["seq"]),
            previous,
            r["type"].encode(),
            chain_body(r["type"], r["body"]),
            ref.ed25519_public(H(row["signer_seed"])),
        )
        mesh_id = H(doc["mesh_id"]) if r["seq"] > 1 else b""
        signature = ref.sign(H(row["signer_seed"]), ref.pae("chain-sig", mesh_id, *fields))
        record = ref.pae("chain-record", *fields, signature)
        assert record == H(row["hex"])
        if r["seq"] == 1:
            assert ref.sha256(ref.pae("genesis", *fields, signature)) == H(doc["mesh_id"])
        previous = ref.sha256(record)
        assert previous == H(row["hash"])
    for row in doc["commitments"]:
        commitment = ref.pae("epoch-kc", H(doc["mesh_id"]), ref.u64(row["epoch"]), H(row["gk"]))
        assert ref.sha256(commitment) == H(row["kc"])


@pytest.mark.parametrize("row", load("seals")["seals"], ids=lambda row: row["name"])
def test_the_reference_makes_every_seal(row):
    d = row["decoded"]
    numbered = sorted((int(epoch), H(key)) for epoch, key in d["epochs"].items())
    content = ref.lst(H(d["name_key"]), b"".join(ref.u64(epoch) + key for epoch, key in numbered), tip_ref(d["tip"]))
    prekey = ref.x25519_public(H(row["prekey_private"]))
    epoch, prekey_id = ref.u64(row["epoch"]), ref.u64(row["prekey_id"])
    info = ref.pae("epoch-seal", SUITE, H(row["mesh_id"]), epoch, H(row["to_device"]), prekey_id, prekey)
    enc, ct = ref.hpke_seal(H(row["ephemeral"]), prekey, info, ref.padme(content))
    assert ref.lst(SUITE, H(row["to_device"]), epoch, prekey_id, enc, ct) == H(row["hex"])


def test_the_reference_makes_every_sealed_name():
    for row in load("names")["sealed"]:
        padded = ref.padme(ref.lst(row["name"].encode()))
        aad = ref.pae("name", H(row["subject"]))
        sealed = ref.xchacha_seal(H(row["name_key"]), H(row["nonce"]), aad, padded)
        assert H(row["nonce"]) + sealed == H(row["hex"])


def b64(data):
    return urlsafe_b64encode(data).decode().rstrip("=")


def test_the_reference_makes_every_invite_link_and_join_request():
    doc = load("invite")
    for row in doc["links"]:
        link = row["decoded"]
        where = f"m={b64(H(link['mesh_id']))}&i={b64(H(link['invite_id']))}&b={quote(link['broker_url'], safe='')}"
        assert row["url"] == f"mesh://join/1?{where}#{b64(H(link['secret']))}"
    invite_seed = ref.hkdf(H(doc["key"]["secret"]), ref.pae("invite-key"))
    assert ref.ed25519_public(invite_seed) == H(doc["key"]["public"])
    r = doc["request"]["decoded"]
    names = []
    for name in r["sealed_names"]:
        signer = ref.x25519_public(H(name["prekey_private"]))
        info = ref.pae(
            "join-name",
            SUITE,
            H(r["mesh_id"]),
            H(r["invite_id"]),
            H(r["device"]),
            H(name["signer"]),
            ref.u64(name["prekey_id"]),
            signer,
        )
        padded = ref.padme(ref.lst(name["name"].encode()))
        enc, ct = ref.hpke_seal(H(name["ephemeral"]), signer, info, padded)
        names.append(ref.lst(H(name["signer"]), ref.u64(name["prekey_id"]), enc, ct))
    fields = ref.pae(
        "join-request",
        H(r["mesh_id"]),
        H(r["invite_id"]),
        H(r["device"]),
        spk(r["spk"], doc["request"]["device_seed"]),
        tip_ref(r["tip"]),
        ref.sha256(ref.lst(*names)),
    )
    signatures = [ref.sign(seed, fields) for seed in (invite_seed, H(doc["request"]["device_seed"]))]
    assert ref.lst(fields, ref.lst(*names), *signatures) == H(doc["request"]["hex"])


def test_the_reference_makes_every_channel_and_live_frame():
    doc = load("live")
    for row in doc["channels"]:
        key = ref.hkdf(H(row["gk"]), ref.pae("live-chan"))
        assert hmac.digest(key, row["name"].encode(), "sha256")[:16] == H(row["id"])
    for row in doc["frames"]:
        f = row["decoded"]
        mesh_id, device, channel = H(f["mesh_id"]), H(f["device"]), H(f["channel"])
        inner = signed(
            row["signer_seed"],
            ref.pae(
                "live-sig",
                SUITE,
                mesh_id,
                device,
                ref.u64(f["epoch"]),
                ref.u64(f["generation"]),
                ref.u64(f["n"]),
                channel,
                f["kind"].encode(),
                ref.u64(f["created_ms"]),
                tip_ref(f["tip"]),
                H(f["content"]),
            ),
        )
        routing = (b"\x01", SUITE, mesh_id, device, ref.u64(f["epoch"]), channel)
        key = ref.hkdf(H(row["gk"]), ref.pae("live-key", *routing))
        ct = ref.xchacha_seal(key, H(row["nonce"]), b"", ref.padme(inner))
        assert ref.lst(*routing, H(row["nonce"]), ct) == H(row["hex"])
