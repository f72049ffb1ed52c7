"""Keys and the primitives over them: Ed25519, X25519 prekeys, XChaCha20-Poly1305, HKDF-SHA256 (crypto design 2.2).

Private keys are key objects of `cryptography`, whose memory is OpenSSL's and is cleared when freed; Python bytes of a
private key exist only while one is made or stored. Signatures are verified by libsodium, which refuses
non-canonical S and small-order points. No function here makes randomness: seeds and nonces are passed in.
"""

from dataclasses import dataclass
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl import bindings as sodium
from nacl.exceptions import CryptoError as SodiumError

from mesh_protocol.ids import DEVICE_ID_SIZE, MESH_ID_SIZE, DeviceId, MeshId
from mesh_protocol.pae import (
    MAX_INT,
    BadEncoding,
    CryptoError,
    pae,
    read_u64,
    require_number,
    require_size,
    split_signed,
    u64,
)

__all__ = [
    "AEAD_TAG_SIZE",
    "KEY_SIZE",
    "NONCE_SIZE",
    "SIGNATURE_SIZE",
    "SUITE",
    "BadCiphertext",
    "BadEncoding",
    "BadPeerKey",
    "BadSignature",
    "CryptoError",
    "PrekeyPrivate",
    "SignedPrekey",
    "SigningKey",
    "aead_open",
    "aead_seal",
    "hkdf",
    "sign_prekey",
    "verify",
    "verify_prekey",
]

KEY_SIZE = 32
NONCE_SIZE = 24
SIGNATURE_SIZE = 64
AEAD_TAG_SIZE = 16
SUITE = b"\x01"
"""Suite 1: Ed25519, X25519, HKDF-SHA256, ChaCha20-Poly1305, XChaCha20-Poly1305. Any other byte is refused."""

_SPK_FIELDS = 5


class BadSignature(CryptoError):
    """A signature that the named key did not make over these bytes."""


class BadCiphertext(CryptoError):
    """A ciphertext that does not open: altered, cut, for another key, or bound to other fields."""


class BadPeerKey(CryptoError):
    """A public key that must not be used: low order, or not the key of the peer and mesh it is shown for."""


class SigningKey:
    """An Ed25519 private key (RFC 8032). Prints, pickles and compares nothing of itself."""

    __slots__ = ("_key", "public")

    public: DeviceId
    """32 bytes: the public key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = DeviceId(key.public_key().public_bytes_raw())

    @classmethod
    def from_seed(cls, seed: bytes | bytearray) -> "SigningKey":
        """The key of a 32-byte seed; the caller wipes a bytearray afterwards. Raises BadEncoding for another size."""
        if len(seed) != KEY_SIZE:
            raise BadEncoding("a signing seed must have 32 bytes")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, message: bytes) -> bytes:
        """64 bytes over `message`, which must be a PAE."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()[:16]})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not copied or pickled")


class PrekeyPrivate:
    """An X25519 private key (RFC 7748), the secret half of a prekey. Prints, pickles and compares nothing of itself."""

    __slots__ = ("public", "x25519")

    public: bytes
    """32 bytes: the public key."""

    def __init__(self, key: X25519PrivateKey) -> None:
        self.x25519 = key
        self.public = key.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes | bytearray) -> "PrekeyPrivate":
        """The key of a 32-byte seed; the caller wipes a bytearray afterwards. Raises BadEncoding for another size."""
        if len(seed) != KEY_SIZE:
            raise BadEncoding("a prekey seed must have 32 bytes")
        return cls(X25519PrivateKey.from_private_bytes(seed))

    def seed(self) -> bytes:
        """The 32-byte seed, only for storage wrapping."""
        return self.x25519.private_bytes_raw()

    def __repr__(self) -> str:
        return f"PrekeyPrivate(public={self.public.hex()[:16]})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not copied or pickled")


def verify(public: bytes, message: bytes, signature: bytes) -> None:
    """Raises BadSignature unless `signature` (64 bytes) is `public`'s (32 bytes) over `message`; libsodium strict."""
    # The binding hands a short key to C unchecked, so the sizes are checked here.
    if len(public) != KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        raise BadSignature("a key or a signature has the wrong size")
    try:
        sodium.crypto_sign_open(signature + message, public)
    except SodiumError:
        raise BadSignature("the signature does not belong to these bytes and this key") from None


