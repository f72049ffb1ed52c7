"""Where the identity is kept, and the rule above all others: there is never a second one.

A marker file names the backend before anything is put there, so that a crash, a locked keyring or a login without a
bus can only mean "not now", never "none yet".
"""

import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from mesh_protocol.ids import DeviceId
from mesh_protocol.keys import KEY_SIZE, NONCE_SIZE, BadCiphertext, SigningKey
from mesh_protocol.pae import BadEncoding
from meshd.keys.file_backend import (
    IDENTITY_NAME,
    MACHINE_KEY_NAME,
    MACHINE_KEY_SIZE,
    MARKER_NAME,
    FileBackend,
    KeyDirectory,
)
from meshd.keys.identity import Identity
from meshd.keys.record import (
    SALT_SIZE,
    STORE_ID_SIZE,
    Marker,
    Protection,
    SealedIdentity,
    StoreId,
    decode_identity,
    decode_marker,
    identity_of,
    open_plain,
    seal_identity,
    wipe,
)
from meshd.keys.states import (
    BackendName,
    KeyCondition,
    KeyReport,
    KeysDamaged,
    KeysLocked,
    KeysNotReady,
    KeysRefused,
    WrongPassphrase,
)

Choice = Literal["auto", "keyring", "file"]


class Backend(Protocol):
    """Where the sealed record lies. `read` gives None only if the backend is open and holds none."""

    name: BackendName

    def read(self, store: StoreId) -> bytes | None: ...

    def write(self, store: StoreId, record: bytes) -> None: ...

    def close(self) -> None: ...


class ProbedBackend(Backend, Protocol):
    """A backend that may not be there."""

    def probe(self, rng: Callable[[int], bytes]) -> None: ...


