"""The broker's whole vocabulary. Everything a method carries beyond ids, numbers and keys is ciphertext or a signed record.

Payload travels in the frame's body. A body called "items" is `pae.lst` of byte strings. `mesh` is always the mesh id;
a method that acts for a device needs a hello for that mesh on the same connection first.

The broker speaks first: the notification `challenge` with the fields of `Challenge`.
"""

from typing import Annotated, Final

import msgspec

from mesh_protocol.op import Answer, Request, Tier, op

VERSION_MIN: Final = 1
VERSION_MAX: Final = 1

Bytes16 = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Bytes64 = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Range = Annotated[list[Count], msgspec.Meta(min_length=2, max_length=2)]
MAX_SACKS: Final = 64
_FULL: Final = ("mailbox_full", "rate_limited", "storage_full")
MAX_ONETIME: Final = 32
"""One-time prekeys in one answer: each brings its batch, 3.4 KiB."""


# Notifications of the broker.

CHALLENGE: Final = "challenge"
TIP: Final = "tip"
MAIL: Final = "mail"
LIVE: Final = "live"
JOIN_REQUEST: Final = "join_request"
JOIN_GONE: Final = "join_gone"
JOIN_DENIED: Final = "join_denied"
PREKEYS_LOW: Final = "prekeys_low"


class Challenge(Answer, frozen=True):
    """First words of the broker: what a hello must sign. `broker_key` is pinned by the mesh's chain."""

    challenge: Bytes32
    broker_key: Bytes32
    ver_min: int
    ver_max: int


class TipPush(Answer, frozen=True):
    """The chain of `mesh` grew, or another history of it is known. `tip` is an encoded signed tip, `branches` as at hello."""

    mesh: Bytes32
    tip: bytes
    branches: Count = 0


class MailPush(Answer, frozen=True):
    """An envelope for this device; body: the envelope. `mseq` numbers the device's mailbox without gaps from 1."""

    mesh: Bytes32
    mseq: Count


class LivePush(Answer, frozen=True):
    """A live frame; body: the sealed frame."""

    mesh: Bytes32
    channel: Bytes16


class JoinPush(Answer, frozen=True):
    """Somebody asks to join, sent to the mesh's signers; body: the join request. `id` names it in the invite mailbox."""

    mesh: Bytes32
    id: Count


class JoinGonePush(Answer, frozen=True):
    """A join request was answered by another signer: it waits no more."""

    mesh: Bytes32
    id: Count


class JoinDeniedPush(Answer, frozen=True):
    """A signer said no to the join request of this connection."""

    mesh: Bytes32


# Hello.


class HelloAnswer(Answer, frozen=True):
    """The broker's half of the mutual hello. `tip` is the broker's newest signed tip of the mesh.

    `branches` counts the records of other histories that lie beside the chain: a hint, unsigned, that says when to read them.
    """

    version: int
    session_id: Bytes16
    server_ms: Count
    sig: Bytes64
    tip: bytes
    branches: Count = 0


@op(
    "hello",
    answer=HelloAnswer,
    tier=Tier.STATUS,
    errors=(
        "unknown_on_broker",
        "broker_refused",
        "invite_unknown",
        "invite_used",
        "invite_expired",
        "invite_closed",
        "link_unknown",
        "link_used",
        "clone",
        "admission_needed",
        "version_mismatch",
        "chain_invalid",
        "rate_limited",
        "storage_full",
    ),
)
class Hello(Request, frozen=True):
    """Prove a device's key, the key of an open invite, or the mesh's recovery key, for one mesh.

    With `create`, the body holds items: the records (genesis and the first epoch) of a mesh new to this broker, whose
    first device this is; `admission` is the HMAC proof of the broker's admission token, empty on loopback. With `meet` the
    key is that of a meeting, which two may enter.
    """

    mesh: Bytes32
    device: Bytes32
    nonce: Bytes32
    ver_min: int
    ver_max: int
    generation: Count
    sig: Bytes64
    invite: bool = False
    create: bool = False
    meet: bool = False
    admission: bytes = b""


class PrekeysPush(Answer, frozen=True):
    """Few one-time prekeys of this device are left: it adds a batch."""

    mesh: Bytes32
    left: Count


# Chain.


class TipAnswer(Answer, frozen=True):
    """The broker's newest signed tip of the mesh, encoded."""

    tip: bytes


class Done(Answer, frozen=True):
    """It is done and durable."""


# Prekeys.


@op("prekey.put", answer=Done, tier=Tier.AGENT, errors=("bad_envelope", "storage_full"))
class PrekeyPut(Request, frozen=True):
    """Publish the calling device's newest signed prekey. Body: the encoded prekey."""

    mesh: Bytes32


class PrekeyStock(Answer, frozen=True):
    """How many one-time prekeys of the calling device the broker can still hand out, and the id of the `next`; 0: none."""

    left: Count
    next: Count = 0


@op("prekey.add", answer=PrekeyStock, tier=Tier.AGENT, errors=("bad_envelope", "storage_full"))
class PrekeyAdd(Request, frozen=True):
    """Add a batch (body) to the calling device's one-time prekeys, or with `replace` put it in their place. Two are kept."""

    mesh: Bytes32
    replace: bool = False


@op("prekey.left", answer=PrekeyStock, tier=Tier.AGENT)
class PrekeyLeft(Request, frozen=True):
    """How many one-time prekeys of the calling device are left."""

    mesh: Bytes32


@op("prekey.withdraw", answer=Done, tier=Tier.AGENT)
class PrekeyWithdraw(Request, frozen=True):
    """Forget all prekeys of the calling device: it is about to delete their private halves. It may publish others later."""

    mesh: Bytes32


