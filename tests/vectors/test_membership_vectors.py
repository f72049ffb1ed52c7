"""The frozen vectors of membership: read by the product, and the bytes made once more by the reference."""

import hashlib
import json
import random
from base64 import urlsafe_b64encode

import pytest

import make_vectors
import mesh_reference as ref
from chain_story import peopled
from mesh_protocol.chain import Record, decode_body
from mesh_protocol.forks import Frozen, Head, judge
from mesh_protocol.key_request import open_key_request
from mesh_protocol.linking import LinkReveal
from mesh_protocol.members import ChainError, extend
from mesh_protocol.safety import parse_code, safety_number
from mesh_protocol.words import WORDS
from vectors_membership import body_shown, heads, state_shown

H = bytes.fromhex


def load(name):
    return json.loads((make_vectors.VECTORS / f"{name}.json").read_text())


def read(rows):
    return [Record.decode(H(row)) for row in rows]


def test_every_record_is_read_and_the_chain_says_what_is_written():
    doc = load("membership")
    records = read(row["hex"] for row in doc["records"])
    for record, row in zip(records, doc["records"], strict=True):
        assert body_shown(decode_body(record)) == row["decoded"]["body"]
        assert decode_body(record).encode() == H(row["body"])
        assert record.hash == H(row["hash"])
    assert state_shown(extend(None, records)) == doc["state"]


@pytest.mark.parametrize("row", load("membership")["refused"], ids=lambda row: row["reason"])
def test_what_is_frozen_as_refused_is_refused_for_that_reason(row):
    pool = load("membership")["pool"]
    state = extend(None, read(pool[index] for index in row["chain"]))
    with pytest.raises(ChainError) as raised:
        extend(state, read(row["then"]))
    assert raised.value.reason == row["reason"]


@pytest.mark.parametrize("row", load("forks")["cases"], ids=lambda row: row["name"])
def test_a_set_of_records_has_the_frozen_verdict_in_any_order(row):
    doc = load("forks")
    records = [Record.decode(H(doc["records"][index])) for index in row["records"]]
    for seed in range(3):
        random.Random(seed).shuffle(records)
        judged = judge(H(doc["mesh_id"]), records)
        frozen = isinstance(judged, Frozen)
        assert row["verdict"] == ("frozen" if frozen else "settled")
        head = Head(judged.state.seq, judged.state.head)
        assert row["heads"] == heads(judged.heads if frozen else [head])
        assert row["common"] == heads([head])[0]
        assert row["void"] == heads(judged.void)


def test_every_key_request_is_read():
    for row in load("requests")["requests"]:
        data, shown = H(row["hex"]), row["decoded"]
        request = open_key_request(data, peopled().state)
        assert (request.device.hex(), request.first_epoch) == (shown["device"], shown["first_epoch"])
        assert request.bad_seal.hex() == shown["bad_seal"]


def test_every_safety_number_and_link_is_read():
    doc = load("verifying")
    for row in doc["safety_numbers"]:
        one, other = ((H(side["member_id"]), list(map(H, side["devices"]))) for side in row["decoded"]["sides"])
        number = safety_number(H(row["decoded"]["mesh_id"]), *one, *other)
        assert (number.data, number.digits, number.code) == (H(row["hex"]), row["digits"], row["code"])
        assert parse_code(row["code"]) == number
    assert list(WORDS) == doc["words"]
    for row in doc["links"]:
        reveal = LinkReveal.decode(H(row["hex"]))
        assert reveal.commitment() == H(row["commitment"])
        assert list(reveal.words(H(row["by"]), H(row["by_nonce"]))) == row["words"]


# The reference.


def flag(value):
    return b"\1" if value else b"\0"


def texts(values):
    return ref.lst(*(value.encode() for value in values))


