"""One message to many devices: one ciphertext, and its key wrapped for each of them (crypto design 2.7).

```
shared  = lst(nonce, ct)                       what all recipients get, the same bytes
ct      = XChaCha20-Poly1305(K, nonce, PAE("group-aad", v, suite, mesh_id, from_device, msg_id, lane, expires_ms), body)
body    = pad(lst(header of a direct message, recipients, content))
sig     = Ed25519 over PAE("group-sig", suite, mesh_id, from_device, msg_id, lane, expires_ms, SHA-256(shared), kc)
kc      = SHA-256(PAE("group-kc", K))          so that one ciphertext opens to one text only
wrapped = HPKE.seal(PAE("wrap-info", suite, mesh_id, from_device, msg_id, to_device, attempt, prekey_id, prekey_pub,
                        SHA-256(shared)), K || sig)
```

The signature covers lane and expiry too, though the ciphertext is bound to them: with K known, as it is to every
recipient, Poly1305 binds nothing. Every recipient learns who the others are, and a device that is not on the list refuses.
Each judges the whole list, so that what one of them can read no other has to refuse.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from mesh_protocol import hpke
from mesh_protocol.envelope import MAX_ATTEMPT, MAX_LABEL, Message, SignedMessage
from mesh_protocol.fan import MAX_RECIPIENTS, MAX_SHARED, VERSION, GroupOuter, Wrap
from mesh_protocol.ids import DEVICE_ID_SIZE, DeviceId, MemberId, MeshId, MsgId
from mesh_protocol.keys import (
    KEY_SIZE,
    SIGNATURE_SIZE,
    SUITE,
    BadPeerKey,
    PrekeyPrivate,
    SignedPrekey,
    SigningKey,
    aead_open,
    aead_seal,
    verify,
)
from mesh_protocol.padding import pad, require_padding
from mesh_protocol.pae import (
    BadEncoding,
    lst,
    pae,
    read_text,
    read_u64,
    require_number,
    require_size,
    require_text,
    split_items,
    text_bytes,
    u64,
    unlst,
)
from mesh_protocol.tip import TipRef

_BODY_FIELDS = 11
_ENTRY_SIZE = DEVICE_ID_SIZE + 8
_SECRET_SIZE = KEY_SIZE + SIGNATURE_SIZE


class GroupRecipient(NamedTuple):
    """A device on the list. `stream_seq` is its own number in its stream, `label` names its sessions as `to_session` does."""

    device: DeviceId
    stream_seq: int
    label: str


@dataclass(frozen=True, slots=True)
class SealedGroup:
    """`shared` is what all get; `secret` (96 bytes: K, signature) is what is wrapped for each; `hash` is what receipts name."""

    shared: bytes = field(repr=False)
    secret: bytes = field(repr=False)
    hash: bytes


class GroupRef(NamedTuple):
    """What binds a wrap to its message; `digest` is SHA-256 of the shared part."""

    mesh_id: MeshId
    from_device: DeviceId
    msg_id: MsgId
    digest: bytes

    @classmethod
    def of(cls, mesh_id: MeshId, from_device: DeviceId, msg_id: MsgId, shared: bytes) -> "GroupRef":
        return cls(mesh_id, from_device, msg_id, sha256(shared).digest())


def seal_group(
    message: Message, recipients: Sequence[GroupRecipient], key: SigningKey, content_key: bytes, nonce: bytes
) -> SealedGroup:
    """Sign and seal `message` once for all `recipients`; its own recipient fields and stream number are not used.

    `content_key` is 32 and `nonce` 24 random bytes. Raises BadPeerKey when `key` is another device's, BadEncoding when it
    grows too large or when a recipient is there twice or outside its limits.
    """
    if message.from_device != key.public:
        raise BadPeerKey("a message is signed by the device it says it comes from")
    ordered = sorted(recipients)
    _require_recipients(ordered)
    body = lst(
        message.from_member,
        text_bytes(message.from_session),
        text_bytes(message.origin),
        message.conv_id,
        u64(message.created_ms),
        text_bytes(message.kind),
        message.reply_to,
        message.tip.encode(),
        text_bytes(message.content_type),
        lst(*(entry.device + u64(entry.stream_seq) + text_bytes(entry.label) for entry in ordered)),
        message.content,
    )
    routing = (message.mesh_id, message.from_device, message.msg_id, text_bytes(message.lane), u64(message.expires_ms))
    shared = lst(nonce, aead_seal(content_key, nonce, _aad(routing), pad(body)))
    if len(shared) > MAX_SHARED:
        raise BadEncoding("the message and its recipients are larger than an envelope may be")
    signed = _signed_bytes(routing, shared, content_key)
    signature = key.sign(signed)
    return SealedGroup(shared, content_key + signature, sha256(signed + signature).digest())


def wrap_group(ref: GroupRef, secret: bytes, attempt: int, spk: SignedPrekey) -> Wrap:
    """The secret of a sealed message for the device whose verified prekey `spk` is. Raises BadPeerKey, BadEncoding."""
    require_number(attempt, 0, MAX_ATTEMPT, "attempt")
    require_size(secret, _SECRET_SIZE, "a message's secret")
    if spk.mesh_id != ref.mesh_id:
        raise BadPeerKey("the prekey is not of this mesh")
    wrap = Wrap(spk.device, attempt, spk.prekey_id, b"", b"")
    enc, wrapped = hpke.seal(spk.pub, _wrap_info(ref, wrap, spk.pub), secret)
    return wrap._replace(enc=enc, wrapped=wrapped)


def open_group(outer: GroupOuter, prekey: PrekeyPrivate, own_member: MemberId) -> SignedMessage:
    """Unwrap, verify the signature by `from_device`, decrypt, and find this device on the list.

    The message comes back as a direct one to this device and `own_member`. Whether the sender's device belongs to
    `from_member` and is active is the daemon's question to its chain. Raises BadCiphertext, BadEncoding or BadSignature.
    """
    shared = lst(outer.nonce, outer.ct)
    wrap = Wrap(outer.to_device, outer.attempt, outer.prekey_id, outer.enc, outer.wrapped)
    ref = GroupRef.of(outer.mesh_id, outer.from_device, outer.msg_id, shared)
    secret = hpke.open(prekey, _wrap_info(ref, wrap, prekey.public), outer.enc, outer.wrapped)
    content_key, signature = secret[:KEY_SIZE], secret[KEY_SIZE:]
    routing = (outer.mesh_id, outer.from_device, outer.msg_id, text_bytes(outer.lane), u64(outer.expires_ms))
    signed = _signed_bytes(routing, shared, content_key)
    verify(outer.from_device, signed, signature)
    padded = aead_open(content_key, outer.nonce, _aad(routing), outer.ct)
    fields, used = split_items(padded, _BODY_FIELDS)
    require_padding(padded, used)
    message = _read_body(fields, outer, own_member)
    return SignedMessage(message, b"", sha256(signed + signature).digest())


def _read_body(fields: list[bytes], outer: GroupOuter, own_member: MemberId) -> Message:
    from_member, from_session, origin, conv_id, created, kind, reply_to, tip, content_type, entries, content = fields
    recipients = [_read_entry(item) for item in unlst(entries, max_items=MAX_RECIPIENTS)]
    _require_recipients(recipients)
    own = next((entry for entry in recipients if entry.device == outer.to_device), None)
    if own is None:
        raise BadEncoding("this device is not on the message's list of recipients")
    return Message(
        mesh_id=outer.mesh_id,
        from_member=MemberId(from_member),
        from_device=outer.from_device,
        from_session=read_text(from_session),
        origin=read_text(origin),
        to_member=own_member,
        to_device=outer.to_device,
        to_session=own.label,
        msg_id=outer.msg_id,
        conv_id=conv_id,
        stream_seq=own.stream_seq,
        created_ms=read_u64(created),
        expires_ms=outer.expires_ms,
        kind=read_text(kind),
        lane=outer.lane,
        reply_to=reply_to,
        tip=TipRef.decode(tip),
        content_type=read_text(content_type),
        content=content,
    )


def _require_recipients(recipients: Sequence[GroupRecipient]) -> None:
    require_number(len(recipients), 1, MAX_RECIPIENTS, "the number of recipients")
    for entry in recipients:
        require_size(entry.device, DEVICE_ID_SIZE, "a recipient's device")
        require_text(entry.label, 0, MAX_LABEL, "a recipient's label")
    if any(one.device >= other.device for one, other in itertools.pairwise(recipients)):
        raise BadEncoding("the recipients are not in order, or one is there twice")


def _read_entry(item: bytes) -> GroupRecipient:
    if len(item) < _ENTRY_SIZE:
        raise BadEncoding("a recipient is cut off")
    return GroupRecipient(
        DeviceId(item[:DEVICE_ID_SIZE]), read_u64(item[DEVICE_ID_SIZE:_ENTRY_SIZE]), read_text(item[_ENTRY_SIZE:])
    )


def _aad(routing: tuple[bytes, ...]) -> bytes:
    return pae("group-aad", VERSION, SUITE, *routing)


def _signed_bytes(routing: tuple[bytes, ...], shared: bytes, content_key: bytes) -> bytes:
    commitment = sha256(pae("group-kc", content_key)).digest()
    return pae("group-sig", SUITE, *routing, sha256(shared).digest(), commitment)


def _wrap_info(ref: GroupRef, wrap: Wrap, prekey_pub: bytes) -> bytes:
    mesh_id, sender, msg_id, digest = ref
    attempt, prekey_id = u64(wrap.attempt), u64(wrap.prekey_id)
    return pae("wrap-info", SUITE, mesh_id, sender, msg_id, wrap.to_device, attempt, prekey_id, prekey_pub, digest)
