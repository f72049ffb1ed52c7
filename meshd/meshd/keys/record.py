"""The two small documents of the key store: the sealed identity, and the marker that says where it is kept.

Both are JSON of hexadecimal and numbers, strictly read. The identity's private bytes are in `wrapped` alone, sealed to
(store, device, generation, protection): none of the readable fields can be changed without its failing to open.
"""

import json
from dataclasses import dataclass
from typing import Literal, NewType

from mesh_protocol.ids import DEVICE_ID_SIZE, DeviceId
from mesh_protocol.keys import AEAD_TAG_SIZE, KEY_SIZE, NONCE_SIZE, SigningKey
from mesh_protocol.pae import MAX_INT, lst, text_bytes, u64
from meshd.columns import open_column, seal_column
from meshd.keys.identity import Identity, StoreKey
from meshd.keys.states import BackendName, KeysDamaged

StoreId = NewType("StoreId", bytes)
"""16 random bytes: names this store's item in a keyring that may hold those of other homes."""

Protection = Literal["machine", "passphrase"]

STORE_ID_SIZE = 16
SALT_SIZE = 16
RECORD_LIMIT = 4096
_VERSION = 1
_PLAIN_SIZE = 2 * KEY_SIZE
_WRAPPED_SIZE = NONCE_SIZE + _PLAIN_SIZE + AEAD_TAG_SIZE


@dataclass(frozen=True, slots=True)
class SealedIdentity:
    """An identity as it is kept. `salt` is empty unless the protection is a passphrase (Argon2id 64 MiB / 3)."""

    store: StoreId
    device: DeviceId
    generation: int
    protection: Protection
    salt: bytes
    wrapped: bytes

    def encode(self) -> bytes:
        told = {
            "v": _VERSION,
            "store": self.store.hex(),
            "device_pub": self.device.hex(),
            "generation": self.generation,
            "protection": self.protection,
            "salt": self.salt.hex(),
            "wrapped": self.wrapped.hex(),
        }
        return json.dumps(told).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Marker:
    """Which backend holds the identity. Without `device` the making of it had begun and may not have ended."""

    backend: BackendName
    store: StoreId
    device: DeviceId | None

    def encode(self) -> bytes:
        told = {
            "v": _VERSION,
            "backend": self.backend,
            "store": self.store.hex(),
            "device_pub": self.device.hex() if self.device else "",
        }
        return json.dumps(told).encode() + b"\n"


def decode_identity(raw: bytes, shown: str) -> SealedIdentity:
    """Strict. Raises KeysDamaged, which names `shown`."""
    told = _document(raw, shown, {"v", "store", "device_pub", "generation", "protection", "salt", "wrapped"})
    protection, generation = told["protection"], told["generation"]
    if protection not in ("machine", "passphrase"):
        raise _damaged(shown, "an unknown protection")
    if type(generation) is not int or not 1 <= generation <= MAX_INT:
        raise _damaged(shown, "an impossible generation")
    return SealedIdentity(
        store=StoreId(_hex(told["store"], STORE_ID_SIZE, shown)),
        device=DeviceId(_hex(told["device_pub"], DEVICE_ID_SIZE, shown)),
        generation=generation,
        protection=protection,
        salt=_hex(told["salt"], SALT_SIZE if protection == "passphrase" else 0, shown),
        wrapped=_hex(told["wrapped"], _WRAPPED_SIZE, shown),
    )


def decode_marker(raw: bytes, shown: str) -> Marker:
    """Strict. Raises KeysDamaged, which names `shown`."""
    told = _document(raw, shown, {"v", "backend", "store", "device_pub"})
    if told["backend"] not in ("file", "keyring"):
        raise _damaged(shown, "an unknown backend")
    device = None if told["device_pub"] == "" else DeviceId(_hex(told["device_pub"], DEVICE_ID_SIZE, shown))
    return Marker(told["backend"], StoreId(_hex(told["store"], STORE_ID_SIZE, shown)), device)


def seal_identity(
    plain: bytes | bytearray,
    key: bytes,
    store: StoreId,
    device: DeviceId,
    generation: int,
    protection: Protection,
    salt: bytes,
    nonce: bytes,
) -> SealedIdentity:
    """`plain` is device seed (32) || store key (32); `key` the machine key or the stretched passphrase."""
    row = _row(store, device, generation, protection)
    wrapped = seal_column(key, "keys", "identity", row, bytes(plain), nonce)
    return SealedIdentity(store, device, generation, protection, salt, wrapped)


def open_plain(sealed: SealedIdentity, key: bytes) -> bytearray:
    """Device seed (32) || store key (32), for the caller to wipe. Raises BadCiphertext."""
    row = _row(sealed.store, sealed.device, sealed.generation, sealed.protection)
    return bytearray(open_column(key, "keys", "identity", row, sealed.wrapped))


def identity_of(plain: bytearray, generation: int) -> Identity:
    """The key objects of an opened record."""
    return Identity(SigningKey.from_seed(plain[:KEY_SIZE]), StoreKey(bytes(plain[KEY_SIZE:])), generation)


def wipe(plain: bytearray) -> None:
    """Overwrites in place. Copies that Python made are beyond reach: this shortens a secret's life, no more."""
    plain[:] = bytes(len(plain))


def _row(store: StoreId, device: DeviceId, generation: int, protection: Protection) -> bytes:
    return lst(store, device, u64(generation), text_bytes(protection))


def _document(raw: bytes, shown: str, keys: set[str]) -> dict[str, object]:
    try:
        told: object = json.loads(raw)
    except ValueError:
        raise _damaged(shown, "it is not JSON") from None
    if not isinstance(told, dict) or set(told) != keys:
        raise _damaged(shown, "its fields are not the expected ones")
    if told["v"] != _VERSION:
        raise KeysDamaged(f"{shown} was written by another version of meshd; start that version")
    return told


def _hex(value: object, size: int, shown: str) -> bytes:
    if isinstance(value, str) and len(value) == 2 * size:
        try:
            return bytes.fromhex(value)
        except ValueError:
            pass
    raise _damaged(shown, "a field has the wrong form")


def _damaged(shown: str, what: str) -> KeysDamaged:
    return KeysDamaged(f"{shown} is damaged ({what}); restore it from a backup of this home")
