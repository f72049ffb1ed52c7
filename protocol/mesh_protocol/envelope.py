"""The envelope of a direct message (crypto design 2.6): what a broker routes, and the signed message sealed inside.

```
outer = lst(v, suite, mesh_id, from_device, to_device, msg_id, attempt, lane, expires_ms, prekey_id, enc, ct)
info  = PAE("dm-info", every field of outer before enc, prekey_pub)
inner = pad(PAE("dm-sig", suite, every field of Message) || Ed25519 signature)
ct    = HPKE.seal(prekey_pub, info, inner)
```

What the receiver acts on is under the signature; what the broker routes by is bound by `info` too. A message is signed
once and may be sealed several times, once an attempt.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import sha256

from mesh_protocol import hpke
from mesh_protocol.ids import (
    DEVICE_ID_SIZE,
    MEMBER_ID_SIZE,
    MESH_ID_SIZE,
    MSG_ID_SIZE,
    DeviceId,
    MemberId,
    MeshId,
    MsgId,
)
from mesh_protocol.keys import (
    AEAD_TAG_SIZE,
    SIGNATURE_SIZE,
    SUITE,
    BadPeerKey,
    PrekeyPrivate,
    SignedPrekey,
    SigningKey,
    verify,
)
from mesh_protocol.padding import MIN_BUCKET, bucket, pad, require_padding
from mesh_protocol.pae import (
    MAX_INT,
    BadEncoding,
    lst,
    pae,
    read_text,
    read_u64,
    require_number,
    require_size,
    require_text,
    split_pae,
    text_bytes,
    u64,
    unlst_exactly,
)
from mesh_protocol.prekeys import OneTimePrekey
from mesh_protocol.tip import TipRef

VERSION = b"\x01"
MAX_ENVELOPE = 256 * 1024
"""Bytes of a whole outer envelope. 64 KiB of text and its padding fit several times."""
MAX_ATTEMPT = 255
MAX_SESSION = 128
MAX_LABEL = 512
"""Bytes of the label that says for which sessions of its device a message is: names joined by commas, a group, `*`."""
MAX_KIND = 32
MAX_CONTENT_TYPE = 128
CONV_ID_SIZE = 16

_OUTER_FIELDS = 12
_MESSAGE_FIELDS = 20
_MIN_CT = MIN_BUCKET + AEAD_TAG_SIZE


class Kind(StrEnum):
    """What a message is. The list is open: an unknown kind is carried and verified, and the daemon decides."""

    TEXT = "text"
    RECEIPT = "receipt"
    BOUNCE = "bounce"
    PROFILE = "profile"


class Lane(StrEnum):
    """Order within a mailbox: now before next before low. The list is closed."""

    NOW = "now"
    NEXT = "next"
    LOW = "low"


class Origin(StrEnum):
    """Who spoke, as the sending daemon saw it. The list is closed."""

    HUMAN = "human"
    AGENT = "agent"


_LANES = frozenset(lane.value for lane in Lane)
_ORIGINS = frozenset(origin.value for origin in Origin)


@dataclass(frozen=True, slots=True)
class Outer:
    """What a broker sees of an envelope. `expires_ms` is epoch ms; `attempt` counts the seals of one message."""

    mesh_id: MeshId
    from_device: DeviceId
    to_device: DeviceId
    msg_id: MsgId
    attempt: int
    lane: str
    expires_ms: int
    prekey_id: int
    enc: bytes
    ct: bytes

    def __post_init__(self) -> None:
        require_size(self.mesh_id, MESH_ID_SIZE, "mesh_id")
        require_size(self.from_device, DEVICE_ID_SIZE, "from_device")
        require_size(self.to_device, DEVICE_ID_SIZE, "to_device")
        require_size(self.msg_id, MSG_ID_SIZE, "msg_id")
        require_number(self.attempt, 0, MAX_ATTEMPT, "attempt")
        require_lane(self.lane)
        require_number(self.expires_ms, 0, MAX_INT, "expires_ms")
        require_number(self.prekey_id, 0, MAX_INT, "prekey_id")
        require_size(self.enc, hpke.ENC_SIZE, "enc")
        # An honest ciphertext is a whole bucket and a tag, so a broker can refuse any other size unopened.
        if bucket(len(self.ct) - AEAD_TAG_SIZE) != len(self.ct) - AEAD_TAG_SIZE:
            raise BadEncoding("a ciphertext has a size that no padding gives")

    def encode(self) -> bytes:
        """The envelope as it travels, at most MAX_ENVELOPE bytes. Raises BadEncoding above that."""
        data = lst(*self._routing(), self.enc, self.ct)
        if len(data) > MAX_ENVELOPE:
            raise BadEncoding(f"an envelope of {len(data)} bytes is above the {MAX_ENVELOPE} allowed")
        return data

    def info(self, prekey_pub: bytes) -> bytes:
        """The HPKE info that binds every routing field and the prekey (32 bytes) to the ciphertext."""
        return pae("dm-info", *self._routing(), prekey_pub)

    def _routing(self) -> tuple[bytes, ...]:
        return (
            VERSION,
            SUITE,
            self.mesh_id,
            self.from_device,
            self.to_device,
            self.msg_id,
            u64(self.attempt),
            text_bytes(self.lane),
            u64(self.expires_ms),
            u64(self.prekey_id),
        )


def parse_outer(data: bytes) -> Outer:
    """Parse an envelope without opening it. Raises BadEncoding for any other version, suite, size or shape."""
    if len(data) > MAX_ENVELOPE:
        raise BadEncoding(f"an envelope of {len(data)} bytes is above the {MAX_ENVELOPE} allowed")
    version, suite, mesh_id, sender, to, msg_id, attempt, lane, expires, prekey_id, enc, ct = unlst_exactly(
        data, _OUTER_FIELDS
    )
    if version != VERSION or suite != SUITE:
        raise BadEncoding("an envelope of an unknown version or suite: this build knows version 1 and suite 1")
    return Outer(
        MeshId(mesh_id),
        DeviceId(sender),
        DeviceId(to),
        MsgId(msg_id),
        read_u64(attempt),
        read_text(lane),
        read_u64(expires),
        read_u64(prekey_id),
        enc,
        ct,
    )


def outer_hash(data: bytes) -> bytes:
    """SHA-256 of an encoded envelope, as a bounce names it."""
    return sha256(data).digest()


@dataclass(frozen=True, slots=True)
class Message:
    """Everything one signature covers. Times are epoch ms; a session is a routing label or empty for the person.

    `stream_seq` counts the messages from this device to that device. `reply_to` is a message id or empty. `content`
    is bytes of `content_type`; its meaning and its own limit belong to `kind`.
    """

    mesh_id: MeshId
    from_member: MemberId
    from_device: DeviceId
    from_session: str
    origin: str
    to_member: MemberId
    to_device: DeviceId
    to_session: str
    msg_id: MsgId
    conv_id: bytes
    stream_seq: int
    created_ms: int
    expires_ms: int
    kind: str
    lane: str
    reply_to: bytes
    tip: TipRef
    content_type: str
    content: bytes = field(repr=False)

    def __post_init__(self) -> None:
        require_size(self.mesh_id, MESH_ID_SIZE, "mesh_id")
        require_size(self.from_member, MEMBER_ID_SIZE, "from_member")
        require_size(self.from_device, DEVICE_ID_SIZE, "from_device")
        require_text(self.from_session, 0, MAX_SESSION, "from_session")
        if self.origin not in _ORIGINS:
            raise BadEncoding("origin must be human or agent")
        require_size(self.to_member, MEMBER_ID_SIZE, "to_member")
        require_size(self.to_device, DEVICE_ID_SIZE, "to_device")
        require_text(self.to_session, 0, MAX_LABEL, "to_session")
        require_size(self.msg_id, MSG_ID_SIZE, "msg_id")
        require_size(self.conv_id, CONV_ID_SIZE, "conv_id")
        require_number(self.stream_seq, 0, MAX_INT, "stream_seq")
        require_number(self.created_ms, 0, MAX_INT, "created_ms")
        require_number(self.expires_ms, 0, MAX_INT, "expires_ms")
        require_text(self.kind, 1, MAX_KIND, "kind")
        require_lane(self.lane)
        if self.reply_to:
            require_size(self.reply_to, MSG_ID_SIZE, "reply_to")
        require_text(self.content_type, 0, MAX_CONTENT_TYPE, "content_type")
        if len(self.content) > MAX_ENVELOPE:
            raise BadEncoding("the content is larger than an envelope may be")


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A message and its signed bytes. `raw` is the PAE and the signature; `hash` is SHA-256(raw), 32 bytes."""

    message: Message
    raw: bytes = field(repr=False)
    hash: bytes


