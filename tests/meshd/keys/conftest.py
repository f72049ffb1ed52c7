"""Real session buses and real (or nearly real) keyrings for the key store's tests."""

import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshd.keys.argon2 import stretch
from meshd.keys.keyring_backend import KeyringBackend
from meshd.keys.store import Choice, KeyStore

SERVICE = Path(__file__).with_name("secret_service.py")
MakeStore = Callable[..., KeyStore]


def read_line(process: "subprocess.Popen[bytes]") -> bytes:
    """The line a program says it is ready with; it has ten seconds."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 10)[0], "the program did not get ready"
    return process.stdout.readline()


@pytest.fixture
def keyring(secret_service: Callable[[str], dict[str, str]]) -> Iterator[Callable[[dict[str, str]], KeyringBackend]]:
    """Makes backends that are closed at the end."""
    made: list[KeyringBackend] = []

    def make(environ: dict[str, str]) -> KeyringBackend:
        made.append(KeyringBackend(environ, os.geteuid(), "linux"))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def keys_dir(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def make_store(keys_dir: Path) -> Iterator[MakeStore]:
    """Makes stores over one directory, as successive starts of one daemon would."""
    made: list[KeyStore] = []

    def make(choice: Choice = "auto", environ: dict[str, str] | None = None, answer_s: float = 5.0) -> KeyStore:
        backend = KeyringBackend(environ or {}, os.geteuid(), "linux", answer_s)
        store = KeyStore(keys_dir, choice, backend, stretch, os.urandom)
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a login with a session bus of its own and nothing on it."""
    if shutil.which("dbus-daemon") is None:
        pytest.skip("dbus-daemon is not installed: the keyring cannot be tried")
    place = tmp_path / "bus"
    config = tmp_path / "bus.conf"
    # The stock session configuration would start whatever service files the machine has installed.
    config.write_text(
        f"<busconfig><type>session</type><listen>unix:path={place}</listen><auth>EXTERNAL</auth>"
        '<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>'
        '<allow own="*"/><allow user="*"/></policy></busconfig>'
    )
    daemon = subprocess.Popen(
        ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address=1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert read_line(daemon).startswith(b"unix:")
    yield {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={place}", "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    _stop(daemon)


@pytest.fixture
def secret_service(bus: dict[str, str]) -> Iterator[Callable[[str], dict[str, str]]]:
    """Puts a Secret Service on the bus: open, locked or forgetful."""
    running: list[subprocess.Popen[bytes]] = []

    def start(mode: str) -> dict[str, str]:
        for old in running:
            _stop(old)
        running.clear()
        process = subprocess.Popen([sys.executable, str(SERVICE), mode], stdout=subprocess.PIPE, env=bus)
        running.append(process)
        assert read_line(process) == b"ready\n"
        return bus

    yield start
    for process in running:
        _stop(process)


@pytest.fixture
def gnome_keyrings(bus: dict[str, str], tmp_path: Path) -> Iterator[Callable[[bytes | None], dict[str, str]]]:
    """Puts the real gnome-keyring-daemon on the bus in place of the one before: unlocked by a login password, or locked."""
    program = shutil.which("gnome-keyring-daemon")
    if program is None:
        pytest.skip("gnome-keyring-daemon is not installed: only the stand-in Secret Service is tried")
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    environ = {**os.environ, **bus, "XDG_RUNTIME_DIR": str(runtime)}
    running: list[subprocess.Popen[bytes]] = []

    def start(password: bytes | None) -> dict[str, str]:
        _end(running)
        unlock = [] if password is None else ["--unlock"]
        process = subprocess.Popen(
            [program, *unlock, "--components=secrets", "--foreground"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environ,
        )
        running.append(process)
        assert process.stdin is not None
        process.stdin.write(password or b"")
        process.stdin.close()
        _wait_for_name(environ)
        return bus

    yield start
    _end(running)


@pytest.fixture
def gnome_keyring(gnome_keyrings: Callable[[bytes | None], dict[str, str]]) -> dict[str, str]:
    """The real gnome-keyring-daemon, unlocked, on the bus."""
    return gnome_keyrings(b"login password")


def _end(running: "list[subprocess.Popen[bytes]]") -> None:
    while running:
        process = running.pop()
        process.terminate()
        process.wait(10)


def _wait_for_name(environ: dict[str, str]) -> None:
    script = (
        "from jeepney.bus_messages import message_bus, MatchRule\n"
        "from jeepney.io.blocking import open_dbus_connection, Proxy\n"
        "c = open_dbus_connection('SESSION')\n"
        "p = Proxy(message_bus, c)\n"
        "r = MatchRule(type='signal', interface=message_bus.interface, member='NameOwnerChanged')\n"
        "r.add_arg_condition(0, 'org.freedesktop.secrets')\n"
        "with c.filter(r) as q:\n"
        "    p.AddMatch(r)\n"
        "    if not p.NameHasOwner('org.freedesktop.secrets')[0]:\n"
        "        c.recv_until_filtered(q, timeout=10)\n"
    )
    subprocess.run([sys.executable, "-c", script], env=environ, check=True, timeout=20)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    assert process.stdout is not None
    process.stdout.close()
    process.wait(10)
