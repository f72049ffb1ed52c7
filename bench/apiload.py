"""The two programs that the proxy is measured between and beside: a fake API, and a splice that passes bytes on.

`python -m bench.apiload api` and `python -m bench.apiload splice PORT` print "ready PORT" and serve until they are ended.
"""

import argparse
import json
import select
import socket
import sys
import time
from typing import Final, NamedTuple

import trio

FRAMES: Final = 64
"""Frames of a long answer."""
PAUSE_S: Final = 0.002
SLOW_S: Final = 0.02
"""Between two frames of `/long/slow…`."""
STAMP: Final = b'data: {"type":"content_block_delta","at":'
HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END: Final = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(kind: str, **fields: object) -> bytes:
    return chunk(f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode())


USAGE: Final = {"input_tokens": 1_000, "output_tokens": 1}
MESSAGE: Final = {"id": "msg_1", "type": "message", "model": "claude-opus-5-5", "content": [], "usage": USAGE}
FIRST: Final = HEAD + event("message_start", message=MESSAGE)
LAST: Final = (
    event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 100})
    + event("message_stop")
    + END
)
SHORT: Final = FIRST + event("content_block_delta", index=0, delta={"type": "text_delta", "text": "hello"}) + LAST


class _Due(NamedTuple):
    """The next frame of a client's answer: when, of which connection, how many are left."""

    at: float
    number: int
    left: int
    pause: float


def stamped() -> bytes:
    """A frame that says when it was sent (the system's monotonic clock, one for all processes)."""
    return chunk(b"event: content_block_delta\n%b%d}\n\n" % (STAMP, time.monotonic_ns()))


def serve_api() -> None:
    """Answers `/long…` with a stream of frames, all else with a short one at once. One thread, no library: it must not
    be what is measured."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    listener.setblocking(False)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    clients: dict[int, tuple[socket.socket, bytearray]] = {}
    due: list[_Due] = []
    _ready(listener)
    while True:
        for number, _ in poll.poll(PAUSE_S / 4 if due else -1):
            if number == listener.fileno():
                client, _ = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                poll.register(client, select.EPOLLIN)
                clients[client.fileno()] = (client, bytearray())
                continue
            client, buffer = clients[number]
            data = _receive(client)
            if not data:
                poll.unregister(client)
                del clients[number]
                client.close()
                continue
            buffer += data
            while (size := _whole(buffer)) >= 0:
                if b"/long" in buffer[:200]:
                    client.sendall(FIRST)
                    pause = SLOW_S if b"/slow" in buffer[:200] else PAUSE_S
                    due.append(_Due(time.monotonic() + pause, number, FRAMES, pause))
                else:
                    client.sendall(SHORT)
                del buffer[:size]
        due = _send_due(due, clients)


def _send_due(due: list[_Due], clients: dict[int, tuple[socket.socket, bytearray]]) -> list[_Due]:
    now, later = time.monotonic(), []
    for each in due:
        if each.at > now:
            later.append(each)
        elif each.number in clients:
            clients[each.number][0].sendall(stamped() if each.left else LAST)
            if each.left:
                later.append(each._replace(at=each.at + each.pause, left=each.left - 1))
    return later


def _receive(client: socket.socket) -> bytes:
    try:
        return client.recv(1 << 20)
    except OSError:
        return b""


def _whole(buffer: bytearray) -> int:
    """The size of the whole request at the beginning, or -1."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return -1
    named = buffer.lower().find(b"content-length:", 0, end)
    size = end + 4 + (int(buffer[named + 15 : buffer.index(b"\r\n", named)]) if named >= 0 else 0)
    return size if size <= len(buffer) else -1


def serve_splice(to: int) -> None:
    """The least a program on trio can do between two connections."""

    async def pump(source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
        try:
            while data := await source.receive_some(65536):
                await sink.send_all(data)
        except trio.BrokenResourceError:
            pass
        scope.cancel()

    async def splice(near: trio.SocketStream) -> None:
        far = await trio.open_tcp_stream("127.0.0.1", to)
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(pump, near, far, nursery.cancel_scope)
            nursery.start_soon(pump, far, near, nursery.cancel_scope)

    async def main() -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        _ready(listener)
        listener.setblocking(False)
        await trio.serve_listeners(splice, [trio.SocketListener(trio.socket.from_stdlib_socket(listener))])

    trio.run(main)


def _ready(listener: socket.socket) -> None:
    sys.stdout.write(f"ready {listener.getsockname()[1]}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["api", "splice"])
    parser.add_argument("to", type=int, nargs="?", default=0)
    given = parser.parse_args()
    if given.what == "api":
        serve_api()
    else:
        serve_splice(given.to)