def sign_message(message: Message, key: SigningKey) -> SignedMessage:
    """Sign `message` by its own `from_device`. Raises BadPeerKey when `key` is another device's."""
    if message.from_device != key.public:
        raise BadPeerKey("a message is signed by the device it says it comes from")
    signed = _message_pae(message)
    raw = signed + key.sign(signed)
    return SignedMessage(message, raw, sha256(raw).digest())


def seal_envelope(signed: SignedMessage, *, attempt: int, spk: SignedPrekey | OneTimePrekey) -> bytes:
    """The whole outer envelope, for the device whose verified prekey `spk` is; a one-time one is used for nothing else.

    Raises BadPeerKey when `spk` is another device's or mesh's, or of low order; BadEncoding when it grows too large.
    """
    message = signed.message
    if spk.device != message.to_device or spk.mesh_id != message.mesh_id:
        raise BadPeerKey("the prekey is not the recipient's in this mesh")
    padded = pad(signed.raw)
    routing = Outer(
        message.mesh_id,
        message.from_device,
        message.to_device,
        message.msg_id,
        attempt,
        message.lane,
        message.expires_ms,
        spk.prekey_id,
        bytes(hpke.ENC_SIZE),
        bytes(_MIN_CT),
    )
    enc, ct = hpke.seal(spk.pub, routing.info(spk.pub), padded)
    return replace(routing, enc=enc, ct=ct).encode()


