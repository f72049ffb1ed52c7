"""The daemon's socket: credentials before a byte is read, a bounded number of clients, one task a connection."""

import os
import socket
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import trio

from mesh_protocol.io.connection import Connection, Reply
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.io.stream import StreamLink
from mesh_protocol.op import Tier
from mesh_protocol.ops.claude import MCP_LINE
from mesh_protocol.wire.rpc import PROTOCOL, NotificationReceived, RequestReceived
from meshd.guarding import Gate
from meshd.local import tiers
from meshd.local.creds import PeerCreds, PeerRefused, admit
from meshd.local.dispatch import Caller
from meshd.log import get_logger

if TYPE_CHECKING:
    from meshd.app import App

log = get_logger("local")

STALL_S: Final = 10.0
"""In so long an unfinished frame must grow by 1 KiB a second (limits: partial frame progress)."""
EVENT: Final = "event"
MAX_LINES: Final = 256
"""Lines of MCP that may wait to be read."""
_TIERS: Final = {tiers.Tier.USER: Tier.USER, tiers.Tier.AGENT: Tier.AGENT, tiers.Tier.STATUS: Tier.STATUS}


@dataclass(slots=True, eq=False)
class Client:
    """One connection. Its caller is found at the first request and again when a session may have registered since."""

    app: "App"
    creds: PeerCreds
    connection: Connection = field(init=False)
    nursery: trio.Nursery = field(init=False)
    newer: bool = False
    asked: bool = False
    gate: Gate = field(default_factory=Gate)
    env: Mapping[str, str] = field(default_factory=dict)
    lines: trio.MemorySendChannel[bytes] | None = None
    incoming: trio.MemoryReceiveChannel[bytes] | None = None
    """The other end of `lines`, until the MCP server takes it."""

    def serve(self, request: RequestReceived) -> Awaitable[Reply]:
        self.asked = True
        # Here, in the order of arrival: what is pipelined behind a request comes before its handler runs.
        if request.method == "hello":
            self._note_hello(request)
        if request.method == "mcp.open" and self.lines is None:
            self.lines, self.incoming = trio.open_memory_channel[bytes](MAX_LINES)
        return self._serve(request)

    async def _serve(self, request: RequestReceived) -> Reply:
        match request.method:
            case "hello":
                return await self.app.dispatch.call(self.app, self.caller(), request, newer=True)
            case "mcp.open":
                return await self.app.open_mcp(self, request)
            case "events.subscribe":
                return await self._subscribe(request)
            case _:
                return await self.app.dispatch.call(self.app, self.caller(), request, newer=self.newer)

    def notified(self, event: NotificationReceived) -> None:
        if event.method == MCP_LINE and self.lines is not None:
            try:
                self.lines.send_nowait(event.body)
            except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
                self.nursery.start_soon(self.connection.aclose, "too many lines at once")

    def _note_hello(self, request: RequestReceived) -> None:
        proto = request.params.get("proto")
        if isinstance(proto, list) and len(proto) == 2 and isinstance(proto[1], int):
            self.newer = proto[1] > PROTOCOL[1]
        env = request.params.get("env")
        if isinstance(env, dict):
            self.env = {key: value for key, value in env.items() if isinstance(value, str)}

    async def _subscribe(self, request: RequestReceived) -> Reply:
        reply = await self.app.dispatch.call(self.app, self.caller(), request, newer=self.newer)
        kinds = request.params.get("kinds")
        wanted = frozenset(str(kind) for kind in kinds) if isinstance(kinds, list) else frozenset()
        answered = trio.Event()
        await self.nursery.start(self._events, wanted, answered)  # from here on nothing is missed
        return reply._replace(sent=answered.set)

    async def _events(
        self, kinds: frozenset[str], answered: trio.Event, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with self.app.node.events.subscribe(kinds) as events:
            task_status.started()
            await answered.wait()
            while True:
                for number, kind, data in await events.take():
                    await self.connection.notify(EVENT, {"n": number, "kind": kind, "data": data})

    def caller(self) -> Caller:
        """Judge the peer's process now: a session may have registered, or ended, since the last call."""
        app = self.app
        known = [
            tiers.RegisteredSession(
                pid=session.claude.pid,
                start=session.start,
                name=session.name,
                ids=frozenset(session.ids),
                alive=session.alive,
            )
            for session in ([] if app.locked else app.sessions.all())
        ]
        judged = tiers.decide(self.creds.pid, known, app.processes)
        session = None
        if judged.session is not None:
            session = app.sessions.by_pid(judged.session.pid, judged.session.start)
        return Caller(_TIERS[judged.tier], judged.guarded, session, self.creds.pid, judged.reason, self.gate)


class Server:
    """Accepts on the listening socket until cancelled."""

    def __init__(self, app: "App", listener: socket.socket, max_clients: int) -> None:
        self._app = app
        self._listener = trio.socket.from_stdlib_socket(listener)
        self._max_clients = max_clients
        self.clients = 0

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    accepted, _ = await self._listener.accept()
                except OSError as error:  # out of descriptors: wait for one to come free, without spinning
                    log.warning("cannot accept", error=error)
                    await trio.sleep(0.5)
                    continue
                self._admit(nursery, accepted)

    def _admit(self, nursery: trio.Nursery, accepted: trio.socket.SocketType) -> None:
        try:
            with socket.socket(fileno=os.dup(accepted.fileno())) as raw:
                creds = admit(raw, os.geteuid())
        except (PeerRefused, OSError) as error:  # another user's, or the last descriptor was this one's
            log.warning("a connection was refused", error=error)
            accepted.close()
            return
        if self.clients >= self._max_clients:
            log.warning("too many clients", clients=self.clients)
            creds.close()
            accepted.close()
            return
        nursery.start_soon(self._serve, accepted, creds)

    async def _serve(self, accepted: trio.socket.SocketType, creds: PeerCreds) -> None:
        self.clients += 1
        try:
            await serve_client(self._app, Client(self._app, creds), StreamLink(trio.SocketStream(accepted)))
        finally:
            self.clients -= 1
            creds.close()


async def serve_client(app: "App", client: Client, link: StreamLink) -> None:
    """Serve one connection to its end. Nothing that goes wrong in it reaches another."""
    connection = client.connection = Connection(link, serve=client.serve, notified=client.notified, failed=app.failed)
    try:
        async with trio.open_nursery() as nursery:
            client.nursery = nursery
            nursery.start_soon(_close_stalled, client, connection)
            ended = await connection.run()
            nursery.cancel_scope.cancel()
        if ended.startswith("protocol error"):
            log.warning("a client broke the protocol", pid=client.creds.pid)
    except* LinkClosed:
        pass
    except* Exception as group:  # noqa: BLE001 - one bad connection must not end its neighbours
        app.failed("connection", group)


async def _close_stalled(client: Client, connection: Connection) -> None:
    """End a connection that asks nothing, or that never finishes a frame; an idle one that is well-behaved stays."""
    await trio.sleep(client.app.config.idle.first_call_s)
    if not client.asked and not connection.unfinished:
        await connection.aclose("asked nothing")
        return
    while True:
        frames, before = connection.frames, connection.unfinished
        await trio.sleep(STALL_S)
        # The same frame is still on its way: it must have grown. What a busy client sends meanwhile is another one.
        stalled = connection.unfinished and connection.frames == frames
        if not client.asked or (stalled and connection.unfinished - before < 1024 * STALL_S):
            await connection.aclose("a frame that does not end" if client.asked else "asked nothing")
            return
