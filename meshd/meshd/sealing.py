"""Turning a message into the envelope of one recipient device. Needs no I/O: the prekey is at hand or it is not."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from mesh_protocol.envelope import Message, SignedMessage, outer_hash, seal_envelope, sign_message
from mesh_protocol.fan import Fan, read_wrap, tail_of
from mesh_protocol.group_envelope import GroupRecipient, GroupRef, seal_group, wrap_group
from mesh_protocol.ids import DeviceId, MemberId, MsgId
from mesh_protocol.keys import SignedPrekey
from mesh_protocol.prekeys import OneTimePrekey
from meshd.contents import content_of
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.store.outbox import DeliveryRow, MessageRow

MAX_ATTEMPTS = 3
"""Times a message is sealed to one device before its failure is final (crypto design 2.6)."""


class Sealed(NamedTuple):
    """`envelope` as it travels; the hash that receipts name; the hash that a bounce names."""

    envelope: bytes
    message_hash: bytes
    outer_hash: bytes


def seal_delivery(
    node: Node, mesh: Mesh, message: MessageRow, content: bytes, delivery: DeliveryRow
) -> DeliveryRow | None:
    """The delivery with its next attempt's envelope, or None while the recipient's prekey is not known here.

    The first attempt at a text goes to a one-time prekey, if there is one; all else to the signed one (crypto design 2.7).
    """
    if message.shared is not None:
        return next(iter(wrap_deliveries(node, mesh, message, [delivery])), None)
    prekey: SignedPrekey | OneTimePrekey | None = mesh.peer_prekeys.get(delivery.device)
    if message.kind == "text" and not delivery.attempt:
        prekey = mesh.shelf.take(delivery.device) or prekey
    if prekey is None:
        return None
    direct = replace(
        _unaddressed(node, mesh, message, content),
        to_member=delivery.member,
        to_device=delivery.device,
        to_session=delivery.to_session,
        stream_seq=delivery.stream_seq,
    )
    sealed = _seal(sign_message(direct, node.key), delivery.attempt + 1, prekey)
    return delivery._replace(
        envelope=sealed.envelope,
        message_hash=sealed.message_hash,
        outer_hash=sealed.outer_hash,
        attempt=delivery.attempt + 1,
        accepted_ms=0,
    )


def seal_shared(
    node: Node, mesh: Mesh, message: MessageRow, content: bytes, deliveries: Sequence[DeliveryRow]
) -> tuple[MessageRow, list[DeliveryRow]]:
    """A message to many with its one ciphertext, and the deliveries with the hash that receipts will name.

    Raises BadEncoding when it grows too large.
    """
    listed = [GroupRecipient(row.device, row.stream_seq, row.to_session) for row in deliveries]
    rng = node.seams.rng
    sealed = seal_group(_unaddressed(node, mesh, message, content), listed, node.key, rng(32), rng(24))
    secret = node.seal("message", "secret", message.msg_id, sealed.secret)
    return (
        message._replace(shared=sealed.shared, secret=secret),
        [row._replace(message_hash=sealed.hash) for row in deliveries],
    )


def fan_of(node: Node, message: MessageRow, rows: Sequence[DeliveryRow]) -> Fan:
    """What the broker gets for deliveries of one message to many that are all sealed."""
    assert message.shared is not None
    wraps = sorted((read_wrap(row.envelope or b"") for row in rows), key=lambda wrap: wrap.to_device)
    return Fan(message.mesh, node.device, message.msg_id, message.lane, message.expires_ms, message.shared, (*wraps,))


def wrap_deliveries(
    node: Node, mesh: Mesh, message: MessageRow, deliveries: Sequence[DeliveryRow]
) -> list[DeliveryRow]:
    """Deliveries of one message to many with their next attempt's wraps; without those whose prekey is not known here."""
    shared, secret = message.shared, message.secret
    assert shared is not None
    assert secret is not None
    opened = node.open("message", "secret", message.msg_id, secret)
    ref = GroupRef.of(mesh.id, node.device, message.msg_id, shared)
    wrapped: list[DeliveryRow] = []
    for row in deliveries:
        prekey = mesh.peer_prekeys.get(row.device)
        if prekey is None:
            continue
        wrap = wrap_group(ref, opened, row.attempt + 1, prekey)
        fan = Fan(mesh.id, node.device, message.msg_id, message.lane, message.expires_ms, shared, (wrap,))
        outer = fan.head(wrap) + tail_of(shared)
        wrapped.append(
            row._replace(envelope=wrap.encode(), outer_hash=outer_hash(outer), attempt=wrap.attempt, accepted_ms=0)
        )
    return wrapped


def _unaddressed(node: Node, mesh: Mesh, message: MessageRow, content: bytes) -> Message:
    """A message without its recipient."""
    content_type = ""
    if message.kind == "text":
        content_type, content = content_of(content)
    return Message(
        mesh_id=mesh.id,
        from_member=mesh.row.member,
        from_device=node.device,
        from_session=message.from_session,
        origin=message.origin,
        to_member=MemberId(bytes(16)),
        to_device=DeviceId(bytes(32)),
        to_session="",
        msg_id=message.msg_id,
        conv_id=message.conv,
        stream_seq=0,
        created_ms=message.created_ms,
        expires_ms=message.expires_ms,
        kind=message.kind,
        lane=message.lane,
        reply_to=message.reply_to,
        tip=mesh.tip,
        content_type=content_type,
        content=content,
    )


def seal_note(
    node: Node, mesh: Mesh, prekey: SignedPrekey, kind: str, content: bytes, expires_ms: int, msg_id: MsgId
) -> bytes:
    """The envelope of a receipt: outside all streams, never receipted itself, in the lane that waits for no one."""
    message = Message(
        mesh_id=mesh.id,
        from_member=mesh.row.member,
        from_device=node.device,
        from_session="",
        origin="agent",
        to_member=mesh.state.devices[prekey.device].member_id,
        to_device=prekey.device,
        to_session="",
        msg_id=msg_id,
        conv_id=bytes(16),
        stream_seq=0,
        created_ms=node.now(),
        expires_ms=expires_ms,
        kind=kind,
        lane="now",
        reply_to=b"",
        tip=mesh.tip,
        content_type="",
        content=content,
    )
    return seal_envelope(sign_message(message, node.key), attempt=1, spk=prekey)


def _seal(signed: SignedMessage, attempt: int, prekey: SignedPrekey | OneTimePrekey) -> Sealed:
    envelope = seal_envelope(signed, attempt=attempt, spk=prekey)
    return Sealed(envelope, signed.hash, outer_hash(envelope))
