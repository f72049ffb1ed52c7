"""The daemon's side of the local socket, answering as a test says. The wire is the product's own peer."""

import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from mesh_protocol.wire.codec import JsonValue
from mesh_protocol.wire.rpc import NotificationReceived, Peer, RequestReceived

SECONDS = 20.0
"""No wait of a test is longer."""


class Talker:
    """One accepted connection."""

    def __init__(self, owner: "Scripted", sock: socket.socket) -> None:
        self.owner = owner
        self.sock = sock
        self.peer = Peer()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def answer(self, request: RequestReceived, result: JsonValue, body: bytes = b"") -> None:
        self.sock.sendall(self.peer.respond(request.id, result, body))

    def refuse(self, request: RequestReceived, code: str, message: str, **data: JsonValue) -> None:
        self.sock.sendall(self.peer.fail(request.id, code, message, data))

    def line(self, message: object) -> None:
        """Send one MCP line."""
        text = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.sock.sendall(self.peer.notify("mcp.line", {}, text))

    def run(self) -> None:
        while True:
            try:
                data = self.sock.recv(65536)
            except OSError:
                return
            if not data:
                return
            for event in self.peer.receive(data):
                try:
                    if isinstance(event, RequestReceived):
                        self.owner.take_request(self, event)
                    elif isinstance(event, NotificationReceived):
                        self.owner.take_line(self, event.body)
                except OSError:
                    return


class Scripted:
    """Listens at `<home>/run/sock` once started; `requests` and `lines` remember what came."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "run" / "sock"
        self.on_request: dict[str, Callable[[Talker, RequestReceived], None]] = {
            "mcp.open": lambda talker, request: talker.answer(request, {"session": ""}),
            "hello": lambda talker, request: talker.answer(
                request, {"proto": [1, 0], "build": "0", "tier": "user", "session": ""}
            ),
        }
        self.on_line: Callable[[Talker, dict], None] = lambda talker, message: None
        self.requests: list[RequestReceived] = []
        self.lines: list[dict] = []
        self.raw_lines: list[bytes] = []
        self._changed = threading.Condition()
        self._listener: socket.socket | None = None
        self._talkers: list[Talker] = []

    def start(self) -> None:
        run = self.path.parent
        run.mkdir(mode=0o700, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        folder = os.open(run, os.O_PATH | os.O_DIRECTORY)
        try:
            self._listener.bind(f"/proc/self/fd/{folder}/sock")  # however long the path is
        finally:
            os.close(folder)
        self._listener.listen(20)
        (run / "where").write_bytes(os.fsencode(self.path) + b"\n")
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._acceptor.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            talker = Talker(self, sock)
            self._talkers.append(talker)
            talker.thread.start()

    def stop(self) -> None:
        """Die: no more connections, and those there are end."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._acceptor.join(SECONDS)  # what it has just accepted is among the talkers
            self._listener.close()
            self._listener = None
        for talker in self._talkers:
            try:
                talker.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            if talker.thread is not threading.current_thread():  # a handler may end its daemon
                talker.thread.join(SECONDS)
            talker.sock.close()
        self._talkers.clear()

    def take_request(self, talker: Talker, request: RequestReceived) -> None:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
        handler = self.on_request.get(request.method)
        if handler is not None:
            handler(talker, request)

    def take_line(self, talker: Talker, line: bytes) -> None:
        message = json.loads(line)
        with self._changed:
            self.raw_lines.append(line)
            self.lines.append(message)
            self._changed.notify_all()
        self.on_line(talker, message)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something that came makes `condition` true."""
        with self._changed:
            assert self._changed.wait_for(condition, SECONDS), "it did not come in time"


def says(body: bytes, status: int = 0) -> Callable[[Talker, RequestReceived], None]:
    """A handler for the status line and for hooks."""
    return lambda talker, request: talker.answer(request, {"exit": status}, body)
