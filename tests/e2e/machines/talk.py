"""Calling a daemon over its socket from the test's own event loop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from mesh_protocol.io.connection import Connection
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.io.stream import StreamLink
from mesh_protocol.registry import load_operations
from mesh_protocol.wire.items import put_texts

CALL_SECONDS: Final = 30.0

Answer = dict[str, Any]


class NoDaemon(Exception):
    """Nobody listens; whatever was asked did not happen."""


class Talk:
    """One connection to a daemon."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def call(self, method: str, /, text: str = "", seconds: float = CALL_SECONDS, **params: object) -> Answer:
        """Call and return the answer with its texts in place. Raises `RemoteError`, `LinkClosed` or `TooSlowError`."""
        given: Any = params
        reply = await self.connection.call(method, given, text.encode(), seconds=seconds)
        answer: Any = reply.result
        operation = load_operations()[method]
        if operation.texts:
            put_texts(answer, operation.texts, reply.body)
        found: Answer = answer
        return found


@asynccontextmanager
async def open_talk(home: Path) -> AsyncIterator[Talk]:
    """A connection to the daemon of `home`. Raises `NoDaemon`; what the block raises comes out as itself."""
    try:
        stream = await trio.open_unix_socket(read_where(home))
    except (OSError, RuntimeError) as error:
        raise NoDaemon(str(error)) from None
    connection = Connection(StreamLink(stream), failed=_failed)
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        try:
            yield Talk(connection)
        except BaseException as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def read_where(home: Path) -> str:
    """The path of the daemon's socket. Raises `NoDaemon`."""
    try:
        return (home / "run" / "where").read_text().splitlines()[0]
    except (OSError, IndexError) as error:
        raise NoDaemon(str(error)) from None


def _failed(method: str, error: BaseException) -> str:
    raise AssertionError(f"{method} failed here") from error


__all__ = ["Answer", "LinkClosed", "NoDaemon", "Talk", "open_talk", "read_where"]
