"""Turning a message into the envelope of one recipient device. Needs no I/O: the prekey is at hand or it is not."""

from typing import NamedTuple

from mesh_protocol.envelope import Message, SignedMessage, outer_hash, seal_envelope, sign_message
from mesh_protocol.ids import MsgId
from mesh_protocol.keys import SignedPrekey
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.store.outbox import LANES, DeliveryRow, MessageRow

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
    """The delivery with its next attempt's envelope, or None while the recipient's prekey is not known here."""
    prekey = mesh.peer_prekeys.get(delivery.device)
    if prekey is None:
        return None
    signed = sign_message(
        Message(
            mesh_id=mesh.id,
            from_member=mesh.row.member,
            from_device=node.device,
            from_session=message.from_session,
            origin=message.origin,
            to_member=delivery.member,
            to_device=delivery.device,
            to_session=delivery.to_session,
            msg_id=message.msg_id,
            conv_id=message.conv,
            stream_seq=delivery.stream_seq,
            created_ms=message.created_ms,
            expires_ms=message.expires_ms,
            kind=message.kind,
            lane=LANES[delivery.lane],
            reply_to=message.reply_to,
            tip=mesh.tip,
            content_type="text/plain" if message.kind == "text" else "",
            content=content,
        ),
        node.key,
    )
    sealed = _seal(signed, delivery.attempt + 1, prekey)
    return delivery._replace(
        envelope=sealed.envelope,
        message_hash=sealed.message_hash,
        outer_hash=sealed.outer_hash,
        attempt=delivery.attempt + 1,
        accepted_ms=0,
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


def _seal(signed: SignedMessage, attempt: int, prekey: SignedPrekey) -> Sealed:
    envelope = seal_envelope(signed, attempt=attempt, spk=prekey)
    return Sealed(envelope, signed.hash, outer_hash(envelope))