def aead_seal(key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
    """XChaCha20-Poly1305 (IETF): ciphertext and 16-byte tag. `nonce` is 24 random bytes, never used twice."""
    _require_aead_sizes(key, nonce)
    return sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, aad, nonce, key)


def aead_open(key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
    """The plaintext. Raises BadCiphertext when key, nonce, aad or ciphertext is not the one that was sealed."""
    _require_aead_sizes(key, nonce)
    if len(ciphertext) < AEAD_TAG_SIZE:
        raise BadCiphertext("a ciphertext is shorter than its tag")
    try:
        return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(ciphertext, aad, nonce, key)
    except SodiumError:
        raise BadCiphertext("a ciphertext does not open under this key and these fields") from None


def _require_aead_sizes(key: bytes, nonce: bytes) -> None:
    require_size(key, KEY_SIZE, "an AEAD key")
    require_size(nonce, NONCE_SIZE, "an AEAD nonce")


def hkdf(key: bytes, info: bytes, length: int = 32) -> bytes:
    """HKDF-SHA256 (RFC 5869) without salt; `info` must be a PAE. `length` is at most 8,160 bytes."""
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(key)


@dataclass(frozen=True, slots=True)
class SignedPrekey:
    """A device's X25519 prekey, signed by the device for one mesh (crypto design 2.2). `made_ms` is epoch ms."""

    mesh_id: MeshId
    device: DeviceId
    prekey_id: int
    pub: bytes
    made_ms: int
    sig: bytes

    def __post_init__(self) -> None:
        require_size(self.mesh_id, MESH_ID_SIZE, "mesh_id")
        require_size(self.device, DEVICE_ID_SIZE, "device")
        require_size(self.pub, KEY_SIZE, "a prekey")
        require_size(self.sig, SIGNATURE_SIZE, "a signature")
        require_number(self.prekey_id, 0, MAX_INT, "prekey_id")
        require_number(self.made_ms, 0, MAX_INT, "made_ms")

    def encode(self) -> bytes:
        """The signed PAE and the signature after it; 233 bytes."""
        return _prekey_pae(self.mesh_id, self.device, self.prekey_id, self.pub, self.made_ms) + self.sig

    @classmethod
    def decode(cls, data: bytes) -> "SignedPrekey":
        """Parse only; `verify_prekey` judges it. Raises BadEncoding."""
        fields, _, sig = split_signed(data, "prekey-spk", _SPK_FIELDS, SIGNATURE_SIZE)
        mesh_id, device, prekey_id, pub, made_ms = fields
        return cls(MeshId(mesh_id), DeviceId(device), read_u64(prekey_id), pub, read_u64(made_ms), sig)


def sign_prekey(key: SigningKey, mesh_id: MeshId, prekey_id: int, pub: bytes, made_ms: int) -> SignedPrekey:
    """The prekey `pub` (32 bytes) of the device that holds `key`, signed for `mesh_id`."""
    sig = key.sign(_prekey_pae(mesh_id, key.public, prekey_id, pub, made_ms))
    return SignedPrekey(mesh_id, key.public, prekey_id, pub, made_ms, sig)


def verify_prekey(prekey: SignedPrekey, mesh_id: MeshId, device: DeviceId) -> None:
    """Raises BadPeerKey for another mesh's or device's prekey, BadSignature for a forged one."""
    if prekey.mesh_id != mesh_id or prekey.device != device:
        raise BadPeerKey("the prekey belongs to another device or mesh")
    message = _prekey_pae(prekey.mesh_id, prekey.device, prekey.prekey_id, prekey.pub, prekey.made_ms)
    verify(device, message, prekey.sig)


def _prekey_pae(mesh_id: MeshId, device: DeviceId, prekey_id: int, pub: bytes, made_ms: int) -> bytes:
    return pae("prekey-spk", mesh_id, device, u64(prekey_id), pub, u64(made_ms))
