"""Envelopes made by hand, with the real keys of a machine: what an honest daemon would not send."""

from dataclasses import replace
from typing import Any

from mesh_protocol.envelope import Message, SignedMessage, open_envelope, parse_outer, seal_envelope, sign_message
from mesh_protocol.ids import MsgId
from mesh_protocol.keys import PrekeyPrivate, SignedPrekey, sign_prekey
from meshd.inbox import Verdict
from world.machine import Machine


def letter(author: Machine, reader: Machine, **changes: Any) -> Message:
    """An ordinary text of `author` to `reader`, changed as told."""
    ours, theirs = author.mesh(), reader.mesh()
    now = author.app.node.now()
    message = Message(
        mesh_id=ours.id,
        from_member=ours.row.member,
        from_device=author.app.node.device,
        from_session="",
        origin="human",
        to_member=theirs.row.member,
        to_device=reader.app.node.device,
        to_session="",
        msg_id=MsgId(author.rng(16)),
        conv_id=bytes(16),
        stream_seq=0,
        created_ms=now,
        expires_ms=now + 86_400_000,
        kind="text",
        lane="next",
        reply_to=b"",
        tip=ours.tip,
        content_type="text/plain",
        content=b"by hand",
    )
    return replace(message, **changes)


def sign(author: Machine, message: Message) -> SignedMessage:
    return sign_message(message, author.app.node.key)


def seal(
    author: Machine, reader: Machine, message: Message, *, attempt: int = 1, to: SignedPrekey | None = None
) -> bytes:
    """The envelope of a message, sealed to the reader's newest prekey or to the one named."""
    prekey = to or reader.mesh().prekey
    assert prekey is not None
    return seal_envelope(sign(author, message), attempt=attempt, spk=prekey)


def stranger_prekey(reader: Machine, number: int) -> SignedPrekey:
    """A prekey in the reader's name whose private half nobody has."""
    node = reader.app.node
    return sign_prekey(
        node.key, reader.mesh().id, number, PrekeyPrivate.from_seed(reader.rng(32)).public, reader.app.node.now()
    )


def judge(reader: Machine, envelope: bytes) -> Verdict:
    return reader.app.inbox.judge(reader.mesh(), envelope)


def unseal(reader: Machine, envelope: bytes) -> SignedMessage:
    """Open an envelope as its recipient."""
    outer = parse_outer(envelope)
    return open_envelope(outer, reader.mesh().prekeys[outer.prekey_id])


async def post(author: Machine, envelope: bytes) -> None:
    """Give an envelope to the broker over the author's own connection."""
    link = author.app.brokers.link_of(author.mesh())
    assert link is not None
    await link.greeting.connection.call("mail.send", {"mesh": author.mesh().id}, envelope, seconds=30)