BODIES = {
    "genesis": lambda b: ref.lst(
        *(H(b[name]) for name in ("salt", "member_id", "device", "recovery_pub", "broker_key")),
        texts(b["broker_urls"]),
        H(b["sealed_mesh_name"]),
        H(b["sealed_member_name"]),
    ),
    "epoch": lambda b: ref.lst(ref.u64(b["epoch"]), H(b["kc"])),
    "add_member": lambda b: ref.lst(
        H(b["member_id"]), b["role"].encode(), H(b["device"]), H(b["sealed_name"]), H(b["invite_id"])
    ),
    "add_device": lambda b: ref.lst(H(b["member_id"]), H(b["device"])),
    "invite_open": lambda b: ref.lst(
        H(b["invite_pub"]), b["role"].encode(), ref.u64(b["max_uses"]), ref.u64(b["expires_ms"]), flag(b["approve"])
    ),
    "invite_close": lambda b: ref.lst(H(b["invite_id"])),
    "remove_member": lambda b: ref.lst(H(b["member_id"]), flag(b["ban"])),
    "unban": lambda b: ref.lst(H(b["member_id"])),
    "revoke_device": lambda b: ref.lst(H(b["device"]), ref.lst(*map(H, b["kept"]))),
    "add_signer": lambda b: ref.lst(H(b["device"])),
    "remove_signer": lambda b: ref.lst(H(b["device"])),
    "set_role": lambda b: ref.lst(H(b["member_id"]), b["role"].encode()),
    "policy": lambda b: ref.lst(H(b["member_id"]), texts(b["permissions"])),
    "set_name": lambda b: ref.lst(H(b["member_id"]), H(b["sealed_name"])),
    "broker_key": lambda b: ref.lst(H(b["key"]), texts(b["urls"])),
    "snapshot": lambda b: ref.lst(
        ref.u64(b["log_seq"]), H(b["log_head"]), ref.u64(b["fold_version"]), H(b["views_hash"]), H(b["blob"])
    ),
    "resolve": lambda b: ref.lst(H(b["head"]), ref.u64(b["log_seq"]), H(b["log_head"])),
}


def test_the_reference_makes_every_record():
    doc, previous = load("membership"), b""
    for row in doc["records"]:
        shown = row["decoded"]
        body = BODIES[shown["type"]](shown["body"])
        assert body == H(row["body"])
        signer = ref.ed25519_public(H(row["signer_seed"]))
        fields = (ref.u64(shown["seq"]), previous, shown["type"].encode(), body, signer)
        bound = H(doc["mesh_id"]) if previous else b""
        signature = ref.sign(H(row["signer_seed"]), ref.pae("chain-sig", bound, *fields))
        record = ref.pae("chain-record", *fields, signature)
        assert record == H(row["hex"])
        previous = ref.sha256(record)


def test_the_reference_makes_every_key_request():
    for row in load("requests")["requests"]:
        d = row["decoded"]
        signed = ref.pae(
            "key-request",
            H(d["mesh_id"]),
            H(d["device"]),
            ref.u64(d["first_epoch"]),
            prekey(d["spk"]),
            ref.lst(*(tip_field(d["tip"], name) for name in ("chain_seq", "chain_hash", "log_seq", "log_head"))),
            H(d["bad_seal"]),
        )
        assert signed + ref.sign(H(row["signer_seed"]), signed) == H(row["hex"])


def tip_field(tip, name):
    return ref.u64(tip[name]) if name.endswith("seq") else H(tip[name])


def prekey(d):
    fields = (H(d["mesh_id"]), H(d["device"]), ref.u64(d["prekey_id"]), H(d["pub"]), ref.u64(d["made_ms"]))
    return ref.pae("prekey-spk", *fields) + H(d["sig"])


def test_the_reference_makes_every_safety_number():
    for row in load("verifying")["safety_numbers"]:
        sides = sorted((H(side["member_id"]), sorted(map(H, side["devices"]))) for side in row["decoded"]["sides"])
        content = ref.pae(
            "safety-number", H(row["decoded"]["mesh_id"]), *(ref.lst(member, *devices) for member, devices in sides)
        )
        digest = content
        for _ in range(5200):
            digest = hashlib.sha512(digest + content).digest()
        assert digest[:60] == H(row["hex"])
        groups = [str(int.from_bytes(digest[at : at + 5], "big") % 100_000).zfill(5) for at in range(0, 60, 5)]
        assert " ".join(groups) == row["digits"]
        assert "mesh://verify/1#" + urlsafe_b64encode(digest[:60]).decode() == row["code"]


def test_the_reference_makes_every_commitment_and_its_words():
    doc = load("verifying")
    for row in doc["links"]:
        d = row["decoded"]
        device, spk, nonce = H(d["device"]), prekey(d["spk"]), H(d["nonce"])
        assert ref.lst(H(d["mesh_id"]), device, spk, nonce) == H(row["hex"])
        commitment = ref.pae("link-commit", H(d["mesh_id"]), device, spk, nonce)
        assert ref.sha256(commitment) == H(row["commitment"])
        spoken = ref.pae("link-words", H(d["mesh_id"]), H(row["by"]), H(row["by_nonce"]), device, spk, nonce)
        assert [doc["words"][byte] for byte in ref.sha256(spoken)[:4]] == row["words"]
