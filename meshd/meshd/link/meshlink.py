"""One mesh on one connection, from hello to loss: greets, then runs mail, receipts, presence and admission side by side."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import apsw
import trio

from mesh_protocol.broker_api import (
    JOIN_REQUEST,
    LIVE,
    LIVE_PUBLISH,
    MAIL,
    PREKEYS_LOW,
    TIP,
    JoinListAnswer,
    JoinPush,
    LivePush,
    MailPush,
    ResumeAnswer,
    TipPush,
)
from mesh_protocol.invite import MAX_JOIN_REQUEST
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.keys import CryptoError
from mesh_protocol.members import ChainError
from mesh_protocol.op import read_answer
from mesh_protocol.tip import TipRef
from mesh_protocol.wire.codec import CodecError
from mesh_protocol.wire.errors import MeshError, RemoteError
from mesh_protocol.wire.items import unpack_items
from mesh_protocol.wire.rpc import NotificationReceived
from meshd.failure import first_error
from meshd.inbox import Inbox
from meshd.link.admission import Membership
from meshd.link.greeting import CALL_S, Greeting, agrees, follow_tip, read_tip, say_hello, take_seals
from meshd.link.joining import Joiner
from meshd.link.mailer import Mailer
from meshd.link.prekeys import PrekeyLink
from meshd.link.receiver import Receiver
from meshd.link.refusals import own_words
from meshd.link.table import LinkEvent, LinkState
from meshd.log import Id, Word, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.outbox import Outbox
from meshd.presence import INTERVAL_S, PresenceBoard, SessionView
from meshd.store import meshes as store
from meshd.store.outbox import offer_again
from meshd.voids import Voids

log = get_logger("link")

REFUSED_RETRY_S: Final = 30.0
OWN_RETRY_S: Final = 5.0
"""Until a mesh is entered again that this machine had no room to serve."""
PRESENCE_MIN_S: Final = 1.0
MAX_REQUESTS: Final = 128
"""Requests to join that may wait for us: twice what a broker keeps of a mesh."""


@dataclass(frozen=True, slots=True, eq=False)
class LinkParts:
    """The daemon's parts that every mesh link drives. `views` gives the sessions that are present in a mesh."""

    node: Node
    outbox: Outbox
    inbox: Inbox
    board: PresenceBoard
    views: Callable[[Mesh], Sequence[SessionView]]
    voids: Voids


