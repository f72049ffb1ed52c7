"""The frozen vectors: the product reads each to the content written beside it, and makes the same bytes again."""

import json

import pytest

import group_samples
import make_vectors
from mesh_protocol import padding, pae
from mesh_protocol.chain import Record, decode_body, epoch_kc, mesh_id_of
from mesh_protocol.envelope import Message, open_envelope, outer_hash, parse_outer
from mesh_protocol.fan import is_group_envelope, parse_fan, parse_group_outer
from mesh_protocol.group_envelope import open_group
from mesh_protocol.hello import (
    BrokerHello,
    ClientHello,
    admission_proof,
    transcript_hash,
    verify_admission,
    verify_broker_hello,
    verify_client_hello,
)
from mesh_protocol.hpke import open as hpke_open
from mesh_protocol.ids import DeviceId, MemberId, MeshId
from mesh_protocol.invite import invite_key, open_join_request, open_joiner_name, parse_link
from mesh_protocol.keys import (
    BadEncoding,
    CryptoError,
    PrekeyPrivate,
    SignedPrekey,
    SigningKey,
    aead_open,
    hkdf,
    verify_prekey,
)
from mesh_protocol.live import channel_id, open_live, peek_live
from mesh_protocol.members import extend
from mesh_protocol.names import check_name, compare_form, open_name
from mesh_protocol.receipt import Bounce, decode_receipts, encode_receipts
from mesh_protocol.seals import EpochSeal, open_keys
from mesh_protocol.tip import Tip, TipRef, log_head, marker, verify_tip
from mesh_targets import targets
from vectors_shown import body_json, frame_json, link_json, message_json, row_json, spk_json, tip_json

H = bytes.fromhex


def load(name):
    return json.loads((make_vectors.VECTORS / f"{name}.json").read_text())


@pytest.mark.parametrize("name", make_vectors.MAKERS)
def test_the_generator_makes_the_frozen_bytes_every_time(name):
    first = make_vectors.render(name)
    assert first == make_vectors.render(name)
    assert first == (make_vectors.VECTORS / f"{name}.json").read_text()


# The wire's vectors (frames, msgpack) have their own tests: they need no cryptography.
OTHERS = {"wire"}


def test_every_vector_file_has_a_generator_and_the_other_way_round():
    assert {path.stem for path in make_vectors.VECTORS.glob("*.json")} - OTHERS == set(make_vectors.MAKERS)


def test_what_is_frozen_as_refused_is_refused():
    doc = load("refused")
    for row in doc["lists"]:
        with pytest.raises(BadEncoding):
            pae.unlst(H(row["hex"]), max_items=2**62)
    for row in doc["numbers"]:
        with pytest.raises(BadEncoding):
            pae.read_u64(H(row["hex"]))
    for row in doc["links"]:
        with pytest.raises(BadEncoding):
            parse_link(row["url"])
    checks = {name: target.check for name, target in targets().items()}
    for row in doc["objects"]:
        with pytest.raises(CryptoError):
            checks[row["object"]](H(row["hex"]))
    assert {row["object"] for row in doc["objects"]} == set(checks)
    prekey = PrekeyPrivate.from_seed(H(doc["group_prekey"]))
    for row in doc["group_envelopes"]:
        outer = parse_group_outer(H(row["hex"]))
        with pytest.raises(CryptoError):
            open_group(outer, prekey, bytes(16))
    for row in doc["fans"]:
        with pytest.raises(BadEncoding):
            parse_fan(H(row["hex"]))


def test_pae_vectors():
    doc = load("pae")
    for row in doc["numbers"]:
        assert pae.u64(row["n"]) == H(row["hex"])
        assert pae.read_u64(H(row["hex"])) == row["n"]
    for row in doc["lists"]:
        fields = [H(field) for field in row["fields"]]
        assert pae.lst(*fields) == H(row["hex"])
        assert pae.unlst(H(row["hex"]), max_items=len(fields)) == fields
    for row in doc["paes"]:
        fields = [H(field) for field in row["fields"]]
        assert pae.pae(row["purpose"], *fields) == H(row["hex"])
        trailing = H(row["hex"]) + b"tail"
        assert pae.split_pae(trailing, row["purpose"], len(fields)) == (fields, len(trailing) - 4)


def test_key_vectors():
    doc = load("keys")
    for row in doc["signing_keys"]:
        assert SigningKey.from_seed(H(row["seed"])).public == H(row["public"])
    for row in doc["prekey_pairs"]:
        assert PrekeyPrivate.from_seed(H(row["seed"])).public == H(row["public"])
    for row in doc["signed_prekeys"]:
        spk = SignedPrekey.decode(H(row["hex"]))
        verify_prekey(spk, MeshId(H(row["decoded"]["mesh_id"])), DeviceId(H(row["decoded"]["device"])))
        assert spk_json(spk) == row["decoded"]
        assert spk.encode() == H(row["hex"])
    for row in doc["aead"]:
        opened = aead_open(H(row["key"]), H(row["nonce"]), H(row["aad"]), H(row["hex"]))
        assert opened == H(row["plaintext"])
    for row in doc["hkdf"]:
        assert hkdf(H(row["key"]), H(row["info"]), row["length"]) == H(row["hex"])


