"""A daemon's side for the blocking client's tests: the real connection, in a trio loop of a thread of its own."""

import os
import socket
import threading

import trio

from mesh_protocol.io.connection import Connection, Reply
from mesh_protocol.io.stream import StreamLink
from mesh_protocol.wire.errors import MeshError, RemoteError
from mesh_protocol.wire.rpc import PROTOCOL

SECONDS = 10
"""No test waits longer for anything."""


class Daemon:
    """A trio server in a thread: `seen` are the requests, `started` and `cancelled` follow the method `wait`."""

    def __init__(self, path):
        self.path = path
        self.seen = []
        self.bugs = []
        self.refusal = None
        self.started, self.cancelled, self.gone = (threading.Event() for _ in range(3))
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,), daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(SECONDS)
        return self

    def __exit__(self, *_):
        self._token.run_sync_soon(self._scope.cancel)
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()

    async def _run(self):
        folder = os.open(self.path.parent, os.O_PATH)
        sock = trio.socket.socket(socket.AF_UNIX)
        await sock.bind(f"/proc/self/fd/{folder}/{self.path.name}")
        os.close(folder)
        sock.listen()
        self._token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as self._scope:
            self._ready.set()
            await trio.serve_listeners(self._handle, [trio.SocketListener(sock)])

    async def _handle(self, stream):
        connection = Connection(
            StreamLink(stream),
            serve=lambda request: self.seen.append(request) or self._serve(connection, request),
            failed=lambda method, error: self.bugs.append(error) or "ref",
        )
        await connection.run()
        self.gone.set()

    async def _serve(self, connection, request):
        match request.method:
            case "hello":
                if self.refusal is not None:
                    raise self.refusal
                return Reply({"proto": [*PROTOCOL], "build": "test"})
            case "echo":
                return Reply(request.params, request.body)
            case "refuse":
                raise MeshError("not_found", what="message", id="7")
            case "break":
                raise RuntimeError("canary")
            case "wait":
                self.started.set()
                try:
                    await trio.sleep_forever()
                finally:
                    self.cancelled.set()
            case "events":
                for number in range(request.params["count"]):
                    await connection.notify("event", {"n": number}, b"body")
                return Reply(None)
            case "ask back":
                try:
                    await connection.call("anything", {})
                except RemoteError as error:
                    return Reply(error.code)
            case "die":
                await connection.aclose()
        raise MeshError("unknown_method", method=request.method)
