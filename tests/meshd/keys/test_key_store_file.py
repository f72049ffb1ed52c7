"""The identity in files: made once, kept, protected, and never doubled."""

import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh_protocol.keys import verify
from meshd.keys import store as store_module
from meshd.keys.argon2 import stretch
from meshd.keys.file_backend import IDENTITY_NAME, MACHINE_KEY_NAME, MARKER_NAME
from meshd.keys.states import KeysDamaged, KeysLocked, KeysRefused, KeysUnavailable, WrongPassphrase
from meshd.keys.store import KeyStore
from meshd.private_files import NotPrivate

MakeStore = Callable[..., KeyStore]


def test_an_empty_home_has_no_identity_and_loading_makes_none(make_store: MakeStore, keys_dir: Path) -> None:
    store = make_store()
    assert store.load() is None
    assert store.report().condition == "none"
    assert list(keys_dir.iterdir()) == []


def test_a_made_identity_comes_back_after_a_restart(make_store: MakeStore) -> None:
    made = make_store("file").create()
    found = make_store("file").load()
    assert found is not None
    assert found.device_id == made.device_id
    assert found.store_key == made.store_key
    assert found.generation == made.generation == 1
    verify(made.device_id, b"bytes", found.device.sign(b"bytes"))


def test_without_a_bus_auto_chooses_the_file_and_says_that_it_is_unprotected(make_store: MakeStore) -> None:
    store = make_store("auto", {"XDG_RUNTIME_DIR": "/nonexistent"})
    store.create()
    report = store.report()
    assert report.sentence == "keys: file, unprotected"
    assert not report.protected
    assert "no session bus" in report.notes[0]


def test_a_bus_variable_that_nobody_answers_on_is_no_bus(make_store: MakeStore, tmp_path: Path) -> None:
    environ = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp_path}/gone"}
    store = make_store("auto", environ)
    store.create()
    assert store.report().backend == "file"


def test_every_key_file_is_0600_and_no_temporary_is_left(make_store: MakeStore, keys_dir: Path) -> None:
    store = make_store("file")
    store.create()
    store.bump_generation()
    assert {path.name for path in keys_dir.iterdir()} == {IDENTITY_NAME, MACHINE_KEY_NAME, MARKER_NAME}
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys_dir.iterdir()} == {0o600}


def test_the_private_bytes_are_in_no_file_in_clear(keys_dir: Path) -> None:
    drawn: list[bytes] = []

    def rng(count: int) -> bytes:
        drawn.append(os.urandom(count))
        return drawn[-1]

    store = KeyStore(keys_dir, "file", _NoKeyring(), stretch, rng)
    store.create()
    plain = next(each for each in drawn if len(each) == 64)
    for path in keys_dir.iterdir():
        content = path.read_bytes()
        for half in (plain[:32], plain[32:]):
            assert half not in content
            assert half.hex().encode() not in content


def test_a_second_create_is_refused(make_store: MakeStore) -> None:
    make_store("file").create()
    with pytest.raises(KeysRefused, match="already"):
        make_store("file").create()


def test_the_generation_rises_and_survives(make_store: MakeStore) -> None:
    store = make_store("file")
    store.create()
    assert store.bump_generation().generation == 2
    assert store.bump_generation(above=10).generation == 11
    again = make_store("file")
    found = again.load()
    assert found is not None
    assert found.generation == 11
    assert again.bump_generation(above=3).generation == 12


def test_the_configuration_does_not_move_keys_that_exist(make_store: MakeStore) -> None:
    made = make_store("file").create()
    found = make_store("keyring", {}).load()
    assert found is not None
    assert found.device_id == made.device_id


def test_a_protected_store_is_locked_until_the_passphrase_comes(make_store: MakeStore, keys_dir: Path) -> None:
    store = make_store("file")
    made = store.create()
    store.protect(b"correct horse battery")
    assert store.report().sentence == "keys: file, passphrase"
    assert not (keys_dir / MACHINE_KEY_NAME).exists()

    later = make_store("file")
    with pytest.raises(KeysLocked, match="mesh unlock"):
        later.load()
    assert later.report().condition == "locked"
    with pytest.raises(WrongPassphrase):
        later.unlock(b"correct horse batterY")
    with pytest.raises(KeysLocked):
        later.create()
    with pytest.raises(KeysRefused):
        later.bump_generation()
    found = later.unlock(b"correct horse battery")
    assert found.device_id == made.device_id
    assert later.bump_generation().generation == 2
    assert make_store("file").unlock(b"correct horse battery").generation == 2