class KeyStore:
    """The key store of one home. Blocking (files, a keyring, Argon2): call it at start or in a worker, one at a time."""

    def __init__(
        self,
        directory: Path,
        choice: Choice,
        keyring: ProbedBackend,
        stretch: Callable[[bytes | bytearray, bytes], bytes],
        rng: Callable[[int], bytes],
    ) -> None:
        self._directory = KeyDirectory(directory)
        self._choice = choice
        self._backends: dict[BackendName, Backend] = {"file": FileBackend(self._directory), "keyring": keyring}
        self._keyring = keyring
        self._stretch = stretch
        self._rng = rng
        self._opened: tuple[SealedIdentity, bytes] | None = None
        self._backend: BackendName | None = None
        self._condition: KeyCondition = "none"
        self._protected = False
        self._sentence = "keys: none yet"
        self._notes: list[str] = []

    def load(self, passphrase: bytes | bytearray | None = None) -> Identity | None:
        """The identity, or None when none was ever made here. `passphrase`: given at the start, used if it is needed.

        Raises KeysLocked or KeysUnavailable when it exists and cannot be had now, KeysDamaged (exit 78) when its files
        contradict each other.
        """
        return self._load(passphrase)

    def unlock(self, passphrase: bytes | bytearray | None = None) -> Identity:
        """`load` with the passphrase, or once more after the keyring was unlocked. Raises WrongPassphrase as well."""
        identity = self._load(passphrase)
        if identity is None:
            raise KeysRefused("there are no keys to unlock yet")
        self._notes.clear()  # what was wrong at the start is so no more
        return identity

    def create(self) -> Identity:
        """Makes the one identity of this home, generation 1. Raises KeysRefused if there is one already.

        Call only when `load` gave None and check_consistency allowed it.
        """
        if self.load() is not None:
            raise KeysRefused("this home has its keys already")
        marker = self._read_marker() or self._begin()
        backend = self._backends[marker.backend]
        machine_key = self._directory.machine_key() or self._make_machine_key()
        plain = bytearray(self._rng(2 * KEY_SIZE))
        try:
            device = SigningKey.from_seed(plain[:KEY_SIZE]).public
            sealed = self._seal(plain, machine_key, marker.store, device, 1, "machine", b"")
            identity = identity_of(plain, 1)
        finally:
            wipe(plain)
        backend.write(marker.store, sealed.encode())
        self._finish(marker, device)
        self._ready(marker.backend, sealed, machine_key)
        return identity

    def bump_generation(self, above: int = 0) -> Identity:
        """The identity with a generation higher than its own and than `above` (what the database knew), durably written."""
        sealed, key = self._require_open()
        generation = max(sealed.generation, above) + 1
        plain = open_plain(sealed, key)
        try:
            risen = self._seal(plain, key, sealed.store, sealed.device, generation, sealed.protection, sealed.salt)
            identity = identity_of(plain, generation)
        finally:
            wipe(plain)
        self._write(risen, key)
        return identity

    def protect(self, passphrase: bytes | bytearray, old: bytes | bytearray | None = None) -> None:
        """Puts the key file under a passphrase, or under another one than `old`.

        Raises KeysRefused for keys in a keyring, or where `old` is missing; WrongPassphrase where it is not the one.
        """
        sealed, key = self._require_file()
        if sealed.protection == "passphrase":
            if old is None:
                raise KeysRefused("a passphrase protects the keys already: give it too, to change it")
            self._require_passphrase(sealed, key, old)
        salt = self._rng(SALT_SIZE)
        self._rewrap(sealed, key, self._stretch(passphrase, salt), "passphrase", salt)
        self._directory.remove(MACHINE_KEY_NAME)

    def unprotect(self, passphrase: bytes | bytearray) -> None:
        """Takes the passphrase away: the key file opens with the machine's own key again.

        Raises KeysRefused where none protects the keys, WrongPassphrase.
        """
        sealed, key = self._require_file()
        if sealed.protection != "passphrase":
            raise KeysRefused("no passphrase protects the keys")
        self._require_passphrase(sealed, key, passphrase)
        # The machine's key first: a death between the two leaves the passphrase, and unlocking removes the key again.
        self._rewrap(sealed, key, self._make_machine_key(), "machine", b"")

    def device_seed(self) -> bytes:
        """The 32-byte seed of the device key, for a backup that its person asked to hold it."""
        plain = open_plain(*self._require_open())
        try:
            return bytes(plain[:KEY_SIZE])
        finally:
            wipe(plain)

    def replace_device(self, seed: bytes, generation: int) -> Identity:
        """Another device in place of this one, with the same store key and protection: a restored one.

        The marker forgets the old device first, so that a death between the writes leaves one or the other, never damage.
        """
        sealed, key = self._require_open()
        assert self._backend is not None
        marker = Marker(self._backend, sealed.store, None)
        plain = open_plain(sealed, key)
        try:
            plain[:KEY_SIZE] = seed
            identity = identity_of(plain, generation)
            device = identity.device_id
            other = self._seal(plain, key, sealed.store, device, generation, sealed.protection, sealed.salt)
        finally:
            wipe(plain)
        self._directory.write(MARKER_NAME, marker.encode())
        self._write(other, key)
        self._finish(marker, device)
        return identity

    def note(self, sentence: str) -> None:
        """Something about the keys that a person should find in `mesh keys status` and `mesh doctor`."""
        self._notes.append(sentence)

    def report(self) -> KeyReport:
        """What the last call found."""
        return KeyReport(self._condition, self._backend, self._protected, self._sentence, tuple(self._notes))

    def close(self) -> None:
        """Forgets the wrapping key and ends what the keyring had running."""
        self._opened = None
        self._keyring.close()

    def _load(self, passphrase: bytes | bytearray | None) -> Identity | None:
        self._opened = None
        try:
            marker = self._read_marker() or self._adopt()
            if marker is None:
                self._say("none", None, False, "keys: none yet")
                return None
            self._backend = marker.backend
            return self._load_from(marker, passphrase)
        except KeysLocked as error:
            self._say("locked", self._backend, True, f"keys: {self._backend}, locked ({error})")
            raise
        except WrongPassphrase:
            self._say("locked", self._backend, True, f"keys: {self._backend}, locked (run: mesh unlock)")
            raise
        except KeysNotReady as error:
            self._say("unavailable", self._backend, True, f"keys: {self._backend}, out of reach ({error})")
            raise
        except KeysDamaged as error:
            self._say("damaged", self._backend, False, f"keys: damaged ({error})")
            raise

    def _load_from(self, marker: Marker, passphrase: bytes | bytearray | None) -> Identity | None:
        shown = self._shown(marker.backend)
        raw = self._backends[marker.backend].read(marker.store)
        if raw is None:
            if marker.device is None:
                self._say("none", None, False, "keys: none yet")
                return None
            raise KeysDamaged(f"{shown} is gone; restore it, or move {self._directory.path} and mesh.db beside it away")
        sealed = decode_identity(raw, shown)
        if sealed.store != marker.store or marker.device not in (None, sealed.device):
            raise KeysDamaged(f"{shown} is another identity's; put back the one that belongs to this home")
        key = self._wrapping_key(sealed, passphrase)
        try:
            plain = open_plain(sealed, key)
        except (BadCiphertext, BadEncoding):
            raise self._not_opened(sealed, shown) from None
        try:
            identity = identity_of(plain, sealed.generation)
        finally:
            wipe(plain)
        if identity.device_id != sealed.device:
            raise KeysDamaged(f"{shown} names a device that is not its own; restore it from a backup of this home")
        if marker.device is None:
            self._finish(marker, sealed.device)
        if sealed.protection == "passphrase":
            self._directory.remove(MACHINE_KEY_NAME)  # a crash after `protect` had left it
        self._ready(marker.backend, sealed, key)
        return identity

    def _wrapping_key(self, sealed: SealedIdentity, passphrase: bytes | bytearray | None) -> bytes:
        if sealed.protection == "passphrase":
            if passphrase is None:
                raise KeysLocked("run: mesh unlock")
            return self._stretch(passphrase, sealed.salt)
        key = self._directory.machine_key()
        if key is None:
            path = self._directory.path / MACHINE_KEY_NAME
            raise KeysDamaged(f"{path} is gone; restore it from a backup of this home")
        return key

    def _not_opened(self, sealed: SealedIdentity, shown: str) -> KeysDamaged | WrongPassphrase:
        if sealed.protection == "passphrase":
            return WrongPassphrase(f"the passphrase does not open {shown}: wrong passphrase, or the file was changed")
        path = self._directory.path / MACHINE_KEY_NAME
        return KeysDamaged(f"{shown} and {path} do not belong together, or one was changed; restore both from a backup")

    def _read_marker(self) -> Marker | None:
        raw = self._directory.read(MARKER_NAME)
        return None if raw is None else decode_marker(raw, str(self._directory.path / MARKER_NAME))

    def _adopt(self) -> Marker | None:
        """A key file without its marker is still this home's identity."""
        raw = self._directory.read(IDENTITY_NAME)
        if raw is None:
            return None
        sealed = decode_identity(raw, self._shown("file"))
        return Marker("file", sealed.store, None)

    def _begin(self) -> Marker:
        """Chooses the backend and writes the marker, before anything is put there."""
        marker = Marker(self._choose(), StoreId(self._rng(STORE_ID_SIZE)), None)
        self._directory.write(MARKER_NAME, marker.encode())
        return marker

    def _choose(self) -> BackendName:
        if self._choice == "file":
            return "file"
        try:
            self._keyring.probe(self._rng)
        except KeysNotReady as error:
            if self._choice == "keyring":
                raise
            self._notes.append(f"the keys were put into a file: {error}")
            return "file"
        return "keyring"

    def _finish(self, marker: Marker, device: DeviceId) -> None:
        self._directory.write(MARKER_NAME, Marker(marker.backend, marker.store, device).encode())

    def _make_machine_key(self) -> bytes:
        key = self._rng(MACHINE_KEY_SIZE)
        self._directory.write(MACHINE_KEY_NAME, key)
        return key

    def _seal(
        self,
        plain: bytearray,
        key: bytes,
        store: StoreId,
        device: DeviceId,
        generation: int,
        protection: Protection,
        salt: bytes,
    ) -> SealedIdentity:
        return seal_identity(plain, key, store, device, generation, protection, salt, self._rng(NONCE_SIZE))

    def _write(self, sealed: SealedIdentity, key: bytes) -> None:
        assert self._backend is not None
        self._backends[self._backend].write(sealed.store, sealed.encode())
        self._ready(self._backend, sealed, key)

    def _rewrap(self, sealed: SealedIdentity, key: bytes, under: bytes, protection: Protection, salt: bytes) -> None:
        """The same identity, durably, under another key."""
        plain = open_plain(sealed, key)
        try:
            again = self._seal(plain, under, sealed.store, sealed.device, sealed.generation, protection, salt)
        finally:
            wipe(plain)
        self._write(again, under)

    def _require_passphrase(self, sealed: SealedIdentity, key: bytes, passphrase: bytes | bytearray) -> None:
        if not hmac.compare_digest(self._stretch(passphrase, sealed.salt), key):
            raise WrongPassphrase("this is not the passphrase of the keys: nothing was changed")

    def _require_file(self) -> tuple[SealedIdentity, bytes]:
        opened = self._require_open()
        if self._backend != "file":
            raise KeysRefused("the keys are in the login keyring, which your login protects already")
        return opened

    def _require_open(self) -> tuple[SealedIdentity, bytes]:
        if self._opened is None:
            raise KeysRefused("the keys are not open: run mesh unlock first")
        return self._opened

    def _ready(self, backend: BackendName, sealed: SealedIdentity, key: bytes) -> None:
        self._opened = (sealed, key)
        protected = backend == "keyring" or sealed.protection == "passphrase"
        how = "login keyring" if backend == "keyring" else f"file, {'passphrase' if protected else 'unprotected'}"
        self._say("ready", backend, protected, f"keys: {how}")

    def _say(self, condition: KeyCondition, backend: BackendName | None, protected: bool, sentence: str) -> None:
        self._condition, self._backend = condition, backend
        self._protected, self._sentence = protected, sentence

    def _shown(self, backend: BackendName) -> str:
        return "the keyring item of meshd" if backend == "keyring" else str(self._directory.path / IDENTITY_NAME)