@dataclass(slots=True, eq=False)
class MeshLink:
    """Lives as long as its connection. `presence` is set to publish at once."""

    parts: LinkParts
    mesh: Mesh
    greeting: Greeting
    mailer: Mailer = field(init=False)
    receiver: Receiver = field(init=False)
    membership: Membership = field(init=False)
    prekeys: PrekeyLink = field(init=False)
    presence: trio.Event = field(default_factory=trio.Event)
    tips: trio.Event = field(default_factory=trio.Event)
    _tip: TipRef | None = None
    _requests: list[tuple[int, bytes]] = field(default_factory=list)
    _asked: trio.Event = field(default_factory=trio.Event)
    _again: trio.Event = field(default_factory=trio.Event)
    _syncing: trio.Lock = field(default_factory=trio.Lock)
    _broker_lost: bool = False
    """It was restored from a backup, as far as this connection has shown."""

    def __post_init__(self) -> None:
        self._begin_anew()

    def _begin_anew(self) -> None:
        """What belongs to one stay at the broker: after a refusal nothing of the last one is left."""
        node, connection = self.parts.node, self.greeting.connection
        self.mailer = Mailer(node, self.mesh, connection, self.parts.outbox.queue(self.mesh.id), self.parts.voids)
        self.receiver = Receiver(node, self.mesh, connection, self.parts.inbox, self.sync)
        self.prekeys = PrekeyLink(node, self.mesh, connection)
        self.membership = Membership(node, self.mesh, connection, self.sync, self._take_tip)
        self._tip = None
        self._requests = []

    # Life.

    async def run(self) -> None:
        """Greet and serve until the connection ends; after a refusal try again now and then."""
        while True:
            refusal: BaseException | None = None
            try:
                await self._enter()
                await self._serve()
            except* (LinkClosed, trio.TooSlowError):
                await self.greeting.connection.aclose("the broker stopped answering")
            except* (MeshError, CryptoError, CodecError) as group:
                refusal = first_error(group)
            if refusal is None:
                return
            await self._refused(refusal)
            with trio.move_on_after(self._pause(refusal)):
                await self._again.wait()
            self._again = trio.Event()
            self._begin_anew()
            if self.mesh.link is LinkState.REFUSED:
                self._move(LinkEvent.TRY)

    def _pause(self, refusal: BaseException) -> float:
        """Seconds until the next try, unless there is another invite before."""
        if self.mesh.row.trouble:
            return math.inf
        full = isinstance(refusal, MeshError) and refusal.code == "storage_full"
        return OWN_RETRY_S if full and not isinstance(refusal, RemoteError) else REFUSED_RETRY_S

    def retry(self) -> None:
        """Ask with the invite that is stored now, which is another one than before."""
        self._again.set()
        self.tips.set()

    def _move(self, event: LinkEvent, why: str = "") -> None:
        self.mesh.move_link(event, self.parts.node.now(), why)
        self.parts.node.events.publish("link", mesh=self.mesh.slug, state=self.mesh.link.value)

    async def _refused(self, error: BaseException) -> None:
        if isinstance(error, RemoteError):
            error = own_words(error, self.mesh.row.broker_url)
        code = error.code if isinstance(error, MeshError) else type(error).__name__
        why = error.message if isinstance(error, MeshError) else str(error)
        log.warning("a mesh was not entered", mesh=Id(self.mesh.id), code=Word(code))
        if isinstance(error, ChainError) or code == "broker_rollback":
            await self.raise_alarm(why)
        if not self.mesh.active and code.startswith("invite_"):
            # This invite will never let us in: said in every listing, and not tried again by this daemon.
            mesh = self.mesh
            mesh.row = mesh.row._replace(trouble=code)
            await self.parts.node.db.write(lambda tx: store.set_trouble(tx, mesh.id, code))
        self._move(LinkEvent.DENIED, why)

    async def raise_alarm(self, why: str) -> None:
        """Another history of the mesh was shown: sending stops until the broker agrees with our chain again."""
        self.mesh.alarm = why
        self.mesh.doubts.history_ms = self.parts.node.now()
        log.error("another history of a mesh", mesh=Id(self.mesh.id))
        self.parts.node.events.publish("alarm", mesh=self.mesh.slug, why=why)

    async def _enter(self) -> None:
        node, mesh = self.parts.node, self.mesh
        if not mesh.active:
            await Joiner(node, mesh, self.greeting, self._next_tip).run()
        if self.greeting.challenge.broker_key != mesh.row.broker_key:
            raise MeshError(
                "broker_refused", url=mesh.row.broker_url, why="it has another key than the mesh's chain names"
            )
        answer = await say_hello(self.greeting, mesh.id, node.key, generation=node.generation, nonce=node.seams.rng(32))
        node.compare_clock(answer.server_ms)
        async with self._syncing:
            tip = read_tip(mesh.id, mesh.row.broker_key, answer.tip)
            self._broker_lost = await follow_tip(node, self.greeting.connection, mesh, tip)
        mesh.alarm = ""
        await take_seals(node, self.greeting.connection, mesh)
        await self.prekeys.publish()
        await self.prekeys.refresh()

    async def _serve(self) -> None:
        mesh, connection = self.mesh, self.greeting.connection
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.receiver.run)
            reply = await connection.call("mail.resume", {"mesh": mesh.id, "acked": 0, "sacks": []}, seconds=CALL_S)
            resumed = read_answer(ResumeAnswer, reply.result)
            self.receiver.acks.start_at(resumed.floor - 1)
            await self._check_mailbox(resumed.next_mseq)
            nursery.start_soon(self.mailer.run)
            nursery.start_soon(self.prekeys.run)
            nursery.start_soon(self._run_tips)
            nursery.start_soon(self._run_presence)
            nursery.start_soon(self._run_requests)
            self._move(LinkEvent.GREETED)

    async def _check_mailbox(self, next_mseq: int) -> None:
        """A mailbox that counts lower than before belongs to a broker restored from a backup: said, and lived with,
        because what was committed here is recognised by its ids."""
        node, mesh = self.parts.node, self.mesh
        if next_mseq < mesh.row.next_mseq:
            log.error("the broker's mailbox went back", mesh=Id(mesh.id))
            mesh.doubts.mailbox_ms = node.now()
            node.events.publish("broker_rollback", mesh=mesh.slug)
            self._broker_lost = True
        mesh.row = mesh.row._replace(next_mseq=next_mseq)
        lost, self._broker_lost = self._broker_lost, False
        mesh.replace_onetime |= lost  # of those that lie there some were given out already

        def work(tx: apsw.Connection) -> None:
            store.set_next_mseq(tx, mesh.id, next_mseq)
            if lost:  # what it accepted since its backup may be gone: its repeats are known there, or they are not
                offer_again(tx, mesh.id)

        await node.db.write(work)

    # Notifications, in order, without waiting.

    def notified(self, event: NotificationReceived) -> None:
        """Takes what the broker says about this mesh. Raises `MeshError` when it breaks its own declarations."""
        match event.method:
            case str() if event.method == MAIL:
                mseq = read_answer(MailPush, event.params).mseq
                if not self.receiver.take(mseq, event.body):
                    raise MeshError("bad_request", what="the broker overran its credit window")
            case str() if event.method == LIVE:
                read_answer(LivePush, event.params)
                if self.parts.board.hear(self.mesh, event.body):
                    self.presence.set()  # somebody came: he is told of us now, not at the next interval
            case str() if event.method == TIP:
                self._heard_tip(read_answer(TipPush, event.params).tip)
            case str() if event.method == PREKEYS_LOW:
                self.prekeys.told_low()
            case str() if event.method == JOIN_REQUEST:
                number = read_answer(JoinPush, event.params).id
                if len(self._requests) >= MAX_REQUESTS or len(event.body) > MAX_JOIN_REQUEST:
                    raise MeshError("bad_request", what="the broker sends more requests to join than it may keep")
                self._requests.append((number, event.body))
                self._asked.set()
            case _:
                log.debug("an unknown notification of the broker")

    def _heard_tip(self, encoded: bytes) -> None:
        try:
            tip = read_tip(self.mesh.id, self.greeting.challenge.broker_key, encoded)
        except CryptoError:
            log.warning("a tip with a wrong signature", mesh=Id(self.mesh.id))
            return
        self._take_tip(tip)

    def _take_tip(self, tip: TipRef) -> None:
        """Note a tip that the broker signed: a newer one, or one that proves another history."""
        newest = self._tip
        if newest is None or tip.chain_seq >= newest.chain_seq or not agrees(self.mesh, tip):
            self._tip = tip
            self.tips.set()
        if tip.chain_seq == len(self.mesh.hashes) and agrees(self.mesh, tip):
            self.mesh.tip = tip

    async def _next_tip(self) -> None:
        """Wait for the chain to grow; used while joining."""
        await self.tips.wait()
        self.tips = trio.Event()

    async def sync(self) -> None:
        """Bring the chain up to the newest tip that the broker has signed on this connection.

        Raises `MeshError` with `broker_rollback` when that tip is of another history.
        """
        async with self._syncing:
            tip = self._tip
            if tip is None:
                return
            if not agrees(self.mesh, tip):
                raise MeshError("broker_rollback", mesh=self.mesh.slug)
            if tip.chain_seq > len(self.mesh.hashes):
                await follow_tip(self.parts.node, self.greeting.connection, self.mesh, tip)
        if self.mesh.keys is not None and self.mesh.state.epoch not in self.mesh.keys.epochs:
            await take_seals(self.parts.node, self.greeting.connection, self.mesh)
            self.presence.set()  # on the new epoch's channel, and so that others see who holds its key
        self._asked.set()  # this machine may be a signer now
        await self.receiver.chain_grew()

    async def _run_tips(self) -> None:
        while True:
            await self._next_tip()
            await self.sync()

    # Presence.

    async def _run_presence(self) -> None:
        connection, mesh = self.greeting.connection, self.mesh
        epoch = 0
        while True:
            if mesh.state.epoch != epoch and mesh.keys is not None and mesh.state.epoch in mesh.keys.epochs:
                epoch = mesh.state.epoch
                channels = self.parts.board.channels(mesh)
                await connection.call("live.subscribe", {"mesh": mesh.id, "channels": [*channels]}, seconds=CALL_S)
            self.presence = trio.Event()
            published = trio.current_time()
            if epoch:
                await self.publish(online=True)
            with trio.move_on_after(INTERVAL_S):
                await self.presence.wait()
            await trio.sleep_until(published + PRESENCE_MIN_S)
            self.parts.board.save()

    async def publish(self, *, online: bool) -> None:
        """Send our presence now; not under an older key than the chain's newest, which somebody removed may hold."""
        if self.mesh.keys is None or self.mesh.state.epoch not in self.mesh.keys.epochs:
            return
        channel, frame = self.parts.board.frame(self.mesh, self.parts.views(self.mesh), online=online)
        await self.greeting.connection.notify(LIVE_PUBLISH, {"mesh": self.mesh.id, "channel": channel}, frame)

    # Admission.

    async def _run_requests(self) -> None:
        while self.parts.node.device not in self.mesh.state.signers:
            self._asked = trio.Event()
            await self._asked.wait()
        reply = await self.greeting.connection.call("join.list", {"mesh": self.mesh.id}, seconds=CALL_S)
        answer = read_answer(JoinListAnswer, reply.result)
        requests = unpack_items(reply.body, max_items=MAX_REQUESTS)
        if len(requests) != len(answer.ids):
            raise MeshError("bad_request", what="the broker lists requests to join without their numbers")
        self._requests.extend(zip(answer.ids, requests, strict=True))
        while True:
            while self._requests:
                await self.membership.consider(*self._requests.pop(0))
            self._asked = trio.Event()
            await self._asked.wait()