class PrekeyAnswer(Answer, frozen=True):
    """Body: items, the `count` signed prekeys that exist, in the order asked for, then `onetime` (`prekeys.pack_given`)."""

    count: int
    onetime: Count = 0


@op("prekey.take", answer=PrekeyAnswer, tier=Tier.STATUS, errors=("not_allowed", "rate_limited"))
class PrekeyTake(Request, frozen=True):
    """Signed prekeys of `devices`, and of each of `onetime` a one-time prekey if there is one and the last is ten seconds
    ago. An invite's key may ask for the signed ones of the mesh's signers only."""

    mesh: Bytes32
    devices: Annotated[list[Bytes32], msgspec.Meta(min_length=1, max_length=256)]
    onetime: Annotated[list[Bytes32], msgspec.Meta(max_length=MAX_ONETIME)] = []


# Mail.


class AcceptAnswer(Answer, frozen=True):
    """The envelope lies durably in the mailbox. A repeated envelope gets the same answer."""

    accept_seq: Count
    accepted_ms: Count


@op(
    "mail.send",
    answer=AcceptAnswer,
    tier=Tier.AGENT,
    errors=("unknown_device", "not_allowed", "too_large", "bad_envelope", "out_of_turn", *_FULL),
)
class MailSend(Request, frozen=True):
    """Accept an envelope for another device of the mesh. Body: the envelope, whose outer fields say from, to and which.

    After a refusal that ends by itself (`rate_limited`, `mailbox_full`, `storage_full`) all that is under way to the same
    device in the same lane is refused as `out_of_turn`, so that nothing overtakes; one sent with `again`, when no other of
    them is under way, opens the way anew.
    """

    mesh: Bytes32
    again: bool = False


class FanAnswer(Answer, frozen=True):
    """Body: the outcomes (`fan.pack_outcomes`), one for each wrap, in their order."""

    accepted: Count


@op("mail.fan", answer=FanAnswer, tier=Tier.AGENT, errors=("not_allowed", "too_large", "bad_envelope", "rate_limited"))
class MailFan(Request, frozen=True):
    """Accept one message for many devices: the ciphertext is kept once. Body: the fan-out. What is accepted is so in one
    commit; each recipient's refusal is his own. `again` as for `mail.send`, for all of them."""

    mesh: Bytes32
    again: bool = False


class ResumeAnswer(Answer, frozen=True):
    """`next_mseq`: the number the mailbox gives next. Lower than one the device saw before means a restored broker.

    `floor`: the lowest number above `acked` that still lies here, or `next_mseq`. What is below it and never came has
    expired, so the device may count it as acknowledged.
    """

    next_mseq: Count
    floor: Count


@op("mail.resume", answer=ResumeAnswer, tier=Tier.AGENT)
class MailResume(Request, frozen=True):
    """Start the stream of `mail` notifications: everything above `acked` that is not in `sacks` (closed ranges)."""

    mesh: Bytes32
    acked: Count
    sacks: Annotated[list[Range], msgspec.Meta(max_length=MAX_SACKS)] = []


MAIL_ACK: Final = "mail.ack"


@op(MAIL_ACK, answer=Done, tier=Tier.AGENT)
class MailAck(Request, frozen=True):
    """Committed here: the broker deletes these rows. Cumulative `acked` and closed ranges above it. Sent as a notification."""

    mesh: Bytes32
    acked: Count
    sacks: Annotated[list[Range], msgspec.Meta(max_length=MAX_SACKS)] = []


# Live.


@op("live.subscribe", answer=Done, tier=Tier.AGENT)
class LiveSubscribe(Request, frozen=True):
    """Replace the connection's channels in this mesh."""

    mesh: Bytes32
    channels: Annotated[list[Bytes16], msgspec.Meta(max_length=64)]


LIVE_PUBLISH: Final = "live.publish"


@op(LIVE_PUBLISH, answer=Done, tier=Tier.AGENT, errors=("too_large", "rate_limited"))
class LivePublish(Request, frozen=True):
    """Send a live frame to the channel's other subscribers now. Never stored. Body: the sealed frame, at most 4 KiB."""

    mesh: Bytes32
    channel: Bytes16


# Joining.


class JoinAnswer(Answer, frozen=True):
    """The request lies in the invite mailbox until a signer admits it or it expires."""

    id: Count
    signers_online: int


@op(
    "join.ask",
    answer=JoinAnswer,
    tier=Tier.STATUS,
    errors=("not_allowed", "invite_denied", "too_large", "rate_limited", "bad_envelope", "storage_full"),
)
class JoinAsk(Request, frozen=True):
    """Ask to be admitted; only on a connection whose hello proved the invite's key. Body: the join request."""

    mesh: Bytes32
    invite: Bytes32


class JoinListAnswer(Answer, frozen=True):
    """`ids` name the requests in the body's items, in order."""

    ids: list[Count]


@op("join.list", answer=JoinListAnswer, tier=Tier.AGENT, errors=("not_allowed",))
class JoinList(Request, frozen=True):
    """The join requests that wait; for signers."""

    mesh: Bytes32


@op("join.drop", answer=Done, tier=Tier.AGENT, errors=("not_allowed",))
class JoinDrop(Request, frozen=True):
    """A request was refused or is answered: forget it; for signers. With `denied` its device may not ask again under this
    invite, and is told."""

    mesh: Bytes32
    id: Count
    denied: bool = False


class StatsAnswer(Answer, frozen=True):
    """What the broker holds for the calling device."""

    mailbox_rows: Count
    mailbox_bytes: Count
    devices_online: Count


@op("stats", answer=StatsAnswer, tier=Tier.AGENT)
class Stats(Request, frozen=True):
    """Counts of the calling device's mailbox and of the mesh's live devices."""

    mesh: Bytes32
