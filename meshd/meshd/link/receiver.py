"""Receiving for one mesh over one connection: judge, commit, acknowledge, in that order and in the order of arrival."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import trio

from mesh_protocol.broker_api import MAIL_ACK
from mesh_protocol.ids import DeviceId
from mesh_protocol.io.connection import Connection
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.io.sqlite import Pending, StorageFailed
from mesh_protocol.wire.errors import MeshError
from meshd.inbox import Inbox, Stored, Verdict
from meshd.link.acks import AckTracker
from meshd.link.witnesses import ASK, TIP, Witnesses
from meshd.log import Id, Word, get_logger
from meshd.mesh import Mesh
from meshd.node import Node

log = get_logger("receiver")

WINDOW: Final = 512
WINDOW_BYTES: Final = 8 * 1024 * 1024
"""Envelopes that may be here without an acknowledgement: twice the broker's credit window, which an honest one keeps."""
MAX_HELD: Final = 128
"""Of these, so many may wait for a newer chain: half the broker's window, so that the rest goes on."""
MAX_HELD_OF_ONE: Final = 32
"""And so many of one author: a member whose claims nothing supports cannot hold up the others' messages."""


class Held(NamedTuple):
    """An envelope that waits for a newer chain."""

    mseq: int
    author: DeviceId
    envelope: bytes


