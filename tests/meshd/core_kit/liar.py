"""A broker that lies: stands between one daemon and an honest broker, sees every frame in the clear, changes what it likes."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from mesh_protocol.io.link import Link, LinkClosed
from mesh_protocol.io.memory import link_pair
from mesh_protocol.wire.codec import decode, encode
from mesh_protocol.wire.framing import encode_frame, split_message

REQUEST, RESPONSE, NOTIFICATION = 0, 1, 2


@dataclass(frozen=True)
class Said:
    """One message of the RPC. `value` is its params or its result; a response carries its request's method."""

    kind: int
    method: str
    value: Any
    body: bytes = b""
    id: int = 0
    error: Any = None

    def frame(self) -> bytes:
        match self.kind:
            case 0:
                header: Any = [REQUEST, self.id, self.method, self.value]
            case 1:
                header = [RESPONSE, self.id, self.error, self.value]
            case _:
                header = [NOTIFICATION, self.method, self.value]
        return encode_frame(encode(header), self.body)

    def is_answer_to(self, method: str) -> bool:
        return self.kind == RESPONSE and self.method == method and self.error is None

    def is_news(self, method: str) -> bool:
        return self.kind == NOTIFICATION and self.method == method

    def is_call(self, method: str) -> bool:
        return self.kind == REQUEST and self.method == method

    def changed(self, **changes: Any) -> "Said":
        return replace(self, **changes)

    def with_value(self, **values: Any) -> "Said":
        return replace(self, value={**self.value, **values})


Tamper = Callable[[Said], Iterable[Said | bytes]]
"""What becomes of a message: nothing, itself, others; bytes are sent as they are."""


def honest(said: Said) -> Iterable[Said | bytes]:
    return [said]


@dataclass
class Liar:
    """`down` changes what the daemon hears, `up` what the broker hears. `heard` keeps what the broker truly said."""

    dial: Callable[[], Link]
    down: Tamper = honest
    up: Tamper = honest
    heard: list[Said] = field(default_factory=list)
    connections: int = 0
    refusing: bool = False
    _daemon: list[Link] = field(default_factory=list)

    @asynccontextmanager
    async def connect(self, _url: str) -> AsyncIterator[Link]:
        if self.refusing:
            raise LinkClosed("no connection: refused")
        self.connections += 1
        near, far = link_pair()
        broker = self.dial()
        methods: dict[int, str] = {}
        self._daemon.append(far)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pump_down, broker, far, methods)
            nursery.start_soon(self._pump_up, far, broker, methods)
            try:
                yield near
            finally:
                self._daemon.remove(far)
                for link in (near, far, broker):
                    await link.aclose()
                nursery.cancel_scope.cancel()

    async def _pump_down(self, broker: Link, daemon: Link, methods: dict[int, str]) -> None:
        try:
            while True:
                said = _read(await broker.receive(), methods)
                self.heard.append(said)
                for each in self.down(said):
                    await daemon.send(each if isinstance(each, bytes) else each.frame())
        except LinkClosed:
            await daemon.aclose()

    async def _pump_up(self, daemon: Link, broker: Link, methods: dict[int, str]) -> None:
        try:
            while True:
                said = _read(await daemon.receive(), methods)
                if said.kind == REQUEST:
                    methods[said.id] = said.method
                for each in self.up(said):
                    await broker.send(each if isinstance(each, bytes) else each.frame())
        except LinkClosed:
            await broker.aclose()

    async def say(self, said: Said | bytes) -> None:
        """Tell the daemon something on its newest connection. Raises `LinkClosed`."""
        if not self._daemon:
            raise LinkClosed("the daemon is not connected")
        await self._daemon[-1].send(said if isinstance(said, bytes) else said.frame())

    async def news(self, method: str, body: bytes = b"", **params: Any) -> None:
        """Send the daemon a notification."""
        await self.say(Said(NOTIFICATION, method, params, body))

    async def cut(self) -> None:
        """End the daemon's connections."""
        for link in list(self._daemon):
            await link.aclose()

    def mail(self) -> list[Said]:
        """The envelopes the broker truly pushed."""
        return [said for said in self.heard if said.is_news("mail")]


def _read(frame: bytes, methods: dict[int, str]) -> Said:
    header, body = split_message(frame)
    match decode(header):
        case [0, int() as number, str() as method, params]:
            return Said(REQUEST, method, params, body, number)
        case [1, int() as number, error, result]:
            return Said(RESPONSE, methods.pop(number, ""), result, body, number, error)
        case [2, str() as method, params]:
            return Said(NOTIFICATION, method, params, body)
    raise AssertionError("neither daemon nor broker sends such a frame")
