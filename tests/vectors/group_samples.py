"""One message to many with fixed keys, made by hand: every step can be done otherwise than an honest sender does it."""

from dataclasses import dataclass

import group_reference as group
import mesh_reference
from group_reference import Address, Routing, Wrapped
from mesh_protocol.envelope import SignedMessage
from mesh_protocol.fan import Fan, Wrap, parse_group_outer, tail_of
from mesh_protocol.group_envelope import GroupRecipient, open_group
from mesh_protocol.ids import DeviceId
from mesh_samples import HERE, Samples

NAMES = ("bob", "bob laptop", "carol")


def recipient(name: str, stream_seq: int = 5, label: str = "web", samples: Samples = HERE) -> GroupRecipient:
    return GroupRecipient(samples.key(name).public, stream_seq, label)


def recipients(*names: str, samples: Samples = HERE) -> list[GroupRecipient]:
    return [recipient(name, 5 + n, f"web{n}", samples) for n, name in enumerate(names or NAMES)]


def routing_of(samples: Samples) -> Routing:
    message = samples.message()
    return Routing(message.mesh_id, message.from_device, message.msg_id, message.lane, message.expires_ms)


def address_of(name: str, attempt: int = 1, prekey_id: int = 7, samples: Samples = HERE) -> Address:
    return Address(samples.key(name).public, attempt, prekey_id, samples.prekey(name).public)


def body_of(samples: Samples, entries: list[bytes]) -> tuple[bytes, ...]:
    """The eleven fields of the text that is sealed."""
    message = samples.message()
    return (
        message.from_member,
        message.from_session.encode(),
        message.origin.encode(),
        message.conv_id,
        mesh_reference.u64(message.created_ms),
        message.kind.encode(),
        message.reply_to,
        message.tip.encode(),
        message.content_type.encode(),
        mesh_reference.lst(*entries),
        message.content,
    )


def entries_of(listed: list[GroupRecipient]) -> list[bytes]:
    return [group.entry(*each) for each in sorted(listed)]


ROUTING = routing_of(HERE)
FIELDS = body_of(HERE, entries_of(recipients()))


@dataclass(frozen=True)
class ByHand:
    """One message to many, step by step. What is None follows from the rest as it should; what is set is taken as it is."""

    samples: Samples = HERE
    routing: Routing = ROUTING
    aad: Routing | None = None
    covered: Routing | None = None
    """The routing that is signed."""
    fields: tuple[bytes, ...] = FIELDS
    padded: bytes | None = None
    key: bytes = HERE.seed("content key")
    committed: bytes | None = None
    """The key that is committed to."""
    nonce: bytes = HERE.seed("group nonce", 24)
    signer: str = "alice"
    shared_as: bytes | None = None
    signature_as: bytes | None = None
    bound: bytes | None = None
    """The shared part that the wrap is bound to."""

    @property
    def shared(self) -> bytes:
        if self.shared_as is not None:
            return self.shared_as
        padded = mesh_reference.padme(mesh_reference.lst(*self.fields)) if self.padded is None else self.padded
        return group.shared(self.aad or self.routing, self.key, self.nonce, padded)

    @property
    def signature(self) -> bytes:
        if self.signature_as is not None:
            return self.signature_as
        covered = group.signed(self.covered or self.routing, self.shared, self.committed or self.key)
        return mesh_reference.sign(self.samples.seed(self.signer), covered)

    @property
    def secret(self) -> bytes:
        return self.key + self.signature

    def wrap(self, to: Address) -> Wrapped:
        ephemeral = self.samples.seed("group ephemeral")
        return group.wrap(self.routing, self.bound or self.shared, self.secret, to, ephemeral)

    def outer(self, name: str = "bob", attempt: int = 1) -> bytes:
        to = address_of(name, attempt, samples=self.samples)
        return group.outer(self.routing, self.shared, to, self.wrap(to))

    def fan(self, *names: str) -> bytes:
        addresses = sorted(address_of(name, samples=self.samples) for name in names or NAMES)
        wraps = [group.wrap_item(to, self.wrap(to)) for to in addresses]
        return group.fan(self.routing, self.shared, wraps)


def elsewhere(samples: Samples) -> ByHand:
    """The same message in another mesh."""
    fields = body_of(samples, entries_of(recipients(samples=samples)))
    return ByHand(samples=samples, routing=routing_of(samples), fields=fields, key=samples.seed("content key"))


def open_as(name: str, outer: bytes) -> SignedMessage:
    """What the device makes of an envelope, and its member with it: `carol` is a member of her own."""
    member = HERE.member("carol" if name == "carol" else "bob")
    return open_group(parse_group_outer(outer), HERE.prekey(name), member)


def envelopes(fan: Fan) -> dict[DeviceId, bytes]:
    """What a broker makes of a fan-out: each recipient's envelope."""
    return {wrap.to_device: fan.head(wrap) + tail_of(fan.shared) for wrap in fan.wraps}


def wrap_of(to: Address, wrapped: Wrapped) -> Wrap:
    return Wrap(DeviceId(to.device), to.attempt, to.prekey_id, wrapped.enc, wrapped.ct)
