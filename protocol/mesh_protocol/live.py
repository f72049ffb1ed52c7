"""Frames of the live lane: presence and other things that are worth nothing a minute later (crypto design 2.20).

```
frame = lst(v, suite, mesh_id, device, epoch, channel, nonce, ct)
ct    = XChaCha20-Poly1305(key, nonce, aad = "", inner)
key   = HKDF(GK_epoch, PAE("live-key", v, suite, mesh_id, device, epoch, channel))
inner = pad(PAE("live-sig", suite, every field of LiveFrame) || Ed25519 signature)
```

What the broker reads is bound by the key. Which (generation, n), epoch and device count, the receiving daemon decides.
"""

import hmac
from dataclasses import dataclass, field

from mesh_protocol.ids import DEVICE_ID_SIZE, MESH_ID_SIZE, DeviceId, MeshId
from mesh_protocol.keys import (
    NONCE_SIZE,
    SIGNATURE_SIZE,
    SUITE,
    BadPeerKey,
    SigningKey,
    aead_open,
    aead_seal,
    hkdf,
    verify,
)
from mesh_protocol.padding import pad, require_padding
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
from mesh_protocol.tip import TipRef

VERSION = b"\x01"
CHANNEL_SIZE = 16
MAX_LIVE = 64 * 1024
"""Bytes of a whole frame."""
MAX_KIND = 32

_FRAME_FIELDS = 8
_INNER_FIELDS = 11


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """One live frame. (`generation`, `n`) rises with every frame of a device; `created_ms` is epoch ms."""

    mesh_id: MeshId
    device: DeviceId
    epoch: int
    generation: int
    n: int
    channel: bytes
    kind: str
    created_ms: int
    tip: TipRef
    content: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _require_route(self.mesh_id, self.device, self.epoch, self.channel)
        require_number(self.generation, 0, MAX_INT, "generation")
        require_number(self.n, 0, MAX_INT, "n")
        require_text(self.kind, 1, MAX_KIND, "kind")
        require_number(self.created_ms, 0, MAX_INT, "created_ms")
        if len(self.content) > MAX_LIVE:
            raise BadEncoding("the content is larger than a live frame may be")


@dataclass(frozen=True, slots=True)
class LiveRoute:
    """What the broker reads of a frame: unproven until it is opened."""

    mesh_id: MeshId
    device: DeviceId
    epoch: int
    channel: bytes

    def __post_init__(self) -> None:
        _require_route(self.mesh_id, self.device, self.epoch, self.channel)


def _require_route(mesh_id: MeshId, device: DeviceId, epoch: int, channel: bytes) -> None:
    require_size(mesh_id, MESH_ID_SIZE, "mesh_id")
    require_size(device, DEVICE_ID_SIZE, "device")
    require_number(epoch, 1, MAX_INT, "epoch")
    require_size(channel, CHANNEL_SIZE, "channel")


def channel_id(gk: bytes, name: str) -> bytes:
    """The 16-byte id of the channel `name` under an epoch key (32 bytes): it tells the broker no name."""
    return hmac.digest(hkdf(gk, pae("live-chan")), text_bytes(name), "sha256")[:CHANNEL_SIZE]


def seal_live(frame: LiveFrame, gk: bytes, key: SigningKey, nonce: bytes) -> bytes:
    """The frame as it travels, under its epoch's key `gk`. `nonce` is 24 random bytes.

    Raises BadPeerKey when `key` is another device's, BadEncoding above MAX_LIVE.
    """
    if frame.device != key.public:
        raise BadPeerKey("a live frame is signed by the device it names")
    signed = pae(
        "live-sig",
        SUITE,
        frame.mesh_id,
        frame.device,
        u64(frame.epoch),
        u64(frame.generation),
        u64(frame.n),
        frame.channel,
        text_bytes(frame.kind),
        u64(frame.created_ms),
        frame.tip.encode(),
        frame.content,
    )
    routing = _routing(frame.mesh_id, frame.device, frame.epoch, frame.channel)
    ct = aead_seal(_frame_key(gk, routing), nonce, b"", pad(signed + key.sign(signed)))
    data = lst(*routing, nonce, ct)
    if len(data) > MAX_LIVE:
        raise BadEncoding(f"a live frame of {len(data)} bytes is above the {MAX_LIVE} allowed")
    return data


def peek_live(data: bytes) -> LiveRoute:
    """What a frame claims, without opening it. Raises BadEncoding for another version, suite, size or shape."""
    return _parse(data)[0]


def open_live(data: bytes, gk: bytes) -> LiveFrame:
    """The frame, opened with its epoch's key and verified against the device it names.

    Raises BadEncoding, BadCiphertext or BadSignature. Membership and replay are the daemon's to judge.
    """
    route, nonce, ct = _parse(data)
    routing = _routing(route.mesh_id, route.device, route.epoch, route.channel)
    padded = aead_open(_frame_key(gk, routing), nonce, b"", ct)
    fields, end = split_pae(padded, "live-sig", _INNER_FIELDS)
    used = end + SIGNATURE_SIZE
    require_padding(padded, used)
    suite, mesh_id, device, epoch, generation, n, channel, kind, created_ms, tip, content = fields
    if suite != SUITE:
        raise BadEncoding("a live frame of an unknown suite: this build knows suite 1")
    frame = LiveFrame(
        MeshId(mesh_id),
        DeviceId(device),
        read_u64(epoch),
        read_u64(generation),
        read_u64(n),
        channel,
        read_text(kind),
        read_u64(created_ms),
        TipRef.decode(tip),
        content,
    )
    if LiveRoute(frame.mesh_id, frame.device, frame.epoch, frame.channel) != route:
        raise BadEncoding("the sealed live frame is not the one that was announced")
    verify(route.device, padded[:end], padded[end:used])
    return frame


def _parse(data: bytes) -> tuple[LiveRoute, bytes, bytes]:
    if len(data) > MAX_LIVE:
        raise BadEncoding(f"a live frame of {len(data)} bytes is above the {MAX_LIVE} allowed")
    version, suite, mesh_id, device, epoch, channel, nonce, ct = unlst_exactly(data, _FRAME_FIELDS)
    if version != VERSION or suite != SUITE:
        raise BadEncoding("a live frame of an unknown version or suite: this build knows version 1 and suite 1")
    require_size(nonce, NONCE_SIZE, "a nonce")
    return LiveRoute(MeshId(mesh_id), DeviceId(device), read_u64(epoch), channel), nonce, ct


def _routing(mesh_id: MeshId, device: DeviceId, epoch: int, channel: bytes) -> tuple[bytes, ...]:
    return VERSION, SUITE, mesh_id, device, u64(epoch), channel


def _frame_key(gk: bytes, routing: tuple[bytes, ...]) -> bytes:
    require_size(gk, 32, "an epoch key")
    return hkdf(gk, pae("live-key", *routing))