@dataclass(slots=True, eq=False)
class Receiver:
    """`sync` brings the chain up to date. What was taken counts against the window until it is acknowledged."""

    node: Node
    mesh: Mesh
    connection: Connection
    inbox: Inbox
    sync: Callable[[], Awaitable[None]]
    witnesses: Witnesses
    acks: AckTracker = field(default_factory=AckTracker)
    _held: list[Held] = field(default_factory=list)
    _judged_under: tuple[int, bytes, int] = (0, b"", 0)
    _open: dict[int, list[int]] = field(default_factory=dict)
    _open_rows: int = 0
    _open_bytes: int = 0
    _send: trio.MemorySendChannel[tuple[int, bytes]] = field(init=False)
    _receive: trio.MemoryReceiveChannel[tuple[int, bytes]] = field(init=False)
    _ack: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        self._judged_under = self._known()
        self._send, self._receive = trio.open_memory_channel[tuple[int, bytes]](WINDOW)

    def take(self, mseq: int, envelope: bytes) -> bool:
        """Queue an arrived envelope; false when the broker overruns its credit, and the connection should end."""
        size = len(envelope)
        if self._open_rows >= WINDOW or (self._open_rows and self._open_bytes + size > WINDOW_BYTES):
            return False
        self._open.setdefault(mseq, []).append(size)
        self._open_rows += 1
        self._open_bytes += size
        self._send.send_nowait((mseq, envelope))
        return True

    @property
    def held(self) -> tuple[Held, ...]:
        """What waits for a newer chain."""
        return tuple(self._held)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of envelopes that are here and not acknowledged."""
        return self._open_bytes

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_acks)
            async for mseq, envelope in self._receive:
                await self._judge(nursery, mseq, envelope)

    def _known(self) -> tuple[int, bytes, int]:
        """What the judgement of a message's tip depends on: our chain, and the other histories that are known."""
        hashes = self.mesh.hashes
        return len(hashes), hashes[-1] if hashes else b"", len(self.mesh.branches)

    async def chain_grew(self) -> None:
        """Judge again what waited for a newer chain, if there is one."""
        if self._known() == self._judged_under:
            return
        self._judged_under = self._known()
        held, self._held = self._held, []
        for each in held:
            self._send.send_nowait((each.mseq, each.envelope))

    async def _judge(self, nursery: trio.Nursery, mseq: int, envelope: bytes) -> None:
        self.node.seams.reached("FP-11")
        if self.mesh.leaving:  # nothing of it is stored any more; the connection is about to end
            return
        verdict = self.inbox.judge(self.mesh, envelope)
        if verdict.kind == "wait":
            await self.sync()
            verdict = self.inbox.judge(self.mesh, envelope)
        match verdict.kind:
            case "take":
                assert verdict.outer is not None
                assert verdict.signed is not None
                about_tips = verdict.signed.message.kind in (ASK, TIP)
                if not about_tips:
                    self.mesh.doubts.authors.pop(verdict.outer.from_device, None)
                pending = self.inbox.commit(self.mesh, verdict.outer, verdict.signed)
                pending.settled(lambda: self._tell(pending))
                if about_tips:
                    nursery.start_soon(self.witnesses.heard, verdict.signed)
                nursery.start_soon(self._committed, mseq, pending)
            case "seen":
                self._acknowledge(mseq)
            case "bounce":
                await self._bounce(mseq, verdict, envelope)
            case "wait" | "fork":
                await self._hold(mseq, verdict, envelope)
                if verdict.signed is not None:
                    nursery.start_soon(
                        self.witnesses.ask, verdict.signed.message.from_device, verdict.signed.message.tip
                    )
            case _:
                self._drop(mseq, verdict.why)

    async def _hold(self, mseq: int, verdict: Verdict, envelope: bytes) -> None:
        """An unsupported claim about the chain holds its author's message, here and unacknowledged, and nobody else's
        (crypto design 2.4). Of what is too much the author is told, if the chain lists him, so that he seals it anew."""
        assert verdict.outer is not None
        author = verdict.outer.from_device
        log.warning("a message waits for a newer chain", why=Word(verdict.why.replace(" ", "-")), mesh=Id(self.mesh.id))
        if verdict.signed is not None:
            self.mesh.doubts.authors[author] = verdict.why
        if len(self._held) < MAX_HELD and sum(each.author == author for each in self._held) < MAX_HELD_OF_ONE:
            self._held.append(Held(mseq, author, envelope))
        elif self.mesh.state.is_active(author):
            await self._bounce(mseq, verdict._replace(why="unreadable"), envelope)
        else:
            self._drop(mseq, verdict.why)

    def _drop(self, mseq: int, why: str) -> None:
        log.warning("an envelope was dropped", why=Word(why.replace(" ", "-")), mesh=Id(self.mesh.id))
        self.node.events.publish("dropped", mesh=self.mesh.slug, why=why)
        self._acknowledge(mseq)

    async def _committed(self, mseq: int, pending: Pending[Stored]) -> None:
        try:
            await pending.wait()
        except StorageFailed:
            return  # the daemon exits; the broker keeps the envelope
        except MeshError as error:  # no room: not acknowledged, so it comes again
            log.warning("a message could not be stored", code=Word(error.code))
            await self.connection.aclose("no room to store mail")
            return
        self.node.seams.reached("FP-22" if pending.result.changed else "FP-13")
        self._acknowledge(mseq)

    def _tell(self, pending: Pending[Stored]) -> None:
        """What follows a commit, whatever became of the connection meanwhile: it will not be pushed anew."""
        if not pending.succeeded:
            return
        for msg_id in pending.result.changed:
            self.node.changed(msg_id)
        if pending.result.rows:
            self.inbox.receipts_due(self.mesh)
        for row in pending.result.rows:
            self.inbox.surfaced(row)

    async def _bounce(self, mseq: int, verdict: Verdict, envelope: bytes) -> None:
        assert verdict.outer is not None
        log.warning("an envelope cannot be opened", why=Word(verdict.why.replace(" ", "-")), mesh=Id(self.mesh.id))
        pending = self.inbox.bounce(self.mesh, verdict.outer, envelope, verdict.why)
        if pending is not None:
            await pending.wait()
        self._acknowledge(mseq)

    def _acknowledge(self, mseq: int) -> None:
        sizes = self._open.get(mseq)
        if sizes:
            self._open_rows -= 1
            self._open_bytes -= sizes.pop()
            if not sizes:
                del self._open[mseq]
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
