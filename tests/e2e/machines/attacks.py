"""Bytes that no client of ours would send, over a Unix or a TCP socket. Each attack says how its connection ended."""

import base64
import random
from collections.abc import Awaitable, Callable, Iterable

import psutil
import trio

from mesh_protocol.wire.codec import encode
from mesh_protocol.wire.framing import encode_frame

Dial = Callable[[], Awaitable[trio.SocketStream]]
PATIENCE = 40.0


def dial_unix(path: str) -> Dial:
    async def dial() -> trio.SocketStream:
        return await trio.open_unix_socket(path)

    return dial


def dial_tcp(port: int) -> Dial:
    async def dial() -> trio.SocketStream:
        stream: trio.SocketStream = await trio.open_tcp_stream("127.0.0.1", port)
        return stream

    return dial


async def throw(dial: Dial, pieces: Iterable[bytes], *, pause: float = 0.0, seconds: float = PATIENCE) -> bytes:
    """Send `pieces` and read to the end; what was answered. Raises TooSlowError when the connection is not closed."""
    answer = b""
    with trio.fail_after(seconds):
        async with await dial() as stream, trio.open_nursery() as nursery:

            async def send() -> None:
                for piece in pieces:
                    try:
                        await stream.send_all(piece)
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        return
                    await trio.sleep(pause)

            nursery.start_soon(send)
            try:
                while data := await stream.receive_some(65536):
                    answer += data[: 65536 - len(answer)]
            except trio.BrokenResourceError:
                pass
            nursery.cancel_scope.cancel()
    return answer


def noise(chance: random.Random, size: int) -> bytes:
    return chance.randbytes(size)


def request(method: str, number: int = 1, body: bytes = b"", **params: object) -> bytes:
    """A well-formed frame."""
    given: dict[str, object] = params
    return encode_frame(encode([0, number, method, given]), body)  # type: ignore[list-item]


def upgrade(*headers: str, path: str = "/", method: str = "GET") -> bytes:
    """The head of a WebSocket handshake, with more headers."""
    key = base64.b64encode(bytes(16)).decode()
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def ws_frame(
    payload: bytes, opcode: int = 2, *, fin: bool = True, masked: bool = True, size: int | None = None
) -> bytes:
    """A client's WebSocket frame, with any length it likes to claim."""
    length = len(payload) if size is None else size
    head = bytes([(0x80 if fin else 0) | opcode])
    bit = 0x80 if masked else 0
    if length < 126:
        head += bytes([bit | length])
    elif length < 65536:
        head += bytes([bit | 126]) + length.to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + length.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + payload  # a mask of zeros changes nothing


class Memory:
    """How far a process has grown since this was made, and the most it grew. In bytes."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.start = self._process.memory_info().rss
        self.most = 0

    def look(self) -> int:
        grown: int = self._process.memory_info().rss - self.start
        self.most = max(self.most, grown)
        return grown
