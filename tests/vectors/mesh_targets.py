"""Every object that is signed or sealed, with the check its receiver makes: decode, verify, compare with what he expects.

`Target.check` returns when the bytes are accepted and raises CryptoError when they are refused; anything else it raises
is a bug. `other` is a valid object of another author, recipient or content in the same mesh, `foreign` one of another
mesh. The sealed ones are those of the frozen vectors, so that all bytes here are the same at every run.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from group_samples import NAMES, ByHand, elsewhere, envelopes, open_as
from mesh_protocol.attachments import Attachment, pack_text, unpack_text
from mesh_protocol.chain import Record
from mesh_protocol.envelope import open_envelope, parse_outer, seal_envelope, sign_message
from mesh_protocol.fan import parse_fan
from mesh_protocol.hello import (
    BrokerHello,
    ClientHello,
    sign_broker_hello,
    sign_client_hello,
    verify_broker_hello,
    verify_client_hello,
)
from mesh_protocol.ids import DeviceId, MeshId
from mesh_protocol.invite import invite_key, open_join_request, sign_join_request
from mesh_protocol.keys import SIGNATURE_SIZE, CryptoError, SignedPrekey, verify_prekey
from mesh_protocol.live import open_live, seal_live
from mesh_protocol.members import extend
from mesh_protocol.pae import read_u64, split_pae
from mesh_protocol.prekeys import FIRST_ONETIME, pack_given, unpack_given
from mesh_protocol.profile import GroupRole, Profile, SessionGroups
from mesh_protocol.receipt import Bounce, decode_receipts, encode_receipts
from mesh_protocol.seals import EpochSeal, check_epoch_keys, open_keys, seal_keys
from mesh_protocol.tip import Tip, sign_tip, verify_tip
from mesh_protocol.void import decode_void, encode_void
from mesh_samples import ELSEWHERE, HERE, Samples
from vectors_onetime import batch_of

VECTORS = Path(__file__).resolve().parents[2] / "protocol" / "mesh_protocol" / "vectors"


class Unexpected(CryptoError):
    """The object is genuine, but not the one the receiver asked for."""


@dataclass(frozen=True)
class Target:
    """`good` is `PAE || tail` when `purpose` is set (tail: bytes after the PAE), else a list."""

    good: bytes
    other: bytes
    foreign: bytes
    check: Callable[[bytes], None]
    purpose: str = ""
    tail: int = SIGNATURE_SIZE


def expect(condition: bool) -> None:
    if not condition:
        raise Unexpected("not the object that was asked for")


def prekey_target() -> Target:
    def check(data: bytes) -> None:
        verify_prekey(SignedPrekey.decode(data), HERE.mesh_id, HERE.key("bob").public)

    alice, foreign = HERE.spk("alice"), ELSEWHERE.spk("bob")
    return Target(HERE.spk("bob").encode(), alice.encode(), foreign.encode(), check, "prekey-spk")


def tip_target() -> Target:
    def check(data: bytes) -> None:
        verify_tip(Tip.decode(data), HERE.mesh_id, HERE.key("broker").public)

    def make(samples: Samples, signer: str) -> bytes:
        return sign_tip(samples.key(signer), samples.mesh_id, samples.tip).encode()

    return Target(make(HERE, "broker"), make(HERE, "alice"), make(ELSEWHERE, "broker"), check, "tip")


def record_target(index: int) -> Target:
    """The record at `index` as the newest one: nothing after it vouches for it but the epoch that its append needs."""
    records = HERE.records
    after = records[index + 1 : index + 2] if records[index].type in ("genesis", "add_device") else ()

    def check(data: bytes) -> None:
        state = extend(None, [*records[:index], Record.decode(data), *after])
        expect(state.mesh_id == HERE.mesh_id)

    other = records[(index + 1) % len(records)]
    return Target(records[index].encode(), other.encode(), ELSEWHERE.records[index].encode(), check, "chain-record", 0)


def hello_target() -> Target:
    hello = HERE.client_hello

    def check(data: bytes) -> None:
        fields, end = split_pae(data, "hello-client", 8)
        # The broker takes key and challenge from itself: whatever the client signed, these are what is verified.
        rebuilt = ClientHello(
            hello.broker_key,
            MeshId(fields[1]),
            DeviceId(fields[2]),
            hello.challenge,
            fields[4],
            read_u64(fields[5]),
            read_u64(fields[6]),
            read_u64(fields[7]),
        )
        expect(rebuilt.bytes() == data[:end])
        verify_client_hello(rebuilt, data[end:])

    def make(samples: Samples, name: str) -> bytes:
        made = samples.client_hello
        if name != "bob":
            made = ClientHello(
                made.broker_key,
                made.mesh_id,
                samples.key(name).public,
                samples.seed("another challenge"),
                made.nonce,
                1,
                3,
                4,
            )
        return made.bytes() + sign_client_hello(made, samples.key(name))

    return Target(make(HERE, "bob"), make(HERE, "alice"), make(ELSEWHERE, "bob"), check, "hello-client")


def answer_target() -> Target:
    hello = HERE.client_hello
    signature = sign_client_hello(hello, HERE.key("bob"))

    def check(data: bytes) -> None:
        fields, end = split_pae(data, "hello-broker", 4)
        answer = BrokerHello(fields[0], read_u64(fields[1]), fields[2], read_u64(fields[3]))
        verify_broker_hello(answer, data[end:], client_hello=hello, client_signature=signature)

    def make(samples: Samples, signer: str, version: int) -> bytes:
        made = samples.broker_hello
        made = BrokerHello(made.transcript_hash, version, made.session_id, made.server_ms)
        return made.bytes() + sign_broker_hello(made, samples.key(signer))

    return Target(make(HERE, "broker", 2), make(HERE, "alice", 1), make(ELSEWHERE, "broker", 3), check, "hello-broker")


def frozen(name: str, section: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads((VECTORS / f"{name}.json").read_text())[section]
    return rows


def envelope_target() -> Target:
    rows = frozen("envelope", "envelopes")
    outers = [bytes.fromhex(row["hex"]) for row in rows]

    def check(data: bytes) -> None:
        open_envelope(parse_outer(data), HERE.prekey("bob"))

    signed = sign_message(ELSEWHERE.message(), ELSEWHERE.key("alice"))
    foreign = seal_envelope(signed, attempt=1, spk=ELSEWHERE.spk("bob"))
    return Target(outers[0], outers[3], foreign, check)


def group_target() -> Target:
    def check(data: bytes) -> None:
        open_as("bob", data)

    good = ByHand()
    return Target(good.outer(), good.outer("carol", attempt=2), elsewhere(ELSEWHERE).outer(), check)


def fan_target() -> Target:
    """Every recipient opens what a broker makes of a fan-out, and nobody is left out."""
    names = {HERE.key(name).public: name for name in NAMES}

    def check(data: bytes) -> None:
        made = envelopes(parse_fan(data))
        expect(made.keys() == names.keys())
        for device, outer in made.items():
            open_as(names[device], outer)

    other = replace(ByHand(), nonce=HERE.seed("another nonce", 24)).fan("carol")
    return Target(ByHand().fan(), other, elsewhere(ELSEWHERE).fan(), check)


def seal_target() -> Target:
    rows = frozen("seals", "seals")

    def check(data: bytes) -> None:
        seal = EpochSeal.decode(data)
        expect(seal.to_device == HERE.key("bob").public)
        keys, _ = open_keys(seal, HERE.prekey("bob"), HERE.mesh_id)
        check_epoch_keys(HERE.state, keys)

    to_alice = seal_keys(HERE.mesh_id, 2, HERE.spk("alice"), HERE.keys, HERE.tip)
    foreign = seal_keys(ELSEWHERE.mesh_id, 2, ELSEWHERE.spk("bob"), ELSEWHERE.keys, ELSEWHERE.tip)
    return Target(bytes.fromhex(rows[0]["hex"]), to_alice.encode(), foreign.encode(), check)


def join_target() -> Target:
    row: dict[str, str] = json.loads((VECTORS / "invite.json").read_text())["request"]
    public = invite_key(HERE.seed("invite secret")).public

    def check(data: bytes) -> None:
        request = open_join_request(data, public)
        expect(request.mesh_id == HERE.mesh_id and request.invite_id == HERE.invite_id)

    def make(samples: Samples, secret: str) -> bytes:
        return sign_join_request(samples.join_request(), invite_key(samples.seed(secret)), samples.key("carol"))

    return Target(bytes.fromhex(row["hex"]), make(HERE, "another secret"), make(ELSEWHERE, "invite secret"), check)


def live_target() -> Target:
    def make(samples: Samples, nonce: str = "live nonce", content: bytes = b"{}") -> bytes:
        frame = replace(samples.live_frame, content=content)
        return seal_live(frame, samples.seed("epoch 2"), samples.key("bob"), samples.seed(nonce, 24))

    def check(data: bytes) -> None:
        open_live(data, HERE.seed("epoch 2"))

    return Target(make(HERE), make(HERE, "another nonce", b"[]"), make(ELSEWHERE), check)


def targets() -> dict[str, Target]:
    """Every signed or sealed object by name."""
    records = {f"{record.type} {record.seq}": record_target(index) for index, record in enumerate(HERE.records)}
    return {
        "prekey": prekey_target(),
        "tip": tip_target(),
        **records,
        "client hello": hello_target(),
        "broker hello": answer_target(),
        "envelope": envelope_target(),
        "epoch seal": seal_target(),
        "join request": join_target(),
        "live frame": live_target(),
        "group envelope": group_target(),
        "fan-out": fan_target(),
    }


def contents() -> dict[str, tuple[bytes, Callable[[bytes], object]]]:
    """Contents that a signature outside of them covers: only their shape is checked."""
    return {
        "receipts": (encode_receipts([HERE.receipt_row, HERE.receipt_row]), decode_receipts),
        "bounce": (HERE.bounce.encode(), Bounce.decode),
        "profile": (Profile(1, (SessionGroups("web", (GroupRole("web/ui", "lead"),)),)).encode(), Profile.decode),
        "void": (encode_void((3, 9)), decode_void),
        "text with files": (pack_text("see", [Attachment("a.pdf", 9, bytes(32))]), unpack_text),
        "one-time key": (pack_given(1, batch_of("bob", FIRST_ONETIME + 9, 2).encode()), unpack_given),
    }
