"""The identity in a Secret Service: reached, locked, forgetful, gone; and crashes between the keyring and the files."""

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh_protocol.keys import SigningKey
from meshd.keys import store as store_module
from meshd.keys.bus import reachable_bus
from meshd.keys.file_backend import IDENTITY_NAME, MACHINE_KEY_NAME, MARKER_NAME
from meshd.keys.keyring_backend import KeyringBackend
from meshd.keys.states import KeysDamaged, KeysLocked, KeysNotReady, KeysRefused, KeysUnavailable
from meshd.keys.store import KeyStore

MakeStore = Callable[..., KeyStore]
Serve = Callable[[str], dict[str, str]]
MakeKeyring = Callable[[dict[str, str]], KeyringBackend]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a Secret Service is Linux's")


def test_auto_puts_the_identity_into_an_open_keyring(
    make_store: MakeStore, secret_service: Serve, keys_dir: Path
) -> None:
    environ = secret_service("open")
    store = make_store("auto", environ)
    made = store.create()
    assert store.report().sentence == "keys: login keyring"
    assert store.report().protected
    assert not (keys_dir / IDENTITY_NAME).exists()
    again = make_store("auto", environ)
    found = again.load()
    assert found is not None
    assert found.device_id == made.device_id
    assert again.bump_generation().generation == 2
    third = make_store("auto", environ).load()
    assert third is not None
    assert (third.generation, third.device_id) == (2, made.device_id)


def test_the_real_gnome_keyring_keeps_the_identity(make_store: MakeStore, gnome_keyring: dict[str, str]) -> None:
    made = make_store("keyring", gnome_keyring).create()
    again = make_store("keyring", gnome_keyring)
    found = again.load()
    assert found is not None
    assert found.device_id == made.device_id
    assert again.bump_generation().generation == 2


def test_the_real_gnome_keyring_locked_is_never_a_second_identity(
    make_store: MakeStore, gnome_keyrings: Callable[[bytes | None], dict[str, str]], keys_dir: Path
) -> None:
    made = make_store("auto", gnome_keyrings(b"login password")).create()
    before = {path.name: path.read_bytes() for path in keys_dir.iterdir()}
    environ = gnome_keyrings(None)
    for choice in ("auto", "file", "keyring"):
        store = make_store(choice, environ)
        for attempt in (store.load, store.create):
            with pytest.raises(KeysNotReady):
                attempt()
        assert store.report().condition in ("locked", "unavailable")
        store.close()
    assert {path.name: path.read_bytes() for path in keys_dir.iterdir()} == before
    found = make_store("auto", gnome_keyrings(b"login password")).load()
    assert found is not None
    assert found.device_id == made.device_id


def test_neither_the_keyring_item_nor_the_files_alone_are_the_key(
    make_store: MakeStore, secret_service: Serve, keys_dir: Path, keyring: MakeKeyring
) -> None:
    environ = secret_service("open")
    store = make_store("keyring", environ)
    made = store.create()
    marker = json.loads((keys_dir / MARKER_NAME).read_bytes())
    item = keyring(environ).read(store_module.StoreId(bytes.fromhex(marker["store"])))
    assert item is not None
    told = json.loads(item)
    assert set(told) == {"v", "store", "device_pub", "generation", "protection", "salt", "wrapped"}
    assert made.store_key.hex() not in item.decode()
    (keys_dir / MACHINE_KEY_NAME).write_bytes(bytes(32))
    with pytest.raises(KeysDamaged, match="do not belong together"):
        make_store("keyring", environ).load()


def test_a_locked_keyring_never_makes_a_second_identity(
    make_store: MakeStore, secret_service: Serve, keys_dir: Path
) -> None:
    made = make_store("auto", secret_service("open")).create()
    before = {path.name: path.read_bytes() for path in keys_dir.iterdir()}
    environ = secret_service("locked")
    for choice in ("auto", "file", "keyring"):
        store = make_store(choice, environ, answer_s=0.6)
        started = time.monotonic()
        for attempt in (store.load, store.create):
            with pytest.raises(KeysLocked, match="unlock it in your desktop session"):
                attempt()
        assert time.monotonic() - started < 5
        assert store.report().condition == "locked"
    assert {path.name: path.read_bytes() for path in keys_dir.iterdir()} == before
    assert made.device_id.hex() in before[MARKER_NAME].decode()


