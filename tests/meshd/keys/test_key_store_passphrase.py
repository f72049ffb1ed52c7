"""A passphrase put on, changed and taken away: always the same identity, and a death between any two writes changes that not."""

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from mesh_protocol.keys import SigningKey
from meshd.keys import store as store_module
from meshd.keys.file_backend import IDENTITY_NAME, MACHINE_KEY_NAME, KeyDirectory
from meshd.keys.states import KeysDamaged, KeysLocked, KeysRefused, WrongPassphrase
from meshd.keys.store import KeyStore

FIRST, SECOND = b"correct horse battery", b"staple of another kind"


def stretch(passphrase: bytes | bytearray, salt: bytes) -> bytes:
    """In place of Argon2id, which is tried elsewhere: these tests open the same keys hundreds of times."""
    return sha256(bytes(passphrase) + salt).digest()


class NoKeyring:
    name = "keyring"

    def probe(self, rng: object) -> None:
        raise AssertionError("nobody asks for the keyring here")

    read = write = probe

    def close(self) -> None:
        return


def open_store(keys_dir: Path) -> KeyStore:
    return KeyStore(keys_dir, "file", NoKeyring(), stretch, os.urandom)  # type: ignore[arg-type]


def made(keys_dir: Path, passphrase: bytes | None = None) -> tuple[KeyStore, bytes]:
    """A store with an identity, under a passphrase if there is one; and the device."""
    store = open_store(keys_dir)
    device = store.create().device_id
    if passphrase is not None:
        store.protect(passphrase)
    return store, device


def opened(keys_dir: Path, *passphrases: bytes) -> KeyStore:
    """What the next start opens, with whichever of the passphrases it takes."""
    store = open_store(keys_dir)
    try:
        store.load()
    except KeysLocked:
        for each in passphrases:
            try:
                store.unlock(each)
                return store
            except WrongPassphrase:
                continue
        raise
    return store


def test_changing_the_passphrase_needs_the_one_before(keys_dir: Path) -> None:
    store, device = made(keys_dir, FIRST)
    before = (keys_dir / IDENTITY_NAME).read_bytes()
    with pytest.raises(KeysRefused, match="give it too"):
        store.protect(SECOND)
    with pytest.raises(WrongPassphrase, match="nothing was changed"):
        store.protect(SECOND, SECOND)
    assert (keys_dir / IDENTITY_NAME).read_bytes() == before
    store.protect(SECOND, FIRST)
    with pytest.raises(WrongPassphrase):
        open_store(keys_dir).unlock(FIRST)
    assert open_store(keys_dir).unlock(SECOND).device_id == device


def test_taking_the_passphrase_away_needs_it(keys_dir: Path) -> None:
    store, device = made(keys_dir, FIRST)
    with pytest.raises(WrongPassphrase):
        store.unprotect(SECOND)
    assert not (keys_dir / MACHINE_KEY_NAME).exists()
    store.unprotect(FIRST)
    assert store.report().sentence == "keys: file, unprotected"
    assert opened(keys_dir).bump_generation().device_id == device
    with pytest.raises(KeysRefused, match="no passphrase protects"):
        store.unprotect(FIRST)


def test_the_generation_and_the_store_key_survive_both_ways(keys_dir: Path) -> None:
    store, _ = made(keys_dir)
    kept = store.bump_generation()
    store.protect(FIRST)
    store.unprotect(FIRST)
    found = open_store(keys_dir).load()
    assert found is not None
    assert (found.generation, found.store_key) == (kept.generation, kept.store_key)


def test_neither_way_is_open_to_a_store_that_is_locked(keys_dir: Path) -> None:
    made(keys_dir, FIRST)
    store = open_store(keys_dir)
    with pytest.raises(KeysLocked):
        store.load()
    for attempt in (lambda: store.protect(SECOND, FIRST), lambda: store.unprotect(FIRST)):
        with pytest.raises(KeysRefused, match="mesh unlock"):
            attempt()


def test_the_key_of_a_machine_without_passphrase_is_a_new_one(keys_dir: Path) -> None:
    """What a copy of the home from before holds does not open the identity of after."""
    store, _ = made(keys_dir)
    before = (keys_dir / MACHINE_KEY_NAME).read_bytes()
    store.protect(FIRST)
    store.unprotect(FIRST)
    assert (keys_dir / MACHINE_KEY_NAME).read_bytes() != before
    (keys_dir / MACHINE_KEY_NAME).write_bytes(before)
    with pytest.raises(KeysDamaged, match="do not belong together"):
        open_store(keys_dir).load()


def test_another_device_takes_the_place_under_the_same_passphrase(keys_dir: Path) -> None:
    store, device = made(keys_dir, FIRST)
    kept = store.bump_generation()
    assert store.device_seed() != bytes(32)
    other = SigningKey.from_seed(bytes(32)).public
    assert store.replace_device(bytes(32), 99).device_id == other != device
    assert store.report().sentence == "keys: file, passphrase"
    with pytest.raises(KeysLocked):
        open_store(keys_dir).load()
    found = open_store(keys_dir).unlock(FIRST)
    assert (found.device_id, found.generation, found.store_key) == (other, 99, kept.store_key)


def test_the_seed_of_the_device_makes_the_device(keys_dir: Path) -> None:
    store, device = made(keys_dir)
    assert SigningKey.from_seed(store.device_seed()).public == device


CHANGES: dict[str, tuple[bytes | None, Callable[[KeyStore], None]]] = {
    "protect": (None, lambda store: store.protect(FIRST)),
    "another passphrase": (FIRST, lambda store: store.protect(SECOND, FIRST)),
    "unprotect": (FIRST, lambda store: store.unprotect(FIRST)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_death_before_any_write_of_a_change_leaves_the_same_identity(
    keys_dir: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    passphrase, act = CHANGES[change]
    deaths = 0
    for survived in range(10):
        for path in keys_dir.iterdir():
            path.unlink()
        store, device = made(keys_dir, passphrase)
        with monkeypatch.context() as patched:
            _die_after(patched, survived)
            try:
                act(store)
                finished = True
            except KeyboardInterrupt:
                finished = False
                deaths += 1
        again = opened(keys_dir, FIRST, SECOND)
        assert again.report().protected is not (keys_dir / MACHINE_KEY_NAME).exists(), f"after {survived} writes"
        assert again.bump_generation().device_id == device
        if finished:
            break
    assert finished
    assert deaths == 2


def _die_after(patched: pytest.MonkeyPatch, survived: int) -> None:
    """The process dies at the write or removal behind so many others."""
    left = survived

    def count() -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1

    write, remove = KeyDirectory.write, KeyDirectory.remove

    def dying_write(directory: KeyDirectory, name: str, content: bytes) -> None:
        count()
        write(directory, name, content)

    def dying_remove(directory: KeyDirectory, name: str) -> None:
        count()
        remove(directory, name)

    patched.setattr(store_module.KeyDirectory, "write", dying_write)
    patched.setattr(store_module.KeyDirectory, "remove", dying_remove)
