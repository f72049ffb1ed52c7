"""Linking another device of one's own: four words on both screens, and a person who compares them (crypto design 2.13).

```
new device                                    a member's device
commitment  ------------------------------->
            <-------------------------------  its id, 32 random bytes
reveal      ------------------------------->
words       =  the person sees the same  =    words                    only then: add_device, epoch, seal

reveal     = lst(mesh_id, device, spk, nonce)
commitment = SHA-256(PAE("link-commit", mesh_id, device, spk, nonce))
words      = the first 4 bytes of SHA-256(PAE("link-words", mesh_id, member's device, its nonce, device, spk, nonce))
```

Whoever stands between must fix what he shows each side before he learns that side's nonce, so he cannot search for
equal words: he has one guess in 2**32. Each object serves one attempt; a second is refused.
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from mesh_protocol.ids import DEVICE_ID_SIZE, MESH_ID_SIZE, DeviceId, MeshId
from mesh_protocol.keys import SignedPrekey, verify_prekey
from mesh_protocol.pae import CryptoError, lst, pae, require_size, unlst_exactly
from mesh_protocol.tip import HASH_SIZE
from mesh_protocol.words import to_words

NONCE_SIZE: Final = 32
WORD_COUNT: Final = 4
_FIELDS: Final = 4


class BadLink(CryptoError):
    """The other side did not keep to the order, or showed another device than it had committed to. Start anew."""


@dataclass(frozen=True, slots=True)
class LinkReveal:
    """The new device, its prekey for the mesh's keys, and the nonce (32 random bytes) that it committed to."""

    mesh_id: MeshId
    device: DeviceId
    spk: SignedPrekey
    nonce: bytes

    def __post_init__(self) -> None:
        require_size(self.mesh_id, MESH_ID_SIZE, "mesh_id")
        require_size(self.device, DEVICE_ID_SIZE, "device")
        require_size(self.nonce, NONCE_SIZE, "a link nonce")
        verify_prekey(self.spk, self.mesh_id, self.device)

    def encode(self) -> bytes:
        """The reveal as it travels."""
        return lst(self.mesh_id, self.device, self.spk.encode(), self.nonce)

    @classmethod
    def decode(cls, data: bytes) -> "LinkReveal":
        """Raises BadEncoding, BadPeerKey or BadSignature."""
        mesh_id, device, spk, nonce = unlst_exactly(data, _FIELDS)
        return cls(MeshId(mesh_id), DeviceId(device), SignedPrekey.decode(spk), nonce)

    def commitment(self) -> bytes:
        """32 bytes that fix the reveal and tell nothing of it."""
        return sha256(pae("link-commit", self.mesh_id, self.device, self.spk.encode(), self.nonce)).digest()

    def words(self, by: DeviceId, nonce: bytes) -> tuple[str, ...]:
        """The four words, given the member's device `by` and its nonce."""
        require_size(by, DEVICE_ID_SIZE, "device")
        require_size(nonce, NONCE_SIZE, "a link nonce")
        content = pae("link-words", self.mesh_id, by, nonce, self.device, self.spk.encode(), self.nonce)
        return to_words(sha256(content).digest()[:WORD_COUNT])


class NewDevice:
    """The new device's side of one attempt."""

    def __init__(self, reveal: LinkReveal) -> None:
        self._reveal = reveal
        self._answered = False

    def begin(self) -> bytes:
        """The commitment, to be sent first."""
        return self._reveal.commitment()

    def answer(self, by: DeviceId, nonce: bytes) -> tuple[bytes, tuple[str, ...]]:
        """The reveal to send and the words to show, once the member's device has said its id and nonce.

        Raises BadLink the second time, BadEncoding for a wrong size.
        """
        words = self._reveal.words(by, nonce)
        if self._answered:
            raise BadLink("the other side answered twice: start mesh device link anew")
        self._answered = True
        return self._reveal.encode(), words


class OwnDevice:
    """A member's device's side of one attempt; `nonce` is 32 random bytes made for it."""

    def __init__(self, mesh_id: MeshId, device: DeviceId, nonce: bytes) -> None:
        require_size(nonce, NONCE_SIZE, "a link nonce")
        self._mesh_id = mesh_id
        self._device = device
        self._nonce = nonce
        self._commitment = b""
        self._done = False

    def answer(self, commitment: bytes) -> bytes:
        """The nonce to send back. Raises BadLink for a second commitment, BadEncoding for a wrong size."""
        require_size(commitment, HASH_SIZE, "a commitment")
        if self._commitment:
            raise BadLink("a second device asks to be linked: start mesh device link anew")
        self._commitment = commitment
        return self._nonce

    def confirm(self, data: bytes) -> tuple[LinkReveal, tuple[str, ...]]:
        """The new device and the words to show; a person compares them before the chain is touched.

        Raises BadLink unless it is what was committed to, for this mesh, and the first; or what `decode` raises.
        """
        if self._done or not self._commitment:
            raise BadLink("a device is shown out of turn: start mesh device link anew")
        self._done = True
        reveal = LinkReveal.decode(data)
        if reveal.mesh_id != self._mesh_id or not hmac.compare_digest(reveal.commitment(), self._commitment):
            raise BadLink("the device shown is not the one that asked: start mesh device link anew")
        return reveal, reveal.words(self._device, self._nonce)
