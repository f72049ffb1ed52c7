"""Bytes on a socket, for those who do not speak well."""

import struct

import trio

from broker_kit.side import PATIENCE
from broker_kit.stand import Stand

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The answer to that key: RFC 6455 1.3."""


class Raw:
    """A TCP connection to a stand."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream

    async def send(self, data: bytes) -> None:
        """Send, if the other side still takes it."""
        try:
            await self.stream.send_all(data)
        except trio.BrokenResourceError:
            return

    async def rest(self) -> bytes:
        """Everything until the other side closes."""
        got = b""
        with trio.fail_after(PATIENCE):
            try:
                while chunk := await self.stream.receive_some(65536):
                    got += chunk
            except trio.BrokenResourceError:
                pass
        return got

    async def status(self) -> int:
        """The status of the answer, after which the connection must be closed."""
        return int((await self.rest()).split(b" ", 2)[1])

    async def upgrade(self) -> None:
        """Become a WebSocket; the challenge is read too."""
        await self.send(UPGRADE)
        got = b""
        with trio.fail_after(PATIENCE):
            while b"challenge" not in got:
                got += await self.stream.receive_some(65536)
        assert ACCEPT in got

    async def close_code(self) -> int:
        """The code with which the WebSocket is closed."""
        return (await self.close_words())[0]

    async def close_words(self) -> tuple[int, str]:
        """Code and reason."""
        got = await self.rest()
        at = got.rindex(b"\x88")
        return int(struct.unpack_from(">H", got, at + 2)[0]), got[at + 4 : at + 2 + got[at + 1]].decode()


async def dial(stand: Stand) -> Raw:
    assert stand.address is not None
    raw = Raw(await trio.open_tcp_stream(*stand.address))
    stand.opened.append(raw.stream)
    return raw


def frame(payload: bytes, opcode: int = 2, *, fin: bool = True, mask: bool = True) -> bytes:
    """A client's WebSocket frame (RFC 6455 5.2), with a mask of zeros."""
    size = len(payload)
    first = (0x80 if fin else 0) | opcode
    flag = 0x80 if mask else 0
    if size < 126:
        head = bytes((first, flag | size))
    elif size < 65536:
        head = bytes((first, flag | 126)) + struct.pack(">H", size)
    else:
        head = bytes((first, flag | 127)) + struct.pack(">Q", size)
    return head + (bytes(4) if mask else b"") + payload
