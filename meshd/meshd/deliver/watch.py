"""Watching a session's transcript for the proof that a message was shown, and that a turn began after it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import trio

from mesh_protocol.wire.errors import MeshError
from meshd.claude.formats import Fate, HookContextSeen, PushSeen, ToolResultSeen
from meshd.claude.marks import Mark, PushId
from meshd.claude.transcript import Follower, TurnStarted
from meshd.log import Word, get_logger
from meshd.sessions import Session

log = get_logger("deliver")

FAST_S: Final = 0.05
SLOW_S: Final = 1.0
FAST_FOR_S: Final = 20.0
GIVE_UP_S: Final = 900.0
"""Evidence that has not come by then will not be looked for any more; the message counts as not shown."""
HELD_S: Final = 4 * 3600.0
"""The same for what the session said that it holds: its person may still let it through."""


@dataclass(slots=True, eq=False)
class Expected:
    """A surfacing whose evidence is awaited: found by push id or mark, or by the tool call that returned it."""

    row: int
    push_id: str = ""
    mark: str = ""
    tool_use_id: str = ""
    whole: bool = True
    """Not only its beginning is shown: then its evidence proves that the message was."""
    hook: bool = False
    """It was handed to a hook: only a hook's context proves it."""
    channel: bool = False
    """It was sent by a channel, of which nobody tells whether the session reads it."""
    summed: tuple[int, ...] = ()
    """The rows that it is a digest of, where a hook took it along."""
    seen: trio.Event = field(default_factory=trio.Event)
    since: float = field(default_factory=trio.current_time)
    fate: Fate | None = None
    """What the session itself said that it did with it, if anything."""

    @property
    def patience_s(self) -> float:
        """How long its evidence is looked for."""
        return HELD_S if self.fate is Fate.HELD else GIVE_UP_S

    def settle(self, fate: Fate) -> None:
        """The session told what became of it: nobody need wait to see it shown."""
        self.fate = fate
        self.seen.set()


Found: TypeAlias = Callable[[Expected, str, bool], Awaitable[None]]
"""Told of a surfacing, how it is known, and whether this is the turn that began after it."""


@dataclass(slots=True, eq=False)
class Watch:
    """One session's transcript. It is read only while something is expected."""

    session: Session
    uid: int
    found: Found
    _follower: Follower | None = None
    _expected: list[Expected] = field(default_factory=list)
    _turns: list[Expected] = field(default_factory=list)
    _more: trio.Event = field(default_factory=trio.Event)
    _reading: trio.Lock = field(default_factory=trio.Lock)

    def expect(self, expected: Expected) -> Expected:
        """Must be called before the surfacing, so that its evidence lies behind the place where reading starts."""
        self._follow(self.session.claude.session_id)
        self._expected.append(expected)
        self._more.set()
        return expected

    def forget(self, expected: Expected) -> None:
        """It was not surfaced after all."""
        if expected in self._expected:
            self._expected.remove(expected)

    def find(self, push_id: str) -> Expected | None:
        """The push of that id, while its evidence is awaited."""
        return next((each for each in self._expected if each.push_id == push_id), None)

    def _follow(self, session_id: str) -> None:
        """A `/clear` moves the session to another transcript, of which everything is new."""
        if self._follower is not None and self._follower.session_id == session_id:
            if not self._expected and not self._turns:
                self._follower = Follower(self.session.config, session_id, self.uid, from_end=True)
            return
        self._follower = Follower(self.session.config, session_id, self.uid, from_end=self._follower is None)

    async def run(self) -> None:
        """Read while something is expected; for ever."""
        while True:
            if not self._expected and not self._turns:
                self._more = trio.Event()
                await self._more.wait()
            if not await self.look():
                await trio.sleep(self._pause())

    async def look(self) -> bool:
        """Read what was written since the last time, if anything is expected; whether there is more."""
        if not self._expected and not self._turns:
            return False
        async with self._reading:
            self._follow(self.session.claude.session_id)
            assert self._follower is not None
            observations, more = self._follower.read()
            for observation in observations:
                if isinstance(observation, TurnStarted):
                    await self._turn_began()
                else:
                    await self._match(observation)
        return more

    def _pause(self) -> float:
        now = trio.current_time()
        self._expected = [e for e in self._expected if now - e.since < e.patience_s]
        self._turns = [e for e in self._turns if now - e.since < GIVE_UP_S]
        newest = max((e.since for e in (*self._expected, *self._turns)), default=now)
        return FAST_S if now - newest < FAST_FOR_S else SLOW_S

    async def _match(self, observation: object) -> None:
        for expected in list(self._expected):
            match observation:
                case PushSeen() if expected.push_id and observation.proves(
                    PushId(expected.push_id), Mark(expected.mark)
                ):
                    how = f"transcript:{observation.path.value}"
                case HookContextSeen(marks) if expected.hook and Mark(expected.mark) in marks:
                    how = "hook_context"
                case ToolResultSeen(tool_use_id=tool, whole=True) if tool and tool == expected.tool_use_id:
                    how = "tool_result"
                case _:
                    continue
            if not await self._told(expected, how, False):
                continue
            self._expected.remove(expected)
            self._turns.append(expected)
            expected.seen.set()

    async def _turn_began(self) -> None:
        began, self._turns = self._turns, []
        for expected in began:
            await self._told(expected, "transcript:turn", True)

    async def _told(self, expected: Expected, how: str, turn: bool) -> bool:
        """False when the fact could not be stored; then the message counts as not shown, which loses nothing."""
        try:
            await self.found(expected, how, turn)
        except MeshError as error:
            log.warning("evidence could not be stored", code=Word(error.code))
            return False
        return True
