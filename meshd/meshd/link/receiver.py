"""Receiving for one mesh over one connection: judge, commit, acknowledge, in that order and in the order of arrival."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import trio
from mesh_protocol.broker_api import MAIL_ACK
from mesh_protocol.io.connection import Connection
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.io.sqlite import Pending, StorageFailed
from mesh_protocol.wire.errors import MeshError

from meshd.inbox import Inbox, Stored, Verdict
from meshd.link.acks import AckTracker
from meshd.log import Id, Word, get_logger
from meshd.mesh import Mesh
from meshd.node import Node

log = get_logger("receiver")

WINDOW: Final = 512
"""Envelopes that may wait here: twice the broker's credit window, so that an honest broker never fills it."""


@dataclass(slots=True, eq=False)
class Receiver:
    """`sync` brings the chain up to date; `raise_alarm` stops sending in a mesh and says why."""

    node: Node
    mesh: Mesh
    connection: Connection
    inbox: Inbox
    sync: Callable[[], Awaitable[None]]
    raise_alarm: Callable[[str], Awaitable[None]]
    acks: AckTracker = field(default_factory=AckTracker)
    _held: list[tuple[int, bytes]] = field(default_factory=list)
    _send: trio.MemorySendChannel[tuple[int, bytes]] = field(init=False)
    _receive: trio.MemoryReceiveChannel[tuple[int, bytes]] = field(init=False)
    _ack: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[tuple[int, bytes]](WINDOW)

    def take(self, mseq: int, envelope: bytes) -> bool:
        """Queue an arrived envelope; false when the broker overruns its credit, and the connection should end."""
        try:
            self._send.send_nowait((mseq, envelope))
        except trio.WouldBlock:
            return False
        return True

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_acks)
            async for mseq, envelope in self._receive:
                await self._judge(nursery, mseq, envelope)

    async def chain_grew(self) -> None:
        """Judge again what waited for a newer chain."""
        held, self._held = self._held, []
        for mseq, envelope in held:
            self.take(mseq, envelope)

    async def _judge(self, nursery: trio.Nursery, mseq: int, envelope: bytes) -> None:
        verdict = self.inbox.judge(self.mesh, envelope)
        if verdict.kind == "wait":
            await self.sync()
            verdict = self.inbox.judge(self.mesh, envelope)
        match verdict.kind:
            case "take":
                assert verdict.outer is not None
                assert verdict.signed is not None
                pending = self.inbox.commit(self.mesh, verdict.outer, verdict.signed)
                nursery.start_soon(self._committed, mseq, pending)
            case "seen":
                self._acknowledge(mseq)
            case "bounce":
                await self._bounce(mseq, verdict, envelope)
            case "wait":  # an unsupported claim holds only its author's message, here and unacknowledged
                log.warning(
                    "a message waits for a newer chain", why=Word(verdict.why.replace(" ", "-")), mesh=Id(self.mesh.id)
                )
                self._held.append((mseq, envelope))
            case "fork":
                self._held.append((mseq, envelope))
                await self.raise_alarm(verdict.why)
            case _:
                log.warning("an envelope was dropped", why=Word(verdict.why.replace(" ", "-")), mesh=Id(self.mesh.id))
                self.node.events.publish("dropped", mesh=self.mesh.slug, why=verdict.why)
                self._acknowledge(mseq)

    async def _committed(self, mseq: int, pending: Pending[Stored]) -> None:
        try:
            stored = await pending.wait()
        except StorageFailed:
            return  # the daemon exits; the broker keeps the envelope
        except MeshError as error:  # no room: not acknowledged, so it comes again
            log.warning("a message could not be stored", code=Word(error.code))
            await self.connection.aclose("no room to store mail")
            return
        self._acknowledge(mseq)
        for msg_id in stored.changed:
            self.node.changed(msg_id)
        if stored.row:
            self.inbox.receipts_due(self.mesh)
            self.inbox.surfaced(stored.row)

    async def _bounce(self, mseq: int, verdict: Verdict, envelope: bytes) -> None:
        assert verdict.outer is not None
        log.warning("an envelope cannot be opened", why=Word(verdict.why.replace(" ", "-")), mesh=Id(self.mesh.id))
        pending = self.inbox.bounce(self.mesh, verdict.outer, envelope, verdict.why)
        if pending is not None:
            await pending.wait()
        self._acknowledge(mseq)

    def _acknowledge(self, mseq: int) -> None:
        self.acks.add(mseq)
        self._ack.set()

    async def _run_acks(self) -> None:
        while True:
            await self._ack.wait()
            self._ack = trio.Event()
            while self.acks.dirty:
                acked, sacks = self.acks.take()
                try:
                    await self.connection.notify(
                        MAIL_ACK, {"mesh": self.mesh.id, "acked": acked, "sacks": [[*pair] for pair in sacks]}
                    )
                except LinkClosed:
                    return
