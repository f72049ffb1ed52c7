"""Where two devices of one person meet at a broker: the link that the one shows the other, and frames sealed by its secret.

```
link  = mesh://link/1?m=<mesh_id>&b=<broker URL>#<secret>       ids and secret in base64url without padding
key   = Ed25519 from HKDF(secret, PAE("meet-key"))              what the broker lets both sides in by
frame = nonce || XChaCha20-Poly1305(HKDF(secret, PAE("meet-frame", mesh_id, side, u64(n))), nonce, aad "", content)
```

`n` counts the frames of one side from 1, so a frame that is repeated, left out, turned round or changed does not open. The
broker learns neither the secret nor what is said. Whoever else has the link is found out by the words (`linking`).
"""

import re
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import quote, unquote

from mesh_protocol.chain import require_broker_url
from mesh_protocol.ids import MESH_ID_SIZE, MeshId
from mesh_protocol.invite import from_b64, to_b64
from mesh_protocol.keys import AEAD_TAG_SIZE, NONCE_SIZE, BadCiphertext, SigningKey, aead_open, aead_seal, hkdf
from mesh_protocol.pae import BadEncoding, pae, require_size, u64

SECRET_SIZE: Final = 32
MAX_LINK: Final = 1024
MAX_CONTENT: Final = 1024
"""Bytes that one frame says; a reveal takes 370."""
MAX_FRAME: Final = NONCE_SIZE + MAX_CONTENT + AEAD_TAG_SIZE

Side = Literal["own", "new"]
"""The member's device, and the one that is to be added."""

_LINK = re.compile(r"mesh://link/1\?m=([A-Za-z0-9_-]{43})&b=([A-Za-z0-9._~%-]{1,800})#([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class MeetingLink:
    """Which mesh, at which broker, and the secret (32 bytes) that both sides prove. It is never printed but by `url`."""

    mesh_id: MeshId
    broker_url: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        require_size(self.mesh_id, MESH_ID_SIZE, "mesh_id")
        require_broker_url(self.broker_url)
        require_size(self.secret, SECRET_SIZE, "a link's secret")

    def url(self) -> str:
        """The link. It is a secret."""
        broker = quote(self.broker_url, safe="")
        return f"mesh://link/1?m={to_b64(self.mesh_id)}&b={broker}#{to_b64(self.secret)}"

    def key(self) -> SigningKey:
        """What both sides say hello with."""
        return SigningKey.from_seed(hkdf(self.secret, pae("meet-key")))


def parse_meeting_link(text: str) -> MeetingLink:
    """The parts of a link, which must be exactly as `MeetingLink.url` writes it. Raises BadEncoding, never echoing it."""
    match = _LINK.fullmatch(text) if len(text) <= MAX_LINK else None
    if match is None:
        raise BadEncoding("this is no link of mesh device link: copy the whole line that it printed")
    mesh_id, broker, secret = match.groups()
    try:
        broker_url = unquote(broker, encoding="ascii", errors="strict")
    except UnicodeDecodeError:
        raise BadEncoding("the link names a broker that is no URL: run mesh device link again") from None
    link = MeetingLink(MeshId(from_b64(mesh_id)), broker_url, from_b64(secret))
    if link.url() != text:
        raise BadEncoding("the link was altered: copy the whole line that mesh device link printed")
    return link


class MeetingSeal:
    """One side's frames of one attempt, in their order."""

    __slots__ = ("_link", "_opened", "_sealed", "_side")

    def __init__(self, link: MeetingLink, side: Side) -> None:
        self._link = link
        self._side: Side = side
        self._sealed = 0
        self._opened = 0

    def seal(self, content: bytes, nonce: bytes) -> bytes:
        """The next frame; `nonce` is 24 random bytes. Raises BadEncoding above `MAX_CONTENT`."""
        if len(content) > MAX_CONTENT:
            raise BadEncoding("more than one frame of a meeting holds")
        self._sealed += 1
        return nonce + aead_seal(self._key(self._side, self._sealed), nonce, b"", content)

    def open(self, frame: bytes) -> bytes:
        """What the other side says with its next frame. Raises BadCiphertext for anything else."""
        if not NONCE_SIZE + AEAD_TAG_SIZE <= len(frame) <= MAX_FRAME:
            raise BadCiphertext("what came is no frame of a meeting")
        other: Side = "new" if self._side == "own" else "own"
        content = aead_open(self._key(other, self._opened + 1), frame[:NONCE_SIZE], b"", frame[NONCE_SIZE:])
        self._opened += 1
        return content

    def _key(self, side: Side, number: int) -> bytes:
        return hkdf(self._link.secret, pae("meet-frame", self._link.mesh_id, side.encode(), u64(number)))