def open_envelope(outer: Outer, prekey: PrekeyPrivate) -> SignedMessage:
    """Decrypt, unpad, parse, hold against the outer fields, verify the signature by `from_device`.

    Whether that device belongs to `from_member` and is active is the daemon's question to its chain. Raises
    BadCiphertext, BadEncoding, or BadSignature.
    """
    padded = hpke.open(prekey, outer.info(prekey.public), outer.enc, outer.ct)
    fields, end = split_pae(padded, "dm-sig", _MESSAGE_FIELDS)
    used = end + SIGNATURE_SIZE
    require_padding(padded, used)
    message = _message_from(fields)
    if (
        message.mesh_id != outer.mesh_id
        or message.from_device != outer.from_device
        or message.to_device != outer.to_device
        or message.msg_id != outer.msg_id
        or message.lane != outer.lane
        or message.expires_ms != outer.expires_ms
    ):
        raise BadEncoding("the sealed message is not the one its envelope announces")
    verify(outer.from_device, padded[:end], padded[end:used])
    raw = padded[:used]
    return SignedMessage(message, raw, sha256(raw).digest())


def require_lane(lane: str) -> None:
    """Raises BadEncoding unless it is one of the three."""
    if lane not in _LANES:
        raise BadEncoding("lane must be now, next or low")


def _message_pae(message: Message) -> bytes:
    return pae(
        "dm-sig",
        SUITE,
        message.mesh_id,
        message.from_member,
        message.from_device,
        text_bytes(message.from_session),
        text_bytes(message.origin),
        message.to_member,
        message.to_device,
        text_bytes(message.to_session),
        message.msg_id,
        message.conv_id,
        u64(message.stream_seq),
        u64(message.created_ms),
        u64(message.expires_ms),
        text_bytes(message.kind),
        text_bytes(message.lane),
        message.reply_to,
        message.tip.encode(),
        text_bytes(message.content_type),
        message.content,
    )


def _message_from(fields: list[bytes]) -> Message:
    (
        suite,
        mesh_id,
        from_member,
        from_device,
        from_session,
        origin,
        to_member,
        to_device,
        to_session,
        msg_id,
        conv_id,
        stream_seq,
        created_ms,
        expires_ms,
        kind,
        lane,
        reply_to,
        tip,
        content_type,
        content,
    ) = fields
    if suite != SUITE:
        raise BadEncoding("a message of an unknown suite: this build knows suite 1")
    return Message(
        MeshId(mesh_id),
        MemberId(from_member),
        DeviceId(from_device),
        read_text(from_session),
        read_text(origin),
        MemberId(to_member),
        DeviceId(to_device),
        read_text(to_session),
        MsgId(msg_id),
        conv_id,
        read_u64(stream_seq),
        read_u64(created_ms),
        read_u64(expires_ms),
        read_text(kind),
        read_text(lane),
        reply_to,
        TipRef.decode(tip),
        read_text(content_type),
        content,
    )
