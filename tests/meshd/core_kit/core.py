"""One daemon in this process: the real parts, on a real database file, with virtual time and seeded randomness."""

import os
import socket
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import trio

from mesh_protocol.io.sqlite import InlineWorker
from mesh_protocol.op import Tier
from mesh_protocol.wire.codec import decode, encode
from mesh_protocol.wire.items import put_texts
from mesh_protocol.wire.rpc import RequestReceived
from meshd.app import App, open_database
from meshd.config import Config
from meshd.hardening import Hardening
from meshd.keys.argon2 import stretch
from meshd.keys.keyring_backend import KeyringBackend
from meshd.keys.store import KeyStore
from meshd.link.driver import Connect
from meshd.local.dispatch import Caller
from meshd.mesh import Mesh
from meshd.paths import prepare, resolve
from meshd.processes import ProcTable
from meshd.seams import Seams

START_MS = 1_800_000_000_000
PATIENCE = 60.0
"""Virtual seconds that anything may take before its test fails."""

T = TypeVar("T")
Answer = dict[str, Any]


def virtual_ms() -> int:
    """A wall clock that follows trio's, which a test makes jump."""
    return START_MS + int(trio.current_time() * 1000)


async def until(probe: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait until `probe` gives something true."""
    with trio.move_on_after(seconds):
        while not probe():
            await trio.sleep(0.01)
        return
    raise AssertionError(f"waited {seconds:g} s for {what}")


class Core:
    """The daemon of `name`. `network` opens its connections to brokers."""

    app: App

    def __init__(self, name: str, folder: Path, network: Connect, nursery: trio.Nursery) -> None:
        self.name = name
        self.network = network
        self.starts = 0
        self.ahead_ms = 0
        """How far this machine's clock is ahead of the others'."""
        self.failures: list[BaseException] = []
        """Exceptions that the daemon itself counts as bugs."""
        self._paths = resolve({"MESH_HOME": str(folder)}, "linux", os.geteuid())
        prepare(self._paths)
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    async def start(self) -> None:
        """Begin a life on what the last one left on the disk."""
        self.starts += 1
        seams = Seams(
            lambda: virtual_ms() + self.ahead_ms, _seeded(self.name, self.starts), _inline, lambda _: InlineWorker()
        )
        keystore = KeyStore(
            self._paths.keys, "file", KeyringBackend({}, os.geteuid(), "linux"), stretch, _seeded(self.name, "keys")
        )
        db = open_database(self._paths.database, seams)
        identity = keystore.create() if keystore.load() is None else keystore.bump_generation()
        self.app = App(
            seams=seams,
            paths=self._paths,
            config=Config(),
            version="0.1.0",
            hardening=Hardening(False, True, 0, 0o077, 1024, ()),
            keystore=keystore,
            processes=ProcTable(),
            started_ms=virtual_ms(),
        )
        self.app.build(db, identity)
        self.app.brokers.network = self.network
        self._note_failures()
        self._scope, self._ended = trio.CancelScope(), trio.Event()
        await self._nursery.start(self._run)

    def _note_failures(self) -> None:
        app, failed = self.app, self.app.failed

        def note(method: str, error: BaseException) -> str:
            self.failures.append(error)
            return failed(method, error)

        app.brokers.failed = note
        for driver in app.brokers._drivers.values():
            driver.failed = note

    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        path = str(self._paths.run / f"sock.{self.starts}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, self._scope:
            listener.setblocking(False)
            listener.bind(path)
            listener.listen()
            task_status.started()
            await self.app.run(listener)
        self.app.node.db.close()
        self.app.keystore.close()
        self._ended.set()

    async def crash(self) -> None:
        """End at once, without a goodbye. What is on the disk stays."""
        self._scope.cancel()
        await self._ended.wait()

    async def restart(self) -> None:
        await self.crash()
        await self.start()

    async def call(self, method: str, /, text: str = "", **params: Any) -> Answer:
        """Call an operation as the person. Raises `MeshError`."""
        caller = Caller(Tier.USER, True, None, os.getpid(), "")
        request = RequestReceived(1, method, params, text.encode())
        with trio.fail_after(PATIENCE * 2):
            reply = await self.app.dispatch.call(self.app, caller, request, newer=False)
        result: Any = decode(encode(reply.result))  # as it would travel: what does not fit a header fails here
        operation = self.app.dispatch.operations[method]
        if operation.texts:
            put_texts(result, operation.texts, reply.body)
        answer: Answer = result
        return answer

    def mesh(self, slug: str = "team") -> Mesh:
        return self.app.node.find_mesh(slug)

    async def send(self, to: str, text: str, mesh: str = "team", wait: str = "stored") -> str:
        """Send, and wait until it got as far as `wait`; the id."""
        answer = await self.call("message.send", text, to=to, mesh=mesh, wait=wait, timeout=PATIENCE)
        assert answer["reached"], f"it got no further than {answer['state']}"
        return str(answer["id"])

    async def state_of(self, msg_id: str) -> str:
        return str((await self.call("message.status", id=msg_id))["state"])

    async def texts(self, mesh: str = "team") -> list[str]:
        """All messages of the person's inbox, read or not."""
        return [row["message"] for row in (await self.call("inbox.read", mesh=mesh, all=True, limit=100))["messages"]]

    async def finding(self, name: str) -> Answer:
        """One check of doctor."""
        checks = (await self.call("daemon.doctor"))["checks"]
        found: Answer = next(check for check in checks if check["name"] == name)
        return found

    async def link_state(self, mesh: str = "team") -> Answer:
        meshes = (await self.call("daemon.status"))["meshes"]
        found: Answer = next(row for row in meshes if row["mesh"] == mesh)
        return found

    async def until_online(self, mesh: str = "team") -> None:
        await until(lambda: self.mesh(mesh).link.value == "online", f"{self.name} online in {mesh}")


async def _inline(work: Callable[[], T]) -> T:
    return work()


def _seeded(*words: object) -> Callable[[int], bytes]:
    count = 0

    def rng(size: int) -> bytes:
        nonlocal count
        found = b""
        while len(found) < size:
            count += 1
            found += sha256(repr((words, count)).encode()).digest()
        return found[:size]

    return rng