def test_hpke_and_padding_vectors():
    for row in load("hpke")["opens"]:
        private = PrekeyPrivate.from_seed(H(row["private"]))
        assert hpke_open(private, H(row["info"]), H(row["enc"]), H(row["ct"])) == H(row["plaintext"])
    for row in load("padding")["buckets"]:
        assert padding.bucket(row["size"]) == row["bucket"]
        assert len(padding.pad(bytes(row["size"]))) == row["bucket"]


@pytest.mark.parametrize("row", load("envelope")["envelopes"], ids=lambda row: row["name"])
def test_envelope_vectors(row):
    outer = parse_outer(H(row["hex"]))
    assert (outer.attempt, outer.prekey_id) == (row["attempt"], row["prekey_id"])
    assert outer.encode() == H(row["hex"])
    prekey = PrekeyPrivate.from_seed(H(row["prekey_private"]))
    assert outer.info(prekey.public) == H(row["info"])
    signed = open_envelope(outer, prekey)
    assert isinstance(signed.message, Message)
    assert message_json(signed.message) == row["decoded"]
    assert signed.raw == H(row["raw"])
    assert signed.hash == H(row["message_hash"])
    assert outer_hash(H(row["hex"])) == H(row["outer_hash"])


@pytest.mark.parametrize("row", load("group")["messages"], ids=lambda row: row["name"])
def test_group_vectors(row):
    fan, shown = parse_fan(H(row["fan"])), row["decoded"]
    assert (fan.mesh_id.hex(), fan.from_device.hex(), fan.msg_id.hex(), fan.lane, fan.expires_ms) == tuple(
        shown[name] for name in ("mesh_id", "from_device", "msg_id", "lane", "expires_ms")
    )
    assert fan.shared == H(row["shared"])
    assert fan.encode() == H(row["fan"])
    made = group_samples.envelopes(fan)
    listed = {each["device"]: each for each in shown["recipients"]}
    for wrap, each in zip(fan.wraps, row["wraps"], strict=True):
        assert (wrap.to_device.hex(), wrap.attempt, wrap.prekey_id, wrap.enc.hex(), wrap.wrapped.hex()) == tuple(
            each[name] for name in ("to_device", "attempt", "prekey_id", "enc", "wrapped")
        )
        outer = H(each["outer"])
        assert made[wrap.to_device] == outer
        assert outer_hash(outer) == H(each["outer_hash"])
        assert is_group_envelope(outer)
        prekey = PrekeyPrivate.from_seed(H(each["prekey_private"]))
        assert hpke_open(prekey, H(each["info"]), wrap.enc, wrap.wrapped) == H(row["secret"])
        opened = open_group(parse_group_outer(outer), prekey, MemberId(bytes(16)))
        own = listed[each["to_device"]]
        assert message_json(opened.message) == {
            **{name: value for name, value in shown.items() if name != "recipients"},
            "to_member": bytes(16).hex(),
            "to_device": own["device"],
            "to_session": own["label"],
            "stream_seq": own["stream_seq"],
        }
        assert opened.hash == H(row["message_hash"])


def test_receipt_and_bounce_vectors():
    doc = load("receipt")
    for row in doc["receipts"]:
        rows = decode_receipts(H(row["hex"]))
        assert [row_json(each) for each in rows] == row["decoded"]
        assert encode_receipts(rows) == H(row["hex"])
    for row in doc["bounces"]:
        bounce = Bounce.decode(H(row["hex"]))
        assert (bounce.reason, bounce.attempt) == (row["decoded"]["reason"], row["decoded"]["attempt"])
        assert bounce.msg_id.hex() == row["decoded"]["msg_id"]
        assert bounce.outer_hash.hex() == row["decoded"]["outer_hash"]
        assert (spk_json(bounce.spk) if bounce.spk else None) == row["decoded"]["spk"]
        assert bounce.encode() == H(row["hex"])


def unhexed(decoded):
    return {name: H(value) if isinstance(value, str) else value for name, value in decoded.items()}


def test_hello_vectors():
    doc = load("hello")
    client = ClientHello(**unhexed(doc["client"]["decoded"]))
    client_signature = H(doc["client"]["sig"])
    assert client.bytes() == H(doc["client"]["hex"])
    verify_client_hello(client, client_signature)
    assert transcript_hash(client, client_signature) == H(doc["client"]["transcript_hash"])
    broker = BrokerHello(**unhexed(doc["broker"]["decoded"]))
    assert broker.bytes() == H(doc["broker"]["hex"])
    verify_broker_hello(broker, H(doc["broker"]["sig"]), client_hello=client, client_signature=client_signature)
    token, proof = H(doc["admission"]["token"]), H(doc["admission"]["proof"])
    assert admission_proof(token, client) == proof
    assert verify_admission(token, client, proof)


