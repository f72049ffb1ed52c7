"""The identity in the platform's keyring: Secret Service, macOS Keychain, Windows Credential Locker.

The library runs in a child process (keyring_child.py): it costs the daemon no import and no memory, and a keyring that
waits for somebody to unlock it is given up after five seconds. What it stores is the sealed record, so that neither
the keyring nor the files alone are the key.
"""

import json
import os
import select
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from meshd.keys.bus import reachable_bus
from meshd.keys.record import RECORD_LIMIT, StoreId
from meshd.keys.states import BackendName, KeysLocked, KeysUnavailable

if TYPE_CHECKING:
    import subprocess  # 8 ms at run time, so only where there is a keyring to ask

SERVICE = "meshd"
PROBE_SERVICE = "meshd-probe"
ANSWER_S = 5.0
_ANSWER_LIMIT = 4 * RECORD_LIMIT
_CHILD = Path(__file__).with_name("keyring_child.py")
_PASSED_ON = ("HOME", "LANG", "PATH", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "USER", "LOGNAME", "SYSTEMROOT")


class KeyringBackend:
    """The sealed record as one keyring item. Every call is bounded and may raise KeysLocked or KeysUnavailable."""

    name: BackendName = "keyring"

    def __init__(self, environ: Mapping[str, str], uid: int, platform: str, answer_s: float = ANSWER_S) -> None:
        self._environ = environ
        self._uid = uid
        self._platform = platform
        self._answer_s = answer_s
        self._child: subprocess.Popen[bytes] | None = None

    def read(self, store: StoreId) -> bytes | None:
        """The record, or None when the keyring is open and has none."""
        value = self._ask("get", SERVICE, store.hex())
        return None if value is None else value.encode("utf-8", "replace")

    def write(self, store: StoreId, record: bytes) -> None:
        """Stores and reads back: some services answer a write they then lose."""
        text = record.decode("ascii")
        self._ask("set", SERVICE, store.hex(), text)
        if self._ask("get", SERVICE, store.hex()) != text:
            raise KeysUnavailable("the keyring did not keep what was written to it; set MESH_KEYS=file")

    def probe(self, rng: Callable[[int], bytes]) -> None:
        """Proves the keyring by writing, reading and deleting. Raises KeysLocked or KeysUnavailable."""
        name, value = rng(8).hex(), rng(8).hex()
        self._ask("set", PROBE_SERVICE, name, value)
        kept = self._ask("get", PROBE_SERVICE, name)
        self._ask("delete", PROBE_SERVICE, name)
        if kept != value:
            raise KeysUnavailable("the keyring did not keep what was written to it")

    def close(self) -> None:
        """Ends the child. The next call starts another. Idempotent."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
        child.wait()

    def _ask(self, op: str, service: str, name: str, value: str | None = None) -> str | None:
        request = {"op": op, "service": service, "name": name, "value": value}
        line = self._exchange(json.dumps(request).encode() + b"\n")
        try:
            told: object = json.loads(line)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            self.close()
            raise KeysUnavailable("the keyring could not be asked; set MESH_KEYS=file for a new home")
        error = told.get("error")
        if error == "locked":
            raise KeysLocked("the keyring is locked: unlock it in your desktop session, then run: mesh unlock")
        if error is not None:
            self.close()
            raise KeysUnavailable(f"no usable keyring here ({told.get('detail')}): log in to the desktop session")
        found = told.get("value")
        return found if isinstance(found, str) else None

    def _exchange(self, request: bytes) -> bytes:
        """One line out, one line back, each read waited for at most `answer_s`; a child that is late is killed."""
        child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        answer = bytearray()
        try:
            child.stdin.write(request)
            child.stdin.flush()
            poll = select.poll()
            poll.register(child.stdout.fileno(), select.POLLIN | select.POLLHUP)
            while not answer.endswith(b"\n") and len(answer) < _ANSWER_LIMIT:
                # The child writes its line in one piece, so that one wait is the rule.
                if not poll.poll(self._answer_s * 1000):
                    self.close()
                    raise KeysLocked(
                        f"the keyring did not answer within {self._answer_s:g} s, as one that waits to be unlocked:"
                        " unlock it in your desktop session, then run: mesh unlock"
                    )
                chunk = os.read(child.stdout.fileno(), _ANSWER_LIMIT)
                if not chunk:
                    break
                answer += chunk
        except BrokenPipeError:
            pass  # the child is gone: the empty answer says so
        return bytes(answer)

    def _start(self) -> "subprocess.Popen[bytes]":
        environ = {name: self._environ[name] for name in _PASSED_ON if name in self._environ}
        if self._platform == "linux":
            bus = reachable_bus(self._environ, self._uid)
            if bus is None:
                raise KeysUnavailable("no session bus here, so no keyring: log in to the desktop session")
            environ["DBUS_SESSION_BUS_ADDRESS"] = bus
        import subprocess

        self._child = subprocess.Popen(
            [sys.executable, "-I", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environ,
            cwd="/",
        )
        return self._child