def test_a_login_without_a_bus_never_makes_a_second_identity(
    make_store: MakeStore, secret_service: Serve, keys_dir: Path
) -> None:
    environ = secret_service("open")
    made = make_store("auto", environ).create()
    for choice in ("auto", "file"):
        store = make_store(choice, {})
        for attempt in (store.load, store.create):
            with pytest.raises(KeysUnavailable, match="no session bus"):
                attempt()
        assert store.report().condition == "unavailable"
    assert not (keys_dir / IDENTITY_NAME).exists()
    found = make_store("auto", environ).load()
    assert found is not None
    assert found.device_id == made.device_id


def test_a_bus_without_a_secret_service_falls_to_the_file_and_says_so(
    make_store: MakeStore, bus: dict[str, str]
) -> None:
    store = make_store("auto", bus)
    store.create()
    assert store.report().backend == "file"
    assert "no usable keyring" in store.report().notes[0]


def test_a_locked_keyring_at_the_first_start_falls_to_the_file_within_the_limit(
    make_store: MakeStore, secret_service: Serve
) -> None:
    store = make_store("auto", secret_service("locked"), answer_s=0.6)
    started = time.monotonic()
    store.create()
    assert time.monotonic() - started < 4
    assert store.report().backend == "file"


def test_a_keyring_that_loses_what_it_took_is_not_used(
    make_store: MakeStore, secret_service: Serve, keyring: MakeKeyring
) -> None:
    environ = secret_service("forgetful")
    store = make_store("auto", environ)
    store.create()
    assert store.report().backend == "file"
    with pytest.raises(KeysUnavailable, match="did not keep"):
        keyring(environ).probe(os.urandom)
    with pytest.raises(KeysUnavailable, match="did not keep"):
        keyring(environ).write(store_module.StoreId(bytes(16)), b"record")


def test_an_item_that_vanished_is_damage_and_never_a_new_identity(make_store: MakeStore, secret_service: Serve) -> None:
    make_store("keyring", secret_service("open")).create()
    environ = secret_service("open")  # a fresh, empty one
    for attempt in (make_store("keyring", environ).load, make_store("keyring", environ).create):
        with pytest.raises(KeysDamaged, match="keyring item of meshd is gone"):
            attempt()


def test_a_tampered_item_is_damage(
    make_store: MakeStore, secret_service: Serve, keys_dir: Path, keyring: MakeKeyring
) -> None:
    environ = secret_service("open")
    make_store("keyring", environ).create()
    store_id = store_module.StoreId(bytes.fromhex(json.loads((keys_dir / MARKER_NAME).read_bytes())["store"]))
    backend = keyring(environ)
    told = json.loads(backend.read(store_id) or b"")
    told["generation"] = 7
    backend.write(store_id, json.dumps(told).encode())
    with pytest.raises(KeysDamaged):
        make_store("keyring", environ).load()