def test_a_crash_after_protect_leaves_no_machine_key_behind_for_long(make_store: MakeStore, keys_dir: Path) -> None:
    store = make_store("file")
    store.create()
    kept = (keys_dir / MACHINE_KEY_NAME).read_bytes()
    store.protect(b"correct horse battery")
    left = keys_dir / MACHINE_KEY_NAME
    left.touch(mode=0o600)
    left.write_bytes(kept)
    make_store("file").unlock(b"correct horse battery")
    assert not left.exists()


def test_the_passphrase_reaches_neither_argv_nor_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = subprocess.run

    def spy(argv: list[str], **options: object) -> object:
        seen.append(repr(argv) + repr(options.get("env")))
        return real(argv, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", spy)
    key = stretch(bytearray(b"canary-passphrase"), bytes(16))
    assert len(key) == 32
    assert seen
    assert "canary" not in seen[0]


def test_the_stretching_is_argon2id_with_64_mib_and_3_passes() -> None:
    from nacl import pwhash

    expected = pwhash.argon2id.kdf(32, b"a passphrase", b"0123456789abcdef", opslimit=3, memlimit=64 * 1024 * 1024)
    assert stretch(b"a passphrase", b"0123456789abcdef") == expected


def test_a_crash_at_any_write_of_create_ends_in_one_identity(
    make_store: MakeStore, keys_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file was the last to be written, the next start finds or finishes, and no two devices are ever used."""
    real = store_module.KeyDirectory.write
    for survived in range(4):
        for path in keys_dir.iterdir():
            path.unlink()
        left = survived

        def write(directory: store_module.KeyDirectory, name: str, content: bytes) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            real(directory, name, content)

        monkeypatch.setattr(store_module.KeyDirectory, "write", write)
        with pytest.raises(KeyboardInterrupt):
            make_store("file").create()
        monkeypatch.setattr(store_module.KeyDirectory, "write", real)

        written = keys_dir / IDENTITY_NAME
        before = json.loads(written.read_bytes())["device_pub"] if written.exists() else None
        store = make_store("file")
        identity = store.load() or store.create()
        if before is not None:
            assert identity.device_id.hex() == before
        again = make_store("file").load()
        assert again is not None
        assert again.device_id == identity.device_id
        assert json.loads((keys_dir / MARKER_NAME).read_bytes())["device_pub"] == identity.device_id.hex()


def test_a_key_file_without_its_marker_is_still_the_identity(make_store: MakeStore, keys_dir: Path) -> None:
    made = make_store("file").create()
    (keys_dir / MARKER_NAME).unlink()
    found = make_store("file").load()
    assert found is not None
    assert found.device_id == made.device_id
    assert (keys_dir / MARKER_NAME).exists()


@pytest.mark.parametrize("name", [IDENTITY_NAME, MACHINE_KEY_NAME])
def test_a_missing_key_file_is_damage_and_never_a_new_identity(
    make_store: MakeStore, keys_dir: Path, name: str
) -> None:
    make_store("file").create()
    (keys_dir / name).unlink()
    store = make_store("file")
    for attempt in (store.load, store.create):
        with pytest.raises(KeysDamaged, match=r"is gone; restore it|is gone; restore"):
            attempt()
    assert not (keys_dir / name).exists()
    assert store.report().condition == "damaged"


def _flip_wrapped(told: dict[str, object]) -> None:
    text = str(told["wrapped"])
    told["wrapped"] = text[:-1] + ("0" if text[-1] != "0" else "1")


CHANGES: dict[str, Callable[[dict[str, object]], object]] = {
    "a bit of the ciphertext": _flip_wrapped,
    "a lower generation": lambda told: told.update(generation=1),
    "a higher generation": lambda told: told.update(generation=99),
    "generation zero": lambda told: told.update(generation=0),
    "a boolean generation": lambda told: told.update(generation=True),
    "another device": lambda told: told.update(device_pub="ab" * 32),
    "another store": lambda told: told.update(store="cd" * 16),
    "an unknown protection": lambda told: told.update(protection="none"),
    "a passphrase without salt": lambda told: told.update(protection="passphrase"),
    "a cut ciphertext": lambda told: told.update(wrapped=str(told["wrapped"])[:-2]),
    "an odd ciphertext": lambda told: told.update(wrapped="zz" * 104),
    "a field too many": lambda told: told.update(more=1),
    "a field too few": lambda told: told.pop("salt"),
    "another version": lambda told: told.update(v=2),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_key_file_is_refused_and_left_alone(
    make_store: MakeStore, keys_dir: Path, change: Callable[[dict[str, object]], object]
) -> None:
    store = make_store("file")
    store.create()
    store.bump_generation()
    path = keys_dir / IDENTITY_NAME
    told = json.loads(path.read_bytes())
    change(told)
    path.write_bytes(json.dumps(told).encode())
    before = path.read_bytes()
    again = make_store("file")
    for attempt in (again.load, again.create):
        with pytest.raises(KeysDamaged) as caught:
            attempt()
        assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert caught.value.exit_status == 78


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}" * 10])
@pytest.mark.parametrize("name", [IDENTITY_NAME, MARKER_NAME])
def test_a_key_file_of_garbage_is_refused(make_store: MakeStore, keys_dir: Path, name: str, content: bytes) -> None:
    make_store("file").create()
    (keys_dir / name).write_bytes(content)
    for attempt in (make_store("file").load, make_store("file").create):
        with pytest.raises(KeysDamaged, match=name):
            attempt()


def test_a_machine_key_of_the_wrong_size_or_another_machine_is_refused(make_store: MakeStore, keys_dir: Path) -> None:
    make_store("file").create()
    (keys_dir / MACHINE_KEY_NAME).write_bytes(bytes(31))
    with pytest.raises(KeysDamaged, match="31 bytes"):
        make_store("file").load()
    (keys_dir / MACHINE_KEY_NAME).write_bytes(bytes(32))
    with pytest.raises(KeysDamaged, match="do not belong together"):
        make_store("file").load()


def test_another_homes_key_file_is_refused(make_store: MakeStore, keys_dir: Path) -> None:
    make_store("file").create()
    told = json.loads((keys_dir / MARKER_NAME).read_bytes())
    told["device_pub"] = "12" * 32
    (keys_dir / MARKER_NAME).write_bytes(json.dumps(told).encode())
    with pytest.raises(KeysDamaged, match="another identity"):
        make_store("file").load()


def test_a_planted_link_and_a_loose_mode_are_refused(make_store: MakeStore, keys_dir: Path, tmp_path: Path) -> None:
    make_store("file").create()
    (keys_dir / IDENTITY_NAME).chmod(0o644)
    with pytest.raises(NotPrivate, match="chmod 600"):
        make_store("file").load()
    (keys_dir / IDENTITY_NAME).rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").chmod(0o600)
    (keys_dir / IDENTITY_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotPrivate, match="symbolic link"):
        make_store("file").load()


def test_an_explicit_keyring_that_is_not_there_is_refused_not_replaced(make_store: MakeStore, keys_dir: Path) -> None:
    store = make_store("keyring", {})
    with pytest.raises(KeysUnavailable, match="no session bus"):
        store.create()
    assert list(keys_dir.iterdir()) == []


def test_an_identity_shows_and_gives_away_nothing(make_store: MakeStore) -> None:
    import copy
    import pickle

    identity = make_store("file").create()
    assert identity.store_key.hex() not in repr(identity)
    assert repr(bytes(identity.store_key)) not in repr(identity)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(identity)


class _NoKeyring:
    name = "keyring"

    def read(self, store: bytes) -> bytes | None:
        raise AssertionError(store)

    def write(self, store: bytes, record: bytes) -> None:
        raise AssertionError(store, record)

    def probe(self, rng: object) -> None:
        raise AssertionError(rng)

    def close(self) -> None:
        pass
