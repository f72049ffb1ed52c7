"""One mesh on one connection, from hello to loss: greets, then runs mail, receipts, presence and admission side by side."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from mesh_protocol.broker_api import (
    JOIN_DENIED,
    JOIN_GONE,
    JOIN_REQUEST,
    LIVE,
    LIVE_PUBLISH,
    MAIL,
    PREKEYS_LOW,
    TIP,
    JoinGonePush,
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
from mesh_protocol.tip import Tip, TipRef
from mesh_protocol.wire.codec import CodecError
from mesh_protocol.wire.errors import MeshError, RemoteError
from mesh_protocol.wire.items import unpack_items
from mesh_protocol.wire.rpc import NotificationReceived
from meshd.branches import why_stopped
from meshd.failure import first_error
from meshd.inbox import Inbox
from meshd.keyasking import KeyAsking
from meshd.link.admission import Membership
from meshd.link.branching import follow, keep_tip, require_shown
from meshd.link.greeting import CALL_S, Greeting, agrees, read_tip, say_hello, take_seals
from meshd.link.joining import Joiner
from meshd.link.mailbox import check_mailbox, least_next
from meshd.link.mailer import Mailer
from meshd.link.prekeys import PrekeyLink
from meshd.link.receiver import Receiver
from meshd.link.refusals import is_out, is_turned_out, own_words
from meshd.link.table import LinkEvent, LinkState
from meshd.link.witnesses import Witnesses
from meshd.log import Id, Word, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.outbox import Outbox
from meshd.presence import INTERVAL_S, PresenceBoard, SessionView
from meshd.releasing import Releasing
from meshd.store import meshes as store
from meshd.voids import Voids

log = get_logger("link")

REFUSED_RETRY_S: Final = 30.0
OWN_RETRY_S: Final = 5.0
"""Until a mesh is entered again that this machine had no room to serve."""
ALARM_PAUSE_S: Final = 1.0
"""A broker under alarm that says something new is asked no sooner again."""
PRESENCE_MIN_S: Final = 1.0
SILENT_S: Final = 10.0
"""After a goodbye nothing is said that takes it back, as what was due beside it would. A leave that failed is over by then."""
MAX_REQUESTS: Final = 128
"""Requests to join that may wait for us: twice what a broker keeps of a mesh."""


@dataclass(frozen=True, slots=True, eq=False)
class LinkParts:
    """The daemon's parts that every mesh link drives. `views` gives the sessions that are present in a mesh,
    `departed` hears that a mesh which is being left does not count this machine to it any more."""

    node: Node
    outbox: Outbox
    inbox: Inbox
    board: PresenceBoard
    views: Callable[[Mesh], Sequence[SessionView]]
    voids: Voids
    departed: Callable[[Mesh], None]


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
    keyasking: KeyAsking = field(init=False)
    unlisted: bool = False
    """This device waits to be let in: the broker's last word was no, and our own chain does not list it either."""
    presence: trio.Event = field(default_factory=trio.Event)
    tips: trio.Event = field(default_factory=trio.Event)
    _tip: TipRef | None = None
    _signed: bytes = b""
    """The newest tip that was pushed, as it came, and how many records of other histories the broker said it keeps."""
    _beside: int = 0
    _requests: list[tuple[int, bytes]] = field(default_factory=list)
    _asked: trio.Event = field(default_factory=trio.Event)
    _again: trio.Event = field(default_factory=trio.Event)
    _syncing: trio.Lock = field(default_factory=trio.Lock)
    _broker_lost: bool = False
    """It was restored from a backup, as far as this connection has shown."""
    _silent_until: float = -math.inf
    _denied: bool = False
    """A signer said no to our request to join."""

    def __post_init__(self) -> None:
        self._begin_anew()

    def _begin_anew(self) -> None:
        """What belongs to one stay at the broker: after a refusal nothing of the last one is left."""
        node, connection = self.parts.node, self.greeting.connection
        self.mailer = Mailer(node, self.mesh, connection, self.parts.outbox.queue(self.mesh.id), self.parts.voids)
        witnesses = Witnesses(node, self.mesh, connection, self.sync)
        self.receiver = Receiver(node, self.mesh, connection, self.parts.inbox, self.sync, witnesses)
        self.prekeys = PrekeyLink(node, self.mesh, connection)
        self.membership = Membership(node, self.mesh, connection, self.sync, self._take_tip)
        self.keyasking = KeyAsking(node, self.mesh, self, self.parts.board, self._keys_came)
        self._tip = None
        self._signed, self._beside = b"", self.mesh.beside
        self._requests = []
        self._denied = False

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
            if self.mesh.leaving and is_out(refusal):
                self.parts.departed(self.mesh)
                return
            self.unlisted = (
                is_out(refusal) and self.mesh.active and not self.mesh.state.is_active(self.parts.node.device)
            )
            await self._refused(refusal)
            await trio.sleep(ALARM_PAUSE_S if self.mesh.alarm else 0)
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
        self.mesh.turned_out = is_turned_out(error) and self.mesh.active and not self.unlisted
        if isinstance(error, RemoteError):
            error = own_words(error, self.mesh.row.broker_url)
        code = error.code if isinstance(error, MeshError) else type(error).__name__
        why = error.message if isinstance(error, MeshError) else str(error)
        log.warning("a mesh was not entered", mesh=Id(self.mesh.id), code=Word(code))
        if isinstance(error, ChainError) or code == "broker_rollback":
            why = why_stopped(self.mesh) or why
            await self.raise_alarm(why)
        if not self.mesh.active and code.startswith(("invite_", "link_")):
            # This invite will never let us in: said in every listing, and not tried again by this daemon.
            mesh = self.mesh
            mesh.row = mesh.row._replace(trouble=code)
            await self.parts.node.db.write(lambda tx: store.set_trouble(tx, mesh.id, code))
        self._move(LinkEvent.DENIED, why)

    async def raise_alarm(self, why: str) -> None:
        """Another history of the mesh was shown: sending stops until the broker agrees with our chain again."""
        if self.mesh.fork is not None or self.mesh.alarm == why:
            return  # that is told already
        self.mesh.alarm = why
        self.mesh.doubts.history_ms = self.parts.node.now()
        log.error("another history of a mesh", mesh=Id(self.mesh.id))
        self.parts.node.events.publish("alarm", mesh=self.mesh.slug, why=why)

    async def _enter(self) -> None:
        node, mesh = self.parts.node, self.mesh
        if not mesh.active and not mesh.leaving:
            await Joiner(node, mesh, self.greeting, self._next_tip).run()
        if self.greeting.challenge.broker_key != mesh.row.broker_key:
            raise MeshError(
                "broker_refused", url=mesh.row.broker_url, why="it has another key than the mesh's chain names"
            )
        answer = await say_hello(self.greeting, mesh.id, node.key, generation=node.generation, nonce=node.seams.rng(32))
        node.compare_clock(answer.server_ms)
        async with self._syncing:
            tip = read_tip(mesh.id, mesh.row.broker_key, answer.tip)
            self._broker_lost = await follow(node, self.greeting.connection, mesh, tip, answer.branches, answer.tip)
            keep_tip(node, mesh, answer.tip)
            require_shown(mesh)
        mesh.alarm, mesh.turned_out = "", False
        if mesh.leaving:  # said where the broker could not be reached, or by a daemon that died before it had told it
            await self.prekeys.withdraw()
            return
        await take_seals(node, self.greeting.connection, mesh)
        await self.prekeys.publish()
        await self.prekeys.refresh()

    async def _serve(self) -> None:
        mesh, connection = self.mesh, self.greeting.connection
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_tips)
            if mesh.leaving:  # its wish goes out; no mail is asked for, and nothing is published
                nursery.start_soon(self.mailer.run)
                self._move(LinkEvent.GREETED)
                return
            mesh.arriving = None
            nursery.start_soon(self.receiver.run)
            least = least_next(mesh)
            reply = await connection.call("mail.resume", {"mesh": mesh.id, "acked": 0, "sacks": []}, seconds=CALL_S)
            resumed = read_answer(ResumeAnswer, reply.result)
            self.receiver.acks.start_at(resumed.floor - 1)
            lost = self._broker_lost or mesh.broker_forgot
            await check_mailbox(self.parts.node, mesh, least, resumed.next_mseq, broker_lost=lost)
            self._broker_lost = mesh.broker_forgot = False
            nursery.start_soon(self.mailer.run)
            nursery.start_soon(self.prekeys.run)
            nursery.start_soon(self._run_presence)
            nursery.start_soon(self._run_requests)
            nursery.start_soon(self.keyasking.run)
            nursery.start_soon(Releasing(self.parts.node, mesh, self, self._keys_came).run)
            self._move(LinkEvent.GREETED)

    # Notifications, in order, without waiting.

    def notified(self, event: NotificationReceived) -> None:
        """Takes what the broker says about this mesh. Raises `MeshError` when it breaks its own declarations."""
        match event.method:
            case str() if event.method == MAIL:
                mseq = read_answer(MailPush, event.params).mseq
                self.mesh.heard_mseq = max(self.mesh.heard_mseq, mseq)
                if not self.receiver.take(mseq, event.body):
                    raise MeshError("bad_request", what="the broker overran its credit window")
            case str() if event.method == LIVE:
                read_answer(LivePush, event.params)
                if self.parts.board.hear(self.mesh, event.body):
                    self.presence.set()  # somebody came: he is told of us now, not at the next interval
            case str() if event.method == TIP:
                self._heard_tip(read_answer(TipPush, event.params))
            case str() if event.method == PREKEYS_LOW:
                self.prekeys.told_low()
            case str() if event.method == JOIN_REQUEST:
                number = read_answer(JoinPush, event.params).id
                if len(self._requests) >= MAX_REQUESTS or len(event.body) > MAX_JOIN_REQUEST:
                    raise MeshError("bad_request", what="the broker sends more requests to join than it may keep")
                self._requests.append((number, event.body))
                self._asked.set()
            case str() if event.method == JOIN_GONE:
                self.membership.forget(read_answer(JoinGonePush, event.params).id)
            case str() if event.method == JOIN_DENIED:
                self._denied = True
                self.tips.set()
            case _:
                log.debug("an unknown notification of the broker")

    def _heard_tip(self, push: TipPush) -> None:
        try:
            tip = read_tip(self.mesh.id, self.greeting.challenge.broker_key, push.tip)
        except CryptoError:
            log.warning("a tip with a wrong signature", mesh=Id(self.mesh.id))
            return
        self._beside, self._signed = push.branches, push.tip
        self._take_tip(tip)
        if self.mesh.alarm:
            self._again.set()  # perhaps somebody has resolved it

    def _take_tip(self, tip: TipRef) -> None:
        """Note a tip that the broker signed: a newer one, or one that proves another history."""
        newest = self._tip
        if newest is None or tip.chain_seq >= newest.chain_seq or not self._is_whole(tip):
            self._tip = tip
            self.tips.set()
        if tip.chain_seq == len(self.mesh.hashes) and agrees(self.mesh, tip):
            self.mesh.tip = tip

    async def _next_tip(self) -> None:
        """Wait for the chain to grow; used while joining. Raises `invite_denied` when a signer said no meanwhile."""
        await self.tips.wait()
        self.tips = trio.Event()
        if self._denied:
            raise MeshError("invite_denied")

    async def sync(self) -> None:
        """Bring the chain up to the newest tip that the broker has signed on this connection.

        Raises `MeshError` with `broker_rollback` when that tip is of another history.
        """
        async with self._syncing:
            tip = self._tip
            if tip is None:
                return
            if not self._is_whole(tip):
                signed = self._signed if self._signed and Tip.decode(self._signed).ref == tip else b""
                await follow(self.parts.node, self.greeting.connection, self.mesh, tip, self._beside, signed)
            if self._signed:
                keep_tip(self.parts.node, self.mesh, self._signed)
        if self.mesh.keys is not None and self.mesh.state.epoch not in self.mesh.keys.epochs:
            await take_seals(self.parts.node, self.greeting.connection, self.mesh)
        self.mesh.lacking.look()
        self._keys_came()
        await self.receiver.chain_grew()

    def _keys_came(self) -> None:
        """Or the chain grew: this machine may be a signer now, or may let others in again."""
        self._asked.set()
        self.presence.set()  # on the new epoch's channel, and so that others see who holds its key

    def _is_whole(self, tip: TipRef) -> bool:
        """Nothing that the broker has said of its chain is left to be fetched."""
        mesh = self.mesh
        return tip.chain_seq <= len(mesh.hashes) and agrees(mesh, tip) and self._beside == mesh.beside

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
        now = trio.current_time()
        if online and now < self._silent_until:
            return
        if not online:
            self._silent_until = now + SILENT_S
        for channel, frame in self.parts.board.frames(self.mesh, self.parts.views(self.mesh), online=online):
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
        self.membership.keep_only(answer.ids)
        self._requests.extend(zip(answer.ids, requests, strict=True))
        while True:
            while self._requests:
                await self.membership.consider(*self._requests.pop(0))
            self._asked = trio.Event()
            await self._asked.wait()