def test_tip_vectors():
    doc = load("tip")
    mesh_id, broker = MeshId(H(doc["mesh_id"])), SigningKey.from_seed(H(doc["broker_seed"]))
    for row in doc["refs"]:
        assert tip_json(TipRef.decode(H(row["hex"]))) == row["decoded"]
        assert TipRef.decode(H(row["hex"])).encode() == H(row["hex"])
    for row in doc["tips"]:
        tip = Tip.decode(H(row["hex"]))
        verify_tip(tip, mesh_id, broker.public)
        assert tip_json(tip.ref) == row["decoded"]
        assert tip.encode() == H(row["hex"])
    for row in doc["log_heads"]:
        assert marker(row["n"], H(row["chain_hash"])) == H(row["marker"])
        assert log_head(mesh_id, row["n"], H(row["previous"]), H(row["marker"])) == H(row["head"])


def test_chain_vectors():
    doc = load("chain")
    records = [Record.decode(H(row["hex"])) for row in doc["records"]]
    for record, row in zip(records, doc["records"], strict=True):
        shown = row["decoded"]
        assert (record.seq, record.type, record.prev_hash.hex()) == (
            shown["seq"],
            shown["type"],
            shown["prev_hash"],
        )
        assert (record.signer.hex(), record.sig.hex()) == (shown["signer"], shown["sig"])
        assert body_json(record) == shown["body"]
        assert decode_body(record).encode() == record.body == H(row["body"])
        assert record.encode() == H(row["hex"])
        assert record.hash == H(row["hash"])
    assert mesh_id_of(records[0]) == H(doc["mesh_id"])
    for row in doc["commitments"]:
        assert epoch_kc(MeshId(H(doc["mesh_id"])), row["epoch"], H(row["gk"])) == H(row["kc"])
    state = extend(None, records)
    assert (state.seq, state.head.hex(), state.epoch) == (
        doc["state"]["seq"],
        doc["state"]["head"],
        doc["state"]["epoch"],
    )
    assert sorted(device.hex() for device in state.signers) == doc["state"]["signers"]
    for row in doc["state"]["members"]:
        member = next(each for each in state.members.values() if each.member_id.hex() == row["member_id"])
        assert (member.role, [device.hex() for device in member.devices], member.added_seq) == (
            row["role"],
            row["devices"],
            row["added_seq"],
        )
    assert len(state.members) == len(doc["state"]["members"])
    invites = [
        {"invite_id": each.invite_id.hex(), "uses": each.uses, "open": each.open} for each in state.invites.values()
    ]
    assert invites == doc["state"]["invites"]


@pytest.mark.parametrize("row", load("seals")["seals"], ids=lambda row: row["name"])
def test_seal_vectors(row):
    seal = EpochSeal.decode(H(row["hex"]))
    assert seal.encode() == H(row["hex"])
    prekey = PrekeyPrivate.from_seed(H(row["prekey_private"]))
    assert seal.info(MeshId(H(row["mesh_id"])), prekey.public) == H(row["info"])
    keys, tip = open_keys(seal, prekey, MeshId(H(row["mesh_id"])))
    assert keys.name_key.hex() == row["decoded"]["name_key"]
    assert {str(epoch): key.hex() for epoch, key in keys.epochs.items()} == row["decoded"]["epochs"]
    assert tip_json(tip) == row["decoded"]["tip"]


def test_name_vectors():
    doc = load("names")
    for row in doc["sealed"]:
        assert open_name(H(row["name_key"]), H(row["subject"]), H(row["hex"])) == row["name"]
    for row in doc["accepted"]:
        assert check_name(row["name"]) == row["normal"]
    for name in doc["refused"]:
        with pytest.raises(BadEncoding):
            check_name(name)
    for one, other, form in doc["equal"]:
        assert compare_form(one) == compare_form(other) == form


def test_invite_vectors():
    doc = load("invite")
    for row in doc["links"]:
        link = parse_link(row["url"])
        assert link_json(link) == row["decoded"]
        assert link.url() == row["url"]
    assert invite_key(H(doc["key"]["secret"])).public == H(doc["key"]["public"])
    shown = doc["request"]["decoded"]
    request = open_join_request(H(doc["request"]["hex"]), H(doc["key"]["public"]))
    assert request.mesh_id.hex() == shown["mesh_id"]
    assert request.invite_id.hex() == shown["invite_id"]
    assert request.device.hex() == shown["device"]
    assert spk_json(request.spk) == shown["spk"]
    assert tip_json(request.tip) == shown["tip"]
    (name,) = shown["sealed_names"]
    assert (request.sealed_names[0].enc.hex(), request.sealed_names[0].ct.hex()) == (name["enc"], name["ct"])
    prekey = PrekeyPrivate.from_seed(H(name["prekey_private"]))
    assert open_joiner_name(request, DeviceId(H(name["signer"])), prekey) == name["name"]


def test_live_vectors():
    doc = load("live")
    for row in doc["channels"]:
        assert channel_id(H(row["gk"]), row["name"]) == H(row["id"])
    for row in doc["frames"]:
        frame = open_live(H(row["hex"]), H(row["gk"]))
        assert frame_json(frame) == row["decoded"]
        route = peek_live(H(row["hex"]))
        assert (route.mesh_id, route.device, route.epoch, route.channel) == (
            frame.mesh_id,
            frame.device,
            frame.epoch,
            frame.channel,
        )
