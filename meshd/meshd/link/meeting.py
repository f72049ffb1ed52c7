"""One side of a meeting at a broker: what it says goes out sealed, what the other one says comes in opened, in order."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from mesh_protocol.broker_meeting import MEET, MEET_ENDED, MeetEndedPush
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.keys import CryptoError
from mesh_protocol.meeting import MeetingLink, MeetingSeal, Side
from mesh_protocol.op import read_answer
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.rpc import NotificationReceived
from meshd.brokers import Brokers
from meshd.link.greeting import CALL_S, Greeting, say_hello
from meshd.node import Node

MAX_WAITING: Final = 8
"""Frames of the other side that wait; the broker hands on no more in a whole meeting."""
WHY: Final = {
    "left": "the other machine left, or its command was stopped",
    "second": "a second machine used the same link, which somebody else must have seen",
    "over": "it took too long",
}
LOST: Final = "the connection to the broker was lost"


@dataclass(slots=True, eq=False)
class Meeting:
    """This side of a meeting, on a connection of its own."""

    node: Node
    link: MeetingLink
    greeting: Greeting
    seal: MeetingSeal
    _inbox: trio.MemoryReceiveChannel[bytes]

    async def say(self, content: bytes) -> None:
        """Raises `link_ended`, or the broker's own refusal."""
        frame = self.seal.seal(content, self.node.seams.rng(24))
        try:
            await self.greeting.connection.call("meet.say", {"mesh": self.link.mesh_id}, frame, seconds=CALL_S)
        except LinkClosed:
            raise MeshError("link_ended", why=LOST) from None
        except trio.TooSlowError:
            raise MeshError("link_ended", why="the broker stopped answering") from None

    async def hear(self) -> bytes:
        """The next word of the other side. Raises `link_ended`."""
        frame = await self._inbox.receive()
        try:
            return self.seal.open(frame)
        except CryptoError:
            raise MeshError("link_ended", why="what came was not what the other machine said next") from None


@dataclass(slots=True, eq=False)
class _Ear:
    """Takes what the broker says; `ended` says why nothing more comes."""

    inbox: trio.MemorySendChannel[bytes]
    ended: str = ""
    over: trio.Event = field(default_factory=trio.Event)

    def notified(self, event: NotificationReceived) -> None:
        if event.method == MEET:
            try:
                self.inbox.send_nowait(event.body)
            except trio.WouldBlock:
                self.end("the broker sent more than was said")
        elif event.method == MEET_ENDED:
            try:
                why = read_answer(MeetEndedPush, event.params).why
            except MeshError:
                why = ""
            self.end(WHY.get(why, "the broker ended it"))

    def end(self, why: str) -> None:
        self.ended = self.ended or why
        self.over.set()


@asynccontextmanager
async def open_meeting(node: Node, brokers: Brokers, link: MeetingLink, side: Side) -> AsyncIterator[Meeting]:
    """Enter the meeting of `link`. Raises `MeshError`: `link_unknown`, `link_used`, or `link_ended` at any time within, when
    the other side leaves, somebody else comes, or the connection is lost."""
    send, receive = trio.open_memory_channel[bytes](MAX_WAITING)
    ear = _Ear(send)
    async with brokers.visit(link.broker_url, ear.notified) as greeting:
        await say_hello(greeting, link.mesh_id, link.key(), generation=0, nonce=node.seams.rng(32), meet=True)
        scope = trio.CancelScope(deadline=math.inf)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, greeting, ear, scope)
            with scope:
                yield Meeting(node, link, greeting, MeetingSeal(link, side), receive)
            nursery.cancel_scope.cancel()
        if scope.cancelled_caught:
            raise MeshError("link_ended", why=ear.ended)


async def _watch(greeting: Greeting, ear: _Ear, scope: trio.CancelScope) -> None:
    """End what goes on in the meeting when it is over."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch_connection, greeting, ear)
        await ear.over.wait()
        nursery.cancel_scope.cancel()
    scope.cancel()


async def _watch_connection(greeting: Greeting, ear: _Ear) -> None:
    await greeting.connection.wait_closed()
    ear.end(LOST)
