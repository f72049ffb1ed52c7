"""One person's machine: a home on the disk, processes, agent sessions, and a daemon that lives and dies."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import apsw
import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, memory_stream_pair

from mesh_protocol.crashpoints import Reached, unnoticed
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.io.sqlite import Database, StorageFailed, Worker
from mesh_protocol.io.stream import StreamLink
from meshd.app import App
from meshd.claude.inbox import Credentials, Inboxes
from meshd.config import Config
from meshd.hardening import Hardening
from meshd.keys.store import KeyStore
from meshd.local.creds import PeerCreds
from meshd.local.server import Client, serve_client
from meshd.mesh import Mesh
from meshd.paths import Paths, prepare, resolve
from meshd.seams import Seams
from meshd.serving import take_identity
from meshd.store.schema import APPLICATION_ID, MIGRATIONS
from world.claude import Claude
from world.disk import Disk
from world.power import PowerDisk
from world.processes import Processes
from world.seeds import SeededRng, WallClock
from world.talk import Answer, Talk

if TYPE_CHECKING:
    from world.world import World

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class WatchedApp(App):
    """The daemon, with its bugs told to the world."""

    bugs: "list[tuple[str, BaseException]] | None" = None

    dead: bool = False
    """Its process was killed: what its tasks still do on their way out is nobody's business."""

    def failed(self, method: str, error: BaseException) -> str:
        if self.dead or _is_storage(error):  # the latter ends the daemon, and is said as such
            return "dead"
        if self.bugs is not None:
            self.bugs.append((method, error))
        return App.failed(self, method, error)


class NoKeyring:
    """A machine without a login keyring."""

    name = "keyring"

    def probe(self, rng: object) -> None:
        raise AssertionError("nobody asks for the keyring here")

    read = write = probe

    def close(self) -> None:
        return


async def run_inline(work: Callable[[], T]) -> T:
    """Where blocking work is done in a world: here and now."""
    await trio.lowlevel.checkpoint()
    return work()


