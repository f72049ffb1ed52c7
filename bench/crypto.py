"""What sealing and opening cost: one message for one device, and one message for ten and for a hundred, without any I/O."""

import os
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from nacl import bindings as sodium

from bench.figures import Figure
from mesh_protocol.envelope import Message, open_envelope, parse_outer, seal_envelope, sign_message
from mesh_protocol.fan import Fan, parse_group_outer, tail_of
from mesh_protocol.group_envelope import GroupRecipient, GroupRef, open_group, seal_group, wrap_group
from mesh_protocol.ids import DeviceId, MemberId, MeshId, MsgId
from mesh_protocol.keys import PrekeyPrivate, SignedPrekey, SigningKey, sign_prekey
from mesh_protocol.tip import TipRef

SIZE: Final = 200
"""Bytes of a message's text."""
ROUNDS: Final = 15
MANY: Final = (1, 10, 100)
LIMIT: Final = 4.0
"""What encoding and checking may add to the primitives themselves."""
MESH: Final = MeshId(bytes(32))
SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


class Reader:
    """A device that gets messages."""

    def __init__(self) -> None:
        self.key = SigningKey.from_seed(os.urandom(32))
        self.prekey = PrekeyPrivate.from_seed(os.urandom(32))
        self.spk: SignedPrekey = sign_prekey(self.key, MESH, 1, self.prekey.public, 0)


def make_message(sender: SigningKey, to: DeviceId) -> Message:
    tip = TipRef(1, bytes(32), 1, bytes(32))
    member = MemberId(bytes(16))
    return Message(
        MESH, member, sender.public, "", "human", member, to, "", MsgId(os.urandom(16)), bytes(16),
        1, 0, 2**40, "text", "next", b"", tip, "text/plain", b"x" * SIZE,
    )  # fmt: skip


def seal_for(sender: SigningKey, readers: Sequence[Reader]) -> list[bytes]:
    """One message sealed to each of `readers`: what comes to them, of one device by an envelope, of more by a fan-out."""
    message = make_message(sender, readers[0].key.public)
    if len(readers) == 1:
        return [seal_envelope(sign_message(message, sender), attempt=1, spk=readers[0].spk)]
    listed = [GroupRecipient(each.key.public, 1, "") for each in readers]
    sealed = seal_group(message, listed, sender, os.urandom(32), os.urandom(24))
    ref = GroupRef.of(MESH, sender.public, message.msg_id, sealed.shared)
    wraps = tuple(wrap_group(ref, sealed.secret, 1, each.spk) for each in readers)
    fan = Fan(MESH, sender.public, message.msg_id, message.lane, message.expires_ms, sealed.shared, wraps)
    tail = tail_of(fan.shared)
    return [fan.head(wrap) + tail for wrap in fan.wraps]


def open_by(reader: Reader, envelope: bytes, many: bool) -> None:
    if many:
        open_group(parse_group_outer(envelope), reader.prekey, MemberId(bytes(16)))
    else:
        open_envelope(parse_outer(envelope), reader.prekey)


def bare_seal(count: int) -> Callable[[], object]:
    """The same primitives on texts of the same size: one signature, HPKE for each device, one AEAD for many."""
    key = Ed25519PrivateKey.from_private_bytes(os.urandom(32))
    others = [X25519PrivateKey.from_private_bytes(os.urandom(32)).public_key() for _ in range(count)]
    text = bytes(800 if count == 1 else 96)
    body = bytes(512 + 64 * count)

    def work() -> None:
        key.sign(body)
        if count > 1:
            sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(body, b"", bytes(24), bytes(32))
        for other in others:
            SUITE.encrypt(text, other, info=bytes(300))

    return work


def bare_open(count: int) -> Callable[[], object]:
    """One HPKE, one verification, and of many one AEAD over the list."""
    key = Ed25519PrivateKey.from_private_bytes(os.urandom(32))
    own = X25519PrivateKey.from_private_bytes(os.urandom(32))
    body = bytes(512 + 64 * count)
    public, signature = key.public_key().public_bytes_raw(), key.sign(body)
    sealed = SUITE.encrypt(bytes(800 if count == 1 else 96), own.public_key(), info=bytes(300))
    aside = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(body, b"", bytes(24), bytes(32))

    def work() -> None:
        SUITE.decrypt(sealed, own, info=bytes(300))
        sodium.crypto_sign_open(signature + body, public)
        if count > 1:
            sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(aside, b"", bytes(24), bytes(32))

    return work


def _in_turn(one: Callable[[], object], other: Callable[[], object], times: int) -> tuple[float, float]:
    """Milliseconds of each, the median of rounds that alternate between them."""
    took: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS):
        for place, work in ((0, one), (1, other)) if number % 2 else ((1, other), (0, one)):
            began = time.perf_counter()
            for _ in range(times):
                work()
            took[place].append((time.perf_counter() - began) / times * 1000)
    return median(took[0]), median(took[1])


def measure_crypto() -> list[Figure]:
    """Milliseconds of a message, with how many that are a second on one core in the note."""
    sender = SigningKey.from_seed(os.urandom(32))
    figures = []
    for count in MANY:
        readers = sorted((Reader() for _ in range(count)), key=lambda each: each.key.public)
        envelopes = seal_for(sender, readers)
        times = max(1, 60 // count)
        work = _Work(sender, readers, envelopes)
        for verb, whole, bare in (
            ("seal", work.seal, bare_seal(count)),
            ("open", work.open, bare_open(count)),
        ):
            ms, alone = _in_turn(whole, bare, times if verb == "seal" else 60)
            each = "" if count == 1 else f" of one sealed to {count}" if verb == "open" else f" for {count} devices"
            figures.append(
                Figure(
                    f"{verb} a message{each}", ms, "ms", alone, "its primitives alone", LIMIT,
                    note=f"{1000 / ms:,.0f} a second",
                )
            )  # fmt: skip
    return figures


class _Work:
    """What is measured of one number of devices."""

    def __init__(self, sender: SigningKey, readers: Sequence[Reader], envelopes: Sequence[bytes]) -> None:
        self.sender, self.readers, self.envelopes = sender, readers, envelopes

    def seal(self) -> None:
        seal_for(self.sender, self.readers)

    def open(self) -> None:
        open_by(self.readers[0], self.envelopes[0], len(self.readers) > 1)


if __name__ == "__main__":
    for figure in measure_crypto():
        print(f"{figure.name}: {figure.value:.3g} {figure.unit}, {figure.ratio:.2f} × {figure.against}; {figure.note}")
