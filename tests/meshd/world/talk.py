"""A client of a daemon's socket, from the process that it is said to be."""

from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
import trio

from mesh_protocol.io.connection import Connection
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.io.stream import StreamLink
from mesh_protocol.op import COMMON_ERRORS
from mesh_protocol.ops.claude import MCP_LINE
from mesh_protocol.registry import load_operations
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.items import put_texts
from mesh_protocol.wire.rpc import NotificationReceived

if TYPE_CHECKING:
    from world.machine import Machine

OPERATIONS = load_operations()
PATIENCE_S = 120.0
"""Virtual seconds that one call may take before its test fails."""

Answer = dict[str, Any]


class Talk:
    """One connection. `pid` is the process at the other end, which decides what it may do."""

    def __init__(self, machine: "Machine", pid: int, stream: trio.abc.Stream) -> None:
        self.machine = machine
        self.pid = pid
        self.connection = Connection(StreamLink(stream), notified=self._notified, failed=self._failed)
        self.lines: deque[bytes] = deque()
        self.events: deque[Answer] = deque()
        self._news = trio.Event()

    async def run(self) -> None:
        """Until the connection ends, of which whoever waits for a line is told."""
        try:
            await self.connection.run()
        finally:
            self._news.set()

    async def call(self, method: str, /, **params: Any) -> Answer:
        """The answer, its texts in their places; a declared refusal raises `MeshError`. A bytes `body` goes beside it."""
        operation = OPERATIONS.get(method)
        body = params.pop("body", b"")
        if operation is not None and operation.payload in params:
            body = params.pop(operation.payload).encode()
        try:
            reply = await self.connection.call(method, params, body, seconds=PATIENCE_S)
        except MeshError as error:
            self.machine.world.raise_bugs()  # the cause, rather than what the caller was told
            declared = (*operation.errors, *COMMON_ERRORS) if operation is not None else (error.code,)
            if error.code not in declared:
                raise AssertionError(f"{method} does not declare that it may end with {error.code}") from error
            raise
        answer = reply.result
        assert isinstance(answer, dict)
        if operation is not None and operation.texts:
            put_texts(answer, operation.texts, reply.body)
        elif reply.body:
            answer["body"] = reply.body
        return answer

    async def refusal(self, method: str, /, **params: Any) -> MeshError:
        """The refusal that a call ends with."""
        with pytest.raises(MeshError) as caught:
            await self.call(method, **params)
        return caught.value

    async def send_line(self, line: bytes) -> None:
        """A line of MCP."""
        await self.connection.notify(MCP_LINE, {}, line)

    async def next_line(self) -> bytes:
        """The next line of MCP."""
        await self._until(lambda: bool(self.lines))
        return self.lines.popleft()

    async def next_event(self) -> Answer:
        """The next event of a subscription."""
        await self._until(lambda: bool(self.events))
        return self.events.popleft()

    async def close(self) -> None:
        await self.connection.aclose()

    async def _until(self, here: Any) -> None:
        with trio.fail_after(PATIENCE_S):
            while not here():
                if self.connection.closed is not None:
                    raise LinkClosed(self.connection.closed)
                self._news = trio.Event()
                await self._news.wait()

    def _notified(self, event: NotificationReceived) -> None:
        if event.method == MCP_LINE:
            self.lines.append(event.body)
        else:
            self.events.append(dict(event.params))
        self._news.set()

    def _failed(self, method: str, error: BaseException) -> str:
        raise AssertionError(f"{method} failed") from error