@pytest.mark.parametrize("written", [False, True], ids=["before the item", "after the item"])
def test_a_crash_around_the_keyring_write_ends_in_one_identity(
    make_store: MakeStore, secret_service: Serve, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    environ = secret_service("open")
    real = KeyringBackend.write

    def write(backend: KeyringBackend, store: store_module.StoreId, record: bytes) -> None:
        if written:
            real(backend, store, record)
        raise KeyboardInterrupt

    monkeypatch.setattr(KeyringBackend, "write", write)
    with pytest.raises(KeyboardInterrupt):
        make_store("auto", environ).create()
    monkeypatch.setattr(KeyringBackend, "write", real)

    # Meanwhile nothing else may come to be, whatever the login looks like.
    for attempt in (make_store("auto", {}).load, make_store("file", {}).create):
        with pytest.raises(KeysUnavailable):
            attempt()

    store = make_store("auto", environ)
    found = store.load()
    assert (found is not None) is written
    identity = found or store.create()
    again = make_store("auto", environ).load()
    assert again is not None
    assert again.device_id == identity.device_id
    with pytest.raises(KeysRefused):
        make_store("auto", environ).create()


def test_another_device_takes_the_place_in_the_keyring(make_store: MakeStore, secret_service: Serve) -> None:
    environ = secret_service("open")
    store = make_store("keyring", environ)
    made = store.create()
    other = SigningKey.from_seed(bytes(32)).public
    assert store.replace_device(bytes(32), 99).device_id == other
    found = make_store("keyring", environ).load()
    assert found is not None
    assert (found.device_id, found.generation, found.store_key) == (other, 99, made.store_key)


def test_keys_in_the_keyring_take_no_passphrase(make_store: MakeStore, secret_service: Serve) -> None:
    store = make_store("keyring", secret_service("open"))
    store.create()
    with pytest.raises(KeysRefused, match="login protects"):
        store.protect(b"correct horse battery")


@pytest.mark.parametrize("evil", ["keyring.backends.null.Keyring", "keyrings.alt.file.PlaintextKeyring"])
def test_neither_a_variable_nor_a_file_chooses_another_keyring(
    make_store: MakeStore, secret_service: Serve, tmp_path: Path, evil: str
) -> None:
    environ = dict(secret_service("open"))
    settings = tmp_path / ".config" / "python_keyring"
    settings.mkdir(parents=True)
    (settings / "keyringrc.cfg").write_text(f"[backend]\ndefault-keyring={evil}\n")
    environ["PYTHON_KEYRING_BACKEND"] = evil
    environ["XDG_CONFIG_HOME"] = str(tmp_path / ".config")
    made = make_store("keyring", environ).create()
    assert made.generation == 1
    # The service begins anew, empty: had another keyring held the item, it would still be found.
    secret_service("open")
    with pytest.raises(KeysDamaged, match="gone"):
        make_store("keyring", environ).load()


def test_a_module_named_in_the_librarys_settings_is_not_even_imported(
    make_store: MakeStore, secret_service: Serve, tmp_path: Path
) -> None:
    """keyringrc.cfg may name any module in any folder, and keyring.get_keyring() would import it."""
    environ = secret_service("open")
    settings = Path(environ["HOME"]) / ".config" / "python_keyring"
    settings.mkdir(parents=True)
    (settings / "keyringrc.cfg").write_text(f"[backend]\ndefault-keyring=evil.Keyring\nkeyring-path={tmp_path}\n")
    trace = tmp_path / "imported"
    (tmp_path / "evil.py").write_text(
        f"open({str(trace)!r}, 'w').close()\n"
        "from keyring.backends.null import Keyring as Null\n"
        "class Keyring(Null):\n    pass\n"
    )
    make_store("keyring", environ).create()
    assert not trace.exists()


def test_the_bus_is_found_by_connecting(bus: dict[str, str], tmp_path: Path) -> None:
    address = bus["DBUS_SESSION_BUS_ADDRESS"]
    uid = os.geteuid()
    assert reachable_bus(bus, uid) == address
    assert reachable_bus({"DBUS_SESSION_BUS_ADDRESS": f"unix:path=/gone;{address}"}, uid) == address
    assert reachable_bus({"DBUS_SESSION_BUS_ADDRESS": address.replace("bus", "%62us")}, uid) is not None
    assert reachable_bus({"XDG_RUNTIME_DIR": str(tmp_path)}, uid) == address
    for dead in ("unix:path=/gone", "tcp:host=localhost,port=1", "unix:", "nonsense", "unix:path=%00", ""):
        assert reachable_bus({"DBUS_SESSION_BUS_ADDRESS": dead}, 4_000_000_000) is None


def test_another_users_bus_is_not_ours(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else: the owner check of the bus is not tried")
    place = tmp_path / "bus"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place))
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:  # no exec: the other user need not be able to run this interpreter
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            listener.listen()  # the kernel shows a connecting peer who listened, not who bound
            os.write(tell, b"ready")
            signal.pause()
        finally:
            os._exit(1)
    try:
        assert select.select([told], [], [], 10)[0]
        environ = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={place}"}
        assert reachable_bus(environ, 65534) == f"unix:path={place}"
        assert reachable_bus(environ, 4_000_000_000) is None
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        listener.close()
        os.close(told)
        os.close(tell)


def test_the_child_ends_with_its_backend(secret_service: Serve, keyring: MakeKeyring) -> None:
    backend = keyring(secret_service("open"))
    backend.probe(os.urandom)
    assert backend._child is not None
    pid = backend._child.pid
    backend.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
