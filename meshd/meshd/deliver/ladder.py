"""Brings stored messages to the session that is to see them, by the first rung that works, and says shown only on evidence.

Rungs: the session's inbox socket and its channel (here), its hooks (`handing`), and pull (`check_messages`, `mesh inbox`);
which one is decided in `rungs`, what is pushed when in `gate`. Nothing is polled where something tells: a message, a change
of status or mode, evidence.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

import apsw
import trio

from mesh_protocol.wire.errors import MeshError
from meshd.claude.formats import Fate, PeerReceipt
from meshd.claude.frame import Framed, Sender
from meshd.claude.inbox import Inboxes, NotPushed
from meshd.claude.marks import Mark, PushId, new_mark, new_push_id
from meshd.deliver.channels import Channels
from meshd.deliver.digest import DIGEST_SENDER
from meshd.deliver.fates import ENDINGS
from meshd.deliver.framing import Framer
from meshd.deliver.gate import EVERY_LANE, NO_LANE, URGENT, Budgets, Demote, Show, Step, Sum, Wait, Waiting, choose
from meshd.deliver.given import Given
from meshd.deliver.line import RETRY_S, Line
from meshd.deliver.replies import Replies, Send
from meshd.deliver.rungs import rung_of
from meshd.deliver.watch import Expected, Watch
from meshd.log import Word, get_logger
from meshd.node import Node
from meshd.reading import Reading
from meshd.sessions import Session, Sessions
from meshd.store import inbox as store
from meshd.store.inbox import InboxRow

log = get_logger("deliver")

EVIDENCE_S: Final = 60.0
"""A push whose evidence has not come by then is told to doctor; if nobody knows whether it arrived, it is made once more."""
DEMOTED: Final = f"demoted to next: more than {URGENT} now a minute"
MAX_TAKEN_UP: Final = 1_000
"""Messages that are brought to a session when it comes; what is behind them it gets by asking."""


@dataclass(slots=True, eq=False)
class Ladder:
    """One worker a live session; it exists while messages wait for that session."""

    node: Node
    sessions: Sessions
    inboxes: Inboxes
    reading: Reading
    send: Send
    """Sends what a session answers by its own means."""
    given: Given = field(default_factory=Given)
    framer: Framer = field(init=False)
    channels: Channels = field(init=False)
    replies: Replies = field(init=False)
    _nursery: trio.Nursery | None = None
    _lines: dict[str, Line] = field(default_factory=dict)
    _watches: dict[str, Watch] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.framer = Framer(self.node, self.reading)
        self.channels = Channels(self.take_up)
        self.replies = Replies(self.node, self.sessions, self.inboxes, self.send, self.told)

    async def run(self) -> None:
        """Take up what an earlier life left unshown, then serve for ever."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._lines.clear()
            self._watches.clear()
            nursery.start_soon(self.replies.run)
            for session in self.sessions.live():
                nursery.start_soon(self._try_inbox, session)
                self.take_up(session)
            await trio.sleep_forever()

    def session_arrived(self, session: Session) -> None:
        """A session came, or came back in another process: what waits for it goes out."""
        self._lines.pop(session.key, None)
        session.stir()  # the worker of an earlier process ends
        self.take_up(session, anew=True)
        if self._nursery is not None:
            self._nursery.start_soon(self._try_inbox, session)

    async def _try_inbox(self, session: Session) -> None:
        """Find out before there is a message whether its inbox can be used, so that its next hook knows."""
        if rung_of(session, self.inboxes.uid) == "inbox":
            refused = await self.inboxes.probe(session.claude)
            if refused is not None and not session.trouble:
                session.trouble = refused.value

    def take_up(self, session: Session, *, anew: bool = False) -> None:
        """Bring to a live session all that waits for it. `anew`: what its earlier process held is gone with that."""
        rows = store.session_rows(self.node.db.reader, session.key, session.name, None, None, MAX_TAKEN_UP)
        if anew:
            self.given.release(row.row for row in rows)
        for row in rows:
            self._enqueue(row)

    def surfaced(self, number: int) -> None:
        """A message was stored: wake the person's readers, and bring it to its session if it has a live one."""
        self.node.events.publish("inbox")
        row = store.read_row(self.node.db.reader, number)
        if row is not None:
            self._enqueue(row)

    def _enqueue(self, row: InboxRow) -> None:
        done = row.shown_ms or row.read_ms or self.given.is_put_aside(row.row, trio.current_time())
        if done or row.lane == "low" or self._nursery is None:
            return
        session = self._session_for(row)
        if session is None:
            return
        line = self._line(session)
        line.add(Waiting(row.row, row.lane, row.from_member))
        if not line.served:
            line.served = True
            self._nursery.start_soon(self._serve_safely, line)

    def _line(self, session: Session) -> Line:
        line = self._lines.get(session.key)
        if line is None:
            line = self._lines[session.key] = Line(session)
        return line

    def budgets(self, session: Session) -> Budgets:
        """What the session may still be shown, by whatever way."""
        return self._line(session).budgets

    def _session_for(self, row: InboxRow) -> Session | None:
        """The live session a message belongs to; the person's own messages go to his only live session, if there is one
        and it wants them pushed."""
        if row.session_key:
            session = self.sessions.get(row.session_key)
            return session if session is not None and session.alive else None
        if not row.person or row.to_session:
            return None
        live = self.sessions.in_mesh(row.mesh)
        if len(live) != 1 or live[0].mode != "push" or (row.path == "local" and row.from_session == live[0].name):
            return None
        key, number = live[0].key, row.row
        self.node.db.submit(lambda tx: store.assign_session(tx, number, key))
        return live[0]

    def watch(self, session: Session) -> Watch:
        """The watch over a session's transcript."""
        watch = self._watches.get(session.key)
        if watch is None:
            watch = self._watches[session.key] = Watch(session, self.inboxes.uid, self._found)
            if self._nursery is not None:
                self._nursery.start_soon(watch.run)
        return watch

    # Push.

    async def _serve_safely(self, line: Line) -> None:
        """A step that fails (no room on the disk) leaves its messages to pull and to the next start, and hurts no one."""
        try:
            await self._serve(line)
        except MeshError as error:
            log.warning("delivery to a session stopped", code=Word(error.code))
        finally:
            line.served = False
            if not self._is_served(line):
                line.waiting.clear()

    def _is_served(self, line: Line) -> bool:
        """Its process lives, and no other has taken over the session."""
        return line.session.alive and self._lines.get(line.session.key) is line

    async def _serve(self, line: Line) -> None:
        session = line.session
        while self._is_served(line) and (line.waiting or line.awaited):
            stirred = session.stirred
            step = self._step(line)
            if isinstance(step, Wait):
                line.heeds = step.heeds
                with trio.move_on_after(step.seconds):
                    await stirred.wait()
                line.heeds = EVERY_LANE
                if step.look:
                    self.sessions.look(session)
                continue
            messages = (step.message,) if isinstance(step, Show) else step.messages
            rows = self._still_waiting(line, messages)
            self.sessions.look(session)
            again = self._step(line)
            if len(rows) == len(messages) and type(again) is type(step) and again == step:
                await self._take_step(line, step, rows)

    def _step(self, line: Line) -> Step:
        """What the gate says now, of what was not given out by a tool call lately."""
        now = trio.current_time()
        session = line.session
        waiting = [each for each in line.waiting.values() if self.given.surfaces_at(each.row) <= now]
        if waiting and line.not_before > now:
            return Wait(line.not_before - now, heeds=NO_LANE)
        step = choose(
            waiting,
            line.budgets,
            now,
            mode="inbox" if session.foreign else session.mode,
            status=session.status.word,
            busy_until=line.busy_until,
            mid_turn=rung_of(session, self.inboxes.uid) != "channel",
        )
        if isinstance(step, Wait):
            free = min((at for row in line.waiting if (at := self.given.surfaces_at(row)) > now), default=math.inf)
            return step._replace(seconds=min(step.seconds, free - now))
        return step

    def _still_waiting(self, line: Line, messages: Sequence[Waiting]) -> list[InboxRow]:
        """The rows of those messages that nobody read meanwhile; the others leave the line."""
        rows: list[InboxRow] = []
        for message in messages:
            row = store.read_row(self.node.db.reader, message.row)
            if row is None or row.shown_ms or row.read_ms or row.mesh not in self.node.meshes:
                line.forget(message.row)
            else:
                rows.append(row)
        return rows

    async def _take_step(self, line: Line, step: Show | Sum | Demote, rows: Sequence[InboxRow]) -> None:
        match step:
            case Demote(messages):
                line.waiting.update({each.row: each._replace(lane="next") for each in messages})
                try:
                    await self.reading.demote(rows, DEMOTED)
                except MeshError as error:  # it is pushed as `next` all the same; only its sender does not learn it
                    log.warning("a demotion could not be noted", code=Word(error.code))
            case Show(message):
                mark, push_id = self._names()
                sender = self.framer.sender_of(rows[0])
                framed = self.framer.frame(rows[0], mark)
                expected = Expected(row=message.row, push_id=str(push_id), mark=str(mark), whole=framed.whole)
                if not framed.whole:
                    self.given.preview(message.row)
                if not await self._push(line, expected, sender, framed, (message,), rows[0]):
                    self.given.unpreview(message.row)
            case Sum(messages):
                mark, push_id = self._names()
                expected = Expected(row=0, push_id=str(push_id), mark=str(mark))
                if await self._push(line, expected, DIGEST_SENDER, self.framer.digest(rows, mark), messages, None):
                    self.given.sum_up(message.row for message in messages)
            case _:
                assert_never(step)

    def _names(self) -> tuple[Mark, PushId]:
        rng = self.node.seams.rng
        return new_mark(rng), new_push_id(rng)

    async def _push(
        self,
        line: Line,
        expected: Expected,
        sender: Sender,
        framed: Framed,
        messages: tuple[Waiting, ...],
        row: InboxRow | None,
    ) -> bool:
        """Give a frame to the session's process; whether it took it, or may have. `row`: whose author may be answered."""
        session = line.session
        watch = self.watch(session)
        watch.expect(expected)
        push_id = PushId(expected.push_id)
        expected.channel = rung_of(session, self.inboxes.uid) == "channel"
        if expected.channel:
            outcome = await self.channels.push(session, push_id, sender, framed)
        else:
            address = await self.replies.address(session, row)
            outcome = await self.inboxes.push(session.claude, push_id, sender, framed, address)
        self.node.seams.reached("FP-20")
        now = trio.current_time()
        unconfirmed = outcome is NotPushed.UNCONFIRMED
        if isinstance(outcome, NotPushed) and not unconfirmed:
            watch.forget(expected)
            session.trouble = outcome.value
            line.refused(messages, now)
            log.warning("a message was not pushed", why=outcome, pid=session.claude.pid)
            return False
        if not expected.channel:
            session.trouble = NotPushed.UNCONFIRMED.value if unconfirmed else ""
        line.took(messages, now, digest=not expected.row)
        line.awaited[expected] = now + EVIDENCE_S
        if self._nursery is not None:
            self._nursery.start_soon(self._await_evidence, line, expected, messages, unconfirmed)
        return True

    async def _await_evidence(
        self, line: Line, expected: Expected, messages: Sequence[Waiting], unconfirmed: bool
    ) -> None:
        """What was taken and nothing shows that the agent saw, nor did the session say what became of it. It stays for
        check_messages, and doctor says so."""
        session = line.session
        with trio.move_on_after(EVIDENCE_S):
            await expected.seen.wait()
        line.awaited.pop(expected, None)
        unseen = not expected.seen.is_set()
        if (unseen or expected.fate is not None) and self._is_served(line):
            if unseen:
                self.node.events.publish("unconfirmed", session=session.name)
                if expected.channel:
                    self.channels.silence(session)
                else:
                    session.trouble = "taken_but_not_shown"
            again = unseen and (unconfirmed or expected.channel)
            for message in messages:
                self.given.unsum((message.row,))
                if again or expected.fate is Fate.DROPPED:
                    self.given.unpreview(message.row)
                    line.put_back(message)
        session.stir()

    async def told(self, session: Session, receipt: PeerReceipt) -> None:
        """A session's process says what became of a push. Raises `MeshError` where that cannot be stored."""
        watch = self._watches.get(session.key)
        expected = watch.find(receipt.push_id) if watch is not None else None
        if watch is None or expected is None:
            return  # it was shown already, or is none of ours
        ending = ENDINGS[receipt.fate]
        session.trouble = ending.trouble
        self.node.events.publish("unconfirmed", session=session.name)
        if receipt.fate is Fate.DROPPED:
            self._line(session).not_before = trio.current_time() + RETRY_S
        row = store.read_row(self.node.db.reader, expected.row) if expected.row else None
        if row is not None:
            if ending.kept:
                self.given.keep(row.row)
            else:
                self.given.release((row.row,))
            await self.reading.mark_fate(row, ending.state, session.name, ending.reason)
        expected.settle(receipt.fate)
        if receipt.fate is not Fate.HELD:
            watch.forget(expected)

    async def _found(self, expected: Expected, how: str, turn: bool) -> None:
        row = store.read_row(self.node.db.reader, expected.row) if expected.row else None
        if row is None:
            self.given.sum_up(expected.summed)
            return  # a digest: nobody saw a message by it
        if not expected.whole:
            return  # only its beginning was shown; the rest is shown when it is fetched
        session = self.sessions.get(row.session_key)
        name = session.name if session is not None else ""
        now = self.node.now()
        if turn:
            await self.reading.mark_turn(row, now, name, how)
            return
        await self.reading.mark_shown(row, now, name, how)
        if session is not None and expected.push_id and not expected.channel:
            session.trouble = ""
        self._forget(row)

    def _forget(self, row: InboxRow) -> None:
        """It was shown: nothing about it need be remembered."""
        self.given.forget(row.row)
        line = self._lines.get(row.session_key)
        if line is not None:
            line.forget(row.row)
            line.session.stir()

    # Pull and hooks.

    def is_handed(self, number: int) -> bool:
        """Whether a message was given to its session by a tool call or a hook lately; it is not given again meanwhile."""
        return self.given.is_handed(number, trio.current_time())

    def is_free(self, session: Session, number: int) -> bool:
        """Whether a message is not on its way to its session already."""
        underway = {expected.row for expected in self._line(session).awaited}
        return number not in underway and not self.given.is_put_aside(number, trio.current_time())

    def note_part(self, number: int, start: int, end: int, size: int) -> bool:
        """A tool call returns the characters `start` to `end` of a message; whether its session has them all now."""
        return self.given.note_part(number, start, end, size)

    async def hand_over(self, session: Session, rows: Sequence[InboxRow], whole: set[int], tool_use_id: str) -> None:
        """A tool call of the session is about to return these messages: those it returns to the end count as shown when
        the transcript holds its result. Without that evidence they are given again after a while."""
        watch = self.watch(session)
        for row in rows:
            self.given.hand(row.row, trio.current_time())
            if row.row in whole and not row.shown_ms and not session.foreign:
                watch.expect(Expected(row=row.row, tool_use_id=tool_use_id))
        unassigned = [row.row for row in rows if not row.session_key]
        if unassigned:

            def work(tx: apsw.Connection) -> None:
                for number in unassigned:
                    store.assign_session(tx, number, session.key)

            await self.node.db.write(work)
