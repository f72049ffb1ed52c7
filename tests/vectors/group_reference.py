"""The envelope of one message to many, written a second time from SPEC.md over `mesh_reference` alone.

Each step takes what it is given and checks nothing, so that tests can also make what no honest sender makes.
"""

from typing import NamedTuple

import mesh_reference as ref

VERSION, SUITE = b"\x02", b"\x01"


class Routing(NamedTuple):
    """What is the same in the envelopes of all recipients."""

    mesh_id: bytes
    from_device: bytes
    msg_id: bytes
    lane: str
    expires_ms: int

    def fields(self) -> tuple[bytes, ...]:
        return (self.mesh_id, self.from_device, self.msg_id, self.lane.encode(), ref.u64(self.expires_ms))


class Address(NamedTuple):
    """Whom a wrap is for: `prekey` is the public half."""

    device: bytes
    attempt: int
    prekey_id: int
    prekey: bytes


class Wrapped(NamedTuple):
    """What HPKE made of a secret."""

    enc: bytes
    ct: bytes


def entry(device: bytes, stream_seq: int, label: str) -> bytes:
    return device + ref.u64(stream_seq) + label.encode()


def shared(routing: Routing, key: bytes, nonce: bytes, padded: bytes) -> bytes:
    aad = ref.pae("group-aad", VERSION, SUITE, *routing.fields())
    return ref.lst(nonce, ref.xchacha_seal(key, nonce, aad, padded))


def signed(routing: Routing, shared: bytes, key: bytes) -> bytes:
    """What the signature is over."""
    commitment = ref.sha256(ref.pae("group-kc", key))
    return ref.pae("group-sig", SUITE, *routing.fields(), ref.sha256(shared), commitment)


def info(routing: Routing, shared: bytes, to: Address) -> bytes:
    return ref.pae(
        "wrap-info",
        SUITE,
        routing.mesh_id,
        routing.from_device,
        routing.msg_id,
        to.device,
        ref.u64(to.attempt),
        ref.u64(to.prekey_id),
        to.prekey,
        ref.sha256(shared),
    )


def wrap(routing: Routing, shared: bytes, secret: bytes, to: Address, ephemeral: bytes) -> Wrapped:
    return Wrapped(*ref.hpke_seal(ephemeral, to.prekey, info(routing, shared, to), secret))


def outer(routing: Routing, shared: bytes, to: Address, wrapped: Wrapped) -> bytes:
    """One recipient's envelope. `shared` is a list of two, whose items stand at the end of this one."""
    fields = (
        VERSION,
        SUITE,
        routing.mesh_id,
        routing.from_device,
        to.device,
        routing.msg_id,
        ref.u64(to.attempt),
        routing.lane.encode(),
        ref.u64(routing.expires_ms),
        ref.u64(to.prekey_id),
        wrapped.enc,
        wrapped.ct,
    )
    return ref.u64(14) + ref.lst(*fields)[8:] + shared[8:]


def wrap_item(to: Address, wrapped: Wrapped) -> bytes:
    """A wrap as it stands in a fan-out."""
    return ref.lst(to.device, ref.u64(to.attempt), ref.u64(to.prekey_id), wrapped.enc, wrapped.ct)


def fan(routing: Routing, shared: bytes, wraps: list[bytes]) -> bytes:
    return ref.lst(VERSION, SUITE, *routing.fields(), shared, ref.lst(*wraps))