class Machine:
    """`name` is also the person's. The daemon starts with `start`; `crash` ends it as a kill would, `stop` in good order."""

    def __init__(self, world: "World", name: str, config: Config) -> None:
        self.world = world
        self.name = name
        self.folder = world.folder / name
        self.folder.mkdir(mode=0o700)
        self.clock = WallClock()
        self.rng = SeededRng(world.seed, name)
        self.processes = Processes()
        self.sessions: list[Claude] = []
        self.disk = Disk()
        self.worker: Callable[[str], Worker] = lambda name: self.disk
        self.power: PowerDisk | None = None
        """The disk of its database, for stories in which it fails or the power does."""
        self.reached: Reached = unnoticed
        self.stretch: Callable[[bytes | bytearray, bytes], bytes] = _no_passphrase
        self.config = config
        self.paths: Paths = resolve({"MESH_HOME": str(self.folder / "home")}, "linux", os.geteuid())
        prepare(self.paths)
        self.app: WatchedApp
        self.killed = False
        self.ended = trio.Event()
        """Set when its daemon has ended."""
        self._life: trio.Nursery | None = None
        self._talks: dict[int, Talk] = {}
        self._sockets: list[trio.StapledStream[MemorySendStream, MemoryReceiveStream]] = []

    # The daemon's life.

    @property
    def running(self) -> bool:
        return self._life is not None

    async def start(self, *, locked: bool = False) -> "Machine":
        await self.world.nursery.start(partial(self._live, locked))
        return self

    async def stop(self) -> None:
        """SIGTERM."""
        self.app.stop_soon()
        await self.ended.wait()

    async def crash(self) -> None:
        """SIGKILL: nothing is said and nothing is finished. What was committed stays."""
        assert self._life is not None
        life, self._life = self._life, None
        life.cancel_scope.cancel()
        await self.ended.wait()

    def kill(self) -> None:
        """SIGKILL, here and now, also from within the daemon: nothing that it does after this reaches its disk (`power`
        is needed for that), the network or a client. It has ended when `ended` is set."""
        assert self.power is not None
        self.killed = True
        if self.power.on:
            self.power.kill()
        for cable in self.world.network.cables_of(self.name):
            cable.sever()
        for stream in self._sockets:
            stream.send_stream.close()
            stream.receive_stream.close()
        life, self._life = self._life, None
        if life is not None:
            self.app.dead = True
            life.cancel_scope.cancel()

    async def restart(self) -> None:
        await self.crash()
        await self.start()

    async def _live(self, locked: bool, task_status: "trio.TaskStatus[None]") -> None:
        self.ended, self.killed = trio.Event(), False
        seams = Seams(
            clock=self.clock, rng=self.rng, threads=run_inline, worker=self.worker, reached=lambda p: self.reached(p)
        )
        keystore = KeyStore(self.paths.keys, "file", NoKeyring(), self.stretch, self.rng)  # type: ignore[arg-type]
        db = self._database(seams)
        listener = self._listener()
        try:
            app = self.app = WatchedApp(
                seams=seams,
                paths=self.paths,
                config=self.config,
                version="1.2.3",
                hardening=Hardening(False, True, 0, 0o077, 1024, ()),
                keystore=keystore,
                processes=self.processes,
                started_ms=self.clock(),
                pid=1,
                stretch=lambda passphrase, salt: self.stretch(passphrase, salt),
                bugs=self.world.bugs,
            )
            app.take_identity = partial(take_identity, self.paths, keystore, db)
            app.build(db, None if locked else await take_identity(self.paths, keystore, db, keystore.load()))
            if not locked:
                self.connect_surroundings()
            async with trio.open_nursery() as life:
                self._life = life
                if self.killed:  # while it started
                    app.dead = True
                    life.cancel_scope.cancel()
                life.start_soon(self._run, app, listener)
                task_status.started()
        except Exception:
            if not self.killed:  # what a dead process met on its way out
                raise
        finally:
            self._life = None
            self._talks.clear()
            self._sockets.clear()
            keystore.close()
            listener.close()
            try:
                db.close()
            except apsw.Error:  # a disk that fails, or is off
                if self.power is None:
                    raise
            self.ended.set()

    def _database(self, seams: Seams) -> Database:
        """As `meshd.app.open_database`, on this machine's disk."""
        return Database(
            self.paths.database,
            application_id=APPLICATION_ID,
            migrations=MIGRATIONS,
            worker=seams.worker("mesh.db"),
            vfs=self.power.name if self.power is not None else None,
            reached=seams.reached,
        )

    def connect_surroundings(self) -> None:
        """Give the daemon this world's network and sockets."""
        self.app.brokers.network = partial(self.world.network.connect, self.name)
        inboxes = Inboxes(os.geteuid(), self.processes, credentials=_peer_of)
        self.app.ladder.inboxes = self.app.ladder.replies.inboxes = inboxes

    async def _run(self, app: App, listener: socket.socket) -> None:
        await app.run(listener)
        life, self._life = self._life, None
        assert life is not None
        life.cancel_scope.cancel()

    def _listener(self) -> socket.socket:
        path = self.paths.run / "sock"
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        return listener

    # Asking it.

    async def talk(self, pid: int) -> Talk:
        """A new connection of the process `pid`."""
        if self._life is None:
            raise LinkClosed(f"the daemon of {self.name} does not run")
        near, far = memory_stream_pair()
        self._sockets.append(far)
        client = Client(self.app, PeerCreds(pid, os.geteuid(), os.getegid(), None))
        self._life.start_soon(serve_client, self.app, client, StreamLink(far))
        talk = Talk(self, pid, near)
        self._life.start_soon(talk.run)
        return talk

    async def talk_of(self, pid: int) -> Talk:
        """The connection that a process keeps."""
        talk = self._talks.get(pid)
        if talk is None or talk.connection.closed is not None:
            talk = self._talks[pid] = await self.talk(pid)
        return talk

    async def call(self, method: str, /, **params: Any) -> Answer:
        """A call by the person, from a terminal."""
        return await (await self.talk_of(self.processes.shell)).call(method, **params)

    async def refusal(self, method: str, /, **params: Any) -> str:
        """The code with which a call by the person is refused."""
        return (await (await self.talk_of(self.processes.shell)).refusal(method, **params)).code

    async def send(self, to: str | list[str], message: str, **params: Any) -> Answer:
        """`mesh send` by the person."""
        return await self.call("message.send", to=to, message=message, **params)

    async def read(self, **params: Any) -> list[str]:
        """`mesh inbox` by the person: the texts, acknowledged as the command does."""
        rows = (await self.call("inbox.read", **params))["messages"]
        if rows:
            await self.call("inbox.ack", ids=[row["id"] for row in rows])
        return [row["message"] for row in rows]

    async def progress(self, sent: Answer) -> Answer:
        """How far a message with one recipient got."""
        (row,) = (await self.call("message.status", id=sent["id"]))["recipients"]
        return dict(row)

    async def until_state(self, sent: Answer, state: str, seconds: float = 60.0) -> Answer:
        """Wait until a message with one recipient is in `state`."""

        async def there() -> Answer | None:
            row = await self.progress(sent)
            return row if row["state"] == state else None

        return await self.world.until(there, seconds, f"{self.name}'s message is {state}")

    async def until_knows(self, name: str, seconds: float = 60.0) -> Answer:
        """Wait until `name` is among the peers that this machine lists as online; its row."""

        async def row() -> Answer | None:
            peers = (await self.call("peer.list"))["peers"]
            return next((peer for peer in peers if peer["to"] == name and peer["online"]), None)

        return await self.world.until(row, seconds, f"{self.name} knows {name}")

    # Looking at it.

    def mesh(self, slug: str = "") -> Mesh:
        return self.app.node.find_mesh(slug)

    async def until_online(self, seconds: float = 60.0) -> None:
        """Wait until every mesh is online."""
        await self.world.until(
            lambda: self.running and all(mesh.link.value == "online" for mesh in self.app.node.meshes.values()),
            seconds,
            f"{self.name} is online",
        )

    async def claude(self, folder: str = "web", **settings: Any) -> Claude:
        """A new agent session in a folder of that name, known to the daemon."""
        session = Claude(self, folder, **settings)
        self.sessions.append(session)
        await session.open()
        return session


def _is_storage(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_storage(each) for each in error.exceptions)
    return isinstance(error, StorageFailed)


def _no_passphrase(passphrase: object, salt: bytes) -> bytes:
    raise AssertionError("no passphrase protects these keys")


def _peer_of(sock: trio.socket.SocketType) -> Credentials:
    """Whose socket is at the other end: in a world one process stands for all, and the socket's name says for which."""
    return Credentials(int(Path(str(sock.getpeername())).stem), os.geteuid())
