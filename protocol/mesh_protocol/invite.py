"""Invites by link, and the request to join that answers one (crypto design 2.11).

```
link    = mesh://join/1?m=<mesh_id>&i=<invite_id>&b=<broker URL>[&f=<inviter's name>]#<secret>
          ids and secret in base64url without padding, the others percent-encoded
key     = Ed25519 from HKDF(secret, PAE("invite-key"))
request = lst(signed, names, invite_sig, device_sig)      both signatures over `signed`
signed  = PAE("join-request", mesh_id, invite_id, device, spk, tip, SHA-256(names))
names   = lst of lst(signer, prekey_id, enc, ct): the joiner's name, sealed to each signer's prekey
```

The secret stands in the link's fragment; neither it nor a name nor a mesh key is ever shown to the broker.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import quote, unquote

from mesh_protocol import hpke
from mesh_protocol.chain import require_broker_url
from mesh_protocol.ids import DEVICE_ID_SIZE, INVITE_ID_SIZE, MESH_ID_SIZE, DeviceId, InviteId, MeshId
from mesh_protocol.keys import (
    AEAD_TAG_SIZE,
    SUITE,
    BadPeerKey,
    PrekeyPrivate,
    SignedPrekey,
    SigningKey,
    hkdf,
    verify,
    verify_prekey,
)
from mesh_protocol.names import check_name, pack_name, unpack_name
from mesh_protocol.padding import MIN_BUCKET
from mesh_protocol.pae import (
    MAX_INT,
    BadEncoding,
    lst,
    pae,
    read_u64,
    require_number,
    require_size,
    split_signed,
    u64,
    unlst,
    unlst_exactly,
)
from mesh_protocol.tip import TipRef

SECRET_SIZE = 32
MAX_SIGNERS = 64
MAX_JOIN_REQUEST = 64 * 1024
MAX_LINK = 1536

_LINK = re.compile(
    r"mesh://join/1\?m=([A-Za-z0-9_-]{43})&i=([A-Za-z0-9_-]{43})&b=([A-Za-z0-9._~%-]{1,800})"
    r"(?:&f=([A-Za-z0-9._~%-]{1,400}))?#([A-Za-z0-9_-]{43})"
)
_SIGNED_FIELDS = 6
_REQUEST_FIELDS = 4
_NAME_FIELDS = 4
_SEALED_NAME_SIZE = MIN_BUCKET + AEAD_TAG_SIZE


@dataclass(frozen=True, slots=True)
class InviteLink:
    """Everything a joiner needs, on one line. Whoever reads `secret` (32 bytes) may join; it is never printed.

    `inviter` is what whoever made the link calls himself: to be shown to who waits, and nothing else. Empty: not said.
    """

    mesh_id: MeshId
    invite_id: InviteId
    broker_url: str
    secret: bytes = field(repr=False)
    inviter: str = ""

    def __post_init__(self) -> None:
        require_size(self.mesh_id, MESH_ID_SIZE, "mesh_id")
        require_size(self.invite_id, INVITE_ID_SIZE, "invite_id")
        if self.inviter and check_name(self.inviter) != self.inviter:
            raise BadEncoding("an invite link names its maker in another form than names have")
        require_broker_url(self.broker_url)
        require_size(self.secret, SECRET_SIZE, "an invite secret")

    def url(self) -> str:
        """The link. It is a secret."""
        broker = quote(self.broker_url, safe="")
        by = f"&f={quote(self.inviter, safe='')}" if self.inviter else ""
        return f"mesh://join/1?m={to_b64(self.mesh_id)}&i={to_b64(self.invite_id)}&b={broker}{by}#{to_b64(self.secret)}"


def parse_link(text: str) -> InviteLink:
    """The parts of a link, which must be exactly as `InviteLink.url` writes it. Raises BadEncoding, never echoing it."""
    match = _LINK.fullmatch(text) if len(text) <= MAX_LINK else None
    if match is None:
        raise BadEncoding("this is not an invite link: copy the whole line that mesh invite printed")
    mesh_id, invite_id, broker, by, secret = match.groups()
    try:
        broker_url = unquote(broker, encoding="ascii", errors="strict")
        inviter = unquote(by or "", errors="strict")
    except UnicodeDecodeError:
        raise BadEncoding("the invite link names a broker that is no URL, or nobody: ask for a new link") from None
    link = InviteLink(MeshId(from_b64(mesh_id)), InviteId(from_b64(invite_id)), broker_url, from_b64(secret), inviter)
    # One link has one spelling: stray base64 bits or needless percent signs would make two.
    if link.url() != text:
        raise BadEncoding("the invite link was altered: copy the whole line that mesh invite printed")
    return link


def to_b64(data: bytes) -> str:
    """base64url without padding, as links hold it."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_b64(text: str) -> bytes:
    """The 32 bytes of 43 such characters; stray bits at the end are not noticed here."""
    return urlsafe_b64decode(text + "=")


def invite_key(secret: bytes) -> SigningKey:
    """The invite's signing key; its public half stands in the chain's `invite_open` record."""
    require_size(secret, SECRET_SIZE, "an invite secret")
    return SigningKey.from_seed(hkdf(secret, pae("invite-key")))


