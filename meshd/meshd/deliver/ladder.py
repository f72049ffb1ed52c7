"""Brings stored messages to the session that is to see them, by the first rung that works, and says shown only on evidence.

Rungs that are built: the session's own inbox socket, and pull (`check_messages`, `mesh inbox`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import apsw
import trio

from mesh_protocol.wire.errors import MeshError
from meshd.claude.frame import Sender, frame_message
from meshd.claude.inbox import Inboxes, NotPushed, Pushed
from meshd.claude.marks import new_mark, new_push_id
from meshd.deliver.watch import Expected, Watch
from meshd.log import Word, get_logger
from meshd.node import Node
from meshd.reading import Reading
from meshd.sessions import Session, Sessions
from meshd.store import inbox as store
from meshd.store.inbox import InboxRow

log = get_logger("deliver")

EVIDENCE_S: Final = 60.0
"""A push whose evidence has not come by then may be made once more, if the session is idle."""
MAX_PUSHES: Final = 3
GATE_S: Final = 1.0
RETRY_S: Final = 5.0
HANDED_S: Final = 120.0
"""A message that a tool call returned is not returned again for so long, unless it is asked for by its id."""


@dataclass(slots=True, eq=False)
class Ladder:
    """One worker a live session; it exists while messages wait for that session."""

    node: Node
    sessions: Sessions
    inboxes: Inboxes
    reading: Reading
    _nursery: trio.Nursery | None = None
    _queues: dict[str, list[int]] = field(default_factory=dict)
    _watches: dict[str, Watch] = field(default_factory=dict)
    _previewed: set[int] = field(default_factory=set)
    _handed: dict[int, float] = field(default_factory=dict)
    _fetched: dict[int, int] = field(default_factory=dict)

    async def run(self) -> None:
        """Take up what an earlier life left unshown, then serve for ever."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._queues.clear()
            self._watches.clear()
            for row in store.unshown_rows(self.node.db.reader):
                self.surfaced(row.row)
            await trio.sleep_forever()

    def session_arrived(self, session: Session) -> None:
        """A session came or came back: what waits for it goes out."""
        for row in store.session_rows(self.node.db.reader, session.key, session.name, None, None, 1000):
            self.surfaced(row.row)

    def surfaced(self, number: int) -> None:
        """A message was stored: wake the person's readers, and bring it to its session if it has a live one."""
        self.node.events.publish("inbox")
        row = store.read_row(self.node.db.reader, number)
        if row is None or row.shown_ms or row.read_ms or row.lane == "low" or self._nursery is None:
            return
        session = self._session_for(row)
        if session is None:
            return
        queue = self._queues.get(session.key)
        if queue is None:
            self._queues[session.key] = [number]
            self._nursery.start_soon(self._serve_safely, session)
        elif number not in queue:
            queue.append(number)

    def _session_for(self, row: InboxRow) -> Session | None:
        """The live session a message belongs to; the person's own messages go to his only live session, if there is one."""
        if row.session_key:
            session = self.sessions.get(row.session_key)
            return session if session is not None and session.alive else None
        if not row.person or row.to_session:
            return None
        live = self.sessions.in_mesh(row.mesh)
        if len(live) != 1 or (row.path == "local" and row.from_session == live[0].name):
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

    async def _serve_safely(self, session: Session) -> None:
        """A step that fails (no room on the disk) leaves its messages to pull and to the next start, and hurts no one."""
        try:
            await self._serve(session)
        except MeshError as error:
            log.warning("delivery to a session stopped", code=Word(error.code))
        finally:
            self._queues.pop(session.key, None)

    async def _serve(self, session: Session) -> None:
        queue = self._queues[session.key]
        pushes: dict[int, int] = {}
        while queue and session.alive:
            # A message with `now` does not wait behind one that waits for the session to be idle.
            rows = [row for row in (store.read_row(self.node.db.reader, n) for n in queue) if row is not None]
            ready = next((row for row in rows if self._gate_open(session, row)), None)
            if ready is None and rows:
                await trio.sleep(GATE_S)
                self.sessions.look(session)
                continue
            if ready is None:
                break
            queue.remove(ready.row)
            if ready.shown_ms or ready.read_ms or ready.row in self._previewed:
                continue
            pushes[ready.row] = pushes.get(ready.row, 0) + 1
            if not await self._push(session, ready) and pushes[ready.row] < MAX_PUSHES:
                queue.append(ready.row)
                await trio.sleep(RETRY_S)

    def _gate_open(self, session: Session, row: InboxRow) -> bool:
        if session.status.word == "dnd":
            return False
        return row.lane == "now" or session.status.word == "idle"

    async def _push(self, session: Session, row: InboxRow) -> bool:
        """Surface a message once and wait for its evidence. False: it may be tried again."""
        self.sessions.look(session)
        mesh = self.node.meshes.get(row.mesh)
        if mesh is None:
            return True
        sender = Sender(
            mesh.name_of(row.from_member), row.from_session or None, mesh.slug if len(self.node.meshes) > 1 else None
        )
        mark, push_id = new_mark(self.node.seams.rng), new_push_id(self.node.seams.rng)
        framed = frame_message(sender, row.msg_id.hex(), mark, self.reading.text_of(row))
        watch = self.watch(session)
        expected = Expected(row=row.row, push_id=str(push_id), mark=str(mark))
        watch.expect(expected)
        outcome = await self.inboxes.push(session.claude, push_id, sender, framed)
        if isinstance(outcome, NotPushed) and outcome is not NotPushed.UNCONFIRMED:
            watch.forget(expected)
            session.trouble = outcome.value
            log.warning("a message was not pushed", why=outcome, pid=session.claude.pid)
            return False
        session.trouble = "" if isinstance(outcome, Pushed) else outcome.value
        if not framed.whole:
            self._previewed.add(row.row)
        with trio.move_on_after(EVIDENCE_S):
            await expected.seen.wait()
            return True
        # It was taken, and nothing shows that the agent saw it: the session's own settings may hold or refuse it. Pushed
        # again it would only be held again; it stays for check_messages, and doctor says so.
        self.node.events.publish("unconfirmed", session=session.name)
        session.trouble = "taken_but_not_shown"
        return isinstance(outcome, Pushed)

    async def _found(self, expected: Expected, how: str, turn: bool) -> None:
        row = store.read_row(self.node.db.reader, expected.row)
        if row is None:
            return
        if expected.row in self._previewed and not expected.tool_use_id:
            return  # only its beginning was shown; the rest is shown when it is fetched
        session = self.sessions.get(row.session_key)
        name = session.name if session is not None else ""
        now = self.node.now()
        if turn:
            await self.reading.mark_turn(row, now, name, how)
        else:
            await self.reading.mark_shown(row, now, name, how)

    # Pull.

    def is_handed(self, number: int) -> bool:
        """Whether a message was given to its session by a tool call lately; it is not given again meanwhile."""
        until = self._handed.get(number, 0.0)
        return until > trio.current_time()

    def note_part(self, number: int, start: int, end: int, size: int) -> bool:
        """A tool call returns the characters `start` to `end` of a message; whether its session has them all now."""
        reached = self._fetched.get(number, 0)
        if start <= reached:
            reached = self._fetched[number] = max(reached, end)
        return reached >= size

    async def hand_over(self, session: Session, rows: Sequence[InboxRow], whole: set[int], tool_use_id: str) -> None:
        """A tool call of the session is about to return these messages: those it returns to the end count as shown when
        the transcript holds its result. Without that evidence they are given again after a while."""
        watch = self.watch(session)
        until = trio.current_time() + HANDED_S
        for row in rows:
            self._handed[row.row] = until
            if row.row in whole and not row.shown_ms:
                watch.expect(Expected(row=row.row, tool_use_id=tool_use_id))
        unassigned = [row.row for row in rows if not row.session_key]
        if unassigned:

            def work(tx: apsw.Connection) -> None:
                for number in unassigned:
                    store.assign_session(tx, number, session.key)

            await self.node.db.write(work)