@dataclass(frozen=True, slots=True)
class SealedName:
    """The joiner's name for one signer, sealed to that signer's prekey."""

    signer: DeviceId
    prekey_id: int
    enc: bytes
    ct: bytes

    def __post_init__(self) -> None:
        require_size(self.signer, DEVICE_ID_SIZE, "signer")
        require_number(self.prekey_id, 0, MAX_INT, "prekey_id")
        require_size(self.enc, hpke.ENC_SIZE, "enc")
        require_size(self.ct, _SEALED_NAME_SIZE, "a sealed name")

    def encode(self) -> bytes:
        """One item of a request's names."""
        return lst(self.signer, u64(self.prekey_id), self.enc, self.ct)

    @classmethod
    def decode(cls, data: bytes) -> "SealedName":
        """Raises BadEncoding."""
        signer, prekey_id, enc, ct = unlst_exactly(data, _NAME_FIELDS)
        return cls(DeviceId(signer), read_u64(prekey_id), enc, ct)


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A new device asks to be admitted under an invite: its key and prekey, the tip it saw, its name for the signers."""

    mesh_id: MeshId
    invite_id: InviteId
    device: DeviceId
    spk: SignedPrekey
    tip: TipRef
    sealed_names: tuple[SealedName, ...]

    def __post_init__(self) -> None:
        require_size(self.mesh_id, MESH_ID_SIZE, "mesh_id")
        require_size(self.invite_id, INVITE_ID_SIZE, "invite_id")
        require_size(self.device, DEVICE_ID_SIZE, "device")
        require_number(len(self.sealed_names), 1, MAX_SIGNERS, "the number of sealed names")
        if len({name.signer for name in self.sealed_names}) != len(self.sealed_names):
            raise BadEncoding("a join request has two names for one signer")


def sign_join_request(request: JoinRequest, invite: SigningKey, device: SigningKey) -> bytes:
    """The request as it travels, signed by the invite's key and by the new device.

    Raises BadPeerKey when `device` or the prekey in the request is another device's.
    """
    if request.device != device.public:
        raise BadPeerKey("a join request is signed by the device it names")
    verify_prekey(request.spk, request.mesh_id, request.device)
    names = lst(*(name.encode() for name in request.sealed_names))
    signed = pae(
        "join-request",
        request.mesh_id,
        request.invite_id,
        request.device,
        request.spk.encode(),
        request.tip.encode(),
        sha256(names).digest(),
    )
    return lst(signed, names, invite.sign(signed), device.sign(signed))


def open_join_request(data: bytes, invite_pub: bytes) -> JoinRequest:
    """The request, verified: both signatures and the prekey's. Raises BadEncoding, BadSignature or BadPeerKey.

    The caller finds `invite_pub` on its verified chain under the invite id and the mesh it expects, and compares both.
    """
    signed, names, invite_sig, device_sig, fields = _split_request(data)
    mesh_id, invite_id, device, spk, tip, names_hash = fields
    if sha256(names).digest() != names_hash:
        raise BadEncoding("a join request whose names are not the ones it was signed with")
    request = JoinRequest(
        MeshId(mesh_id),
        InviteId(invite_id),
        DeviceId(device),
        SignedPrekey.decode(spk),
        TipRef.decode(tip),
        tuple(SealedName.decode(item) for item in unlst(names, max_items=MAX_SIGNERS)),
    )
    verify(invite_pub, signed, invite_sig)
    verify(request.device, signed, device_sig)
    verify_prekey(request.spk, request.mesh_id, request.device)
    return request


def claimed_invite(data: bytes) -> InviteId:
    """The invite id that a request names, unverified, to find the public key to open it with. Raises BadEncoding."""
    claimed = _split_request(data)[4][1]
    require_size(claimed, INVITE_ID_SIZE, "invite_id")
    return InviteId(claimed)


def _split_request(data: bytes) -> tuple[bytes, bytes, bytes, bytes, list[bytes]]:
    if len(data) > MAX_JOIN_REQUEST:
        raise BadEncoding(f"a join request of {len(data)} bytes is above the {MAX_JOIN_REQUEST} allowed")
    signed, names, invite_sig, device_sig = unlst_exactly(data, _REQUEST_FIELDS)
    fields, _, _ = split_signed(signed, "join-request", _SIGNED_FIELDS, 0)
    return signed, names, invite_sig, device_sig, fields


def seal_joiner_name(mesh_id: MeshId, invite_id: InviteId, device: DeviceId, name: str, to: SignedPrekey) -> SealedName:
    """The name of the joining `device` for the signer whose verified prekey `to` is.

    Raises BadPeerKey for another mesh's or a low-order prekey, BadEncoding for a name that may not be shown.
    """
    if to.mesh_id != mesh_id:
        raise BadPeerKey("the prekey belongs to another mesh")
    info = _name_info(mesh_id, invite_id, device, to.device, to.prekey_id, to.pub)
    enc, ct = hpke.seal(to.pub, info, pack_name(name))
    return SealedName(to.device, to.prekey_id, enc, ct)


def open_joiner_name(request: JoinRequest, signer: DeviceId, prekey: PrekeyPrivate) -> str:
    """The joiner's name as the signer reads it with the prekey that its SealedName numbers.

    Raises BadPeerKey when the request has no name for this signer, BadCiphertext or BadEncoding when it does not open.
    """
    for name in request.sealed_names:
        if name.signer == signer:
            info = _name_info(request.mesh_id, request.invite_id, request.device, signer, name.prekey_id, prekey.public)
            return unpack_name(hpke.open(prekey, info, name.enc, name.ct))
    raise BadPeerKey("the join request holds no name for this signer")


def _name_info(
    mesh_id: MeshId, invite_id: InviteId, device: DeviceId, signer: DeviceId, prekey_id: int, prekey_pub: bytes
) -> bytes:
    return pae("join-name", SUITE, mesh_id, invite_id, device, signer, u64(prekey_id), prekey_pub)
