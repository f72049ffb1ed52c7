"""Attempts to link another device of the same person: one at a time, on either side, each with an end (crypto design 2.13)."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from mesh_protocol.io.link import LinkClosed
from mesh_protocol.ops.linking import ENDS
from mesh_protocol.wire.errors import MeshError
from meshd.failure import first_error
from meshd.log import Word, get_logger

log = get_logger("linking")

ATTEMPT_S: Final = 600.0
"""How long an attempt may take; the broker's meeting lasts as long."""
ABANDONED_S: Final = 30.0
"""An attempt that nobody has asked about for so long, beyond what he waits for, has lost its command."""
KEPT_S: Final = 300.0
"""How long after its end an attempt can be asked about."""
MAX_ATTEMPTS: Final = 16

WAITING: Final = "waiting"
WORDS: Final = "words"
ENTERING: Final = "entering"
DONE: Final = "done"
FAILED: Final = "failed"


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt. `side` is own (this device is in the mesh) or new. `words` are there from the state `words` on.

    `device` is the other device, in hex, once it is known. `verdict` is what the person said of the words.
    """

    id: str
    side: str
    mesh: str
    state: str = WAITING
    words: tuple[str, ...] = ()
    device: str = ""
    error: MeshError | None = None
    settle: Callable[[], Awaitable[None]] | None = None
    """What has to be done at its end, however it ended."""
    verdict: bool | None = None
    decided: trio.Event = field(default_factory=trio.Event)
    ended_at: float = math.inf
    due: float = math.inf
    """When it is over whatever happens, by trio's clock."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    changed: trio.Event = field(default_factory=trio.Event)

    @property
    def over(self) -> bool:
        return self.state in (DONE, FAILED)

    def move(self, state: str) -> None:
        """It got further: wake whoever waits."""
        self.state = state
        if self.over:
            self.ended_at = trio.current_time()
        self.changed.set()
        self.changed = trio.Event()

    def show(self, words: tuple[str, ...], device: str) -> None:
        """Both sides can show their words now."""
        self.words, self.device = words, device
        self.move(WORDS)
        self.attend(0)

    def fail(self, error: MeshError) -> None:
        self.error = error
        self.move(FAILED)

    def decide(self, *, same: bool) -> None:
        """The person compared the words. Raises `link_ended` when there is nothing to decide any more."""
        if self.state == FAILED and self.error is not None and self.error.code in ("link_ended", "words_differ"):
            raise self.error
        if self.side != "own" or self.state != WORDS or self.decided.is_set():
            raise MeshError("link_ended", why="there are no words to compare, or you have answered already")
        self.verdict = same
        self.decided.set()

    def attend(self, seconds: float) -> None:
        """Somebody asks about it, and may wait for so long. Whoever compares words may go to another room for it."""
        if self.side == "own" and self.state == WORDS:
            self.scope.deadline = self.due
            return
        self.scope.deadline = min(self.due, trio.current_time() + seconds + ABANDONED_S)


Work = Callable[[Attempt], Awaitable[None]]


@dataclass(slots=True, eq=False)
class Linking:
    """All attempts of this daemon. `rng` names them; `failed` is told of bugs."""

    rng: Callable[[int], bytes]
    failed: Callable[[str, BaseException], str]
    _attempts: dict[str, Attempt] = field(default_factory=dict)
    _nursery: trio.Nursery | None = None
    _one: trio.Lock = field(default_factory=trio.Lock)

    async def run(self) -> None:
        """Runs the attempts; for ever."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def begin(self, side: str, mesh: str, work: Work) -> Attempt:
        """Start an attempt, once an earlier one on the same side has cleared up. Raises `busy` before the daemon serves."""
        async with self._one:
            return await self._begin(side, mesh, work)

    async def _begin(self, side: str, mesh: str, work: Work) -> Attempt:
        if self._nursery is None:
            raise MeshError("busy", retry_after=1)
        for earlier in [*self._attempts.values()]:
            if earlier.side == side and not earlier.over:
                await self.end(earlier, "it was begun anew")
        self._forget_old()
        attempt = Attempt(self.rng(8).hex(), side, mesh, due=trio.current_time() + ATTEMPT_S)
        attempt.attend(0)
        self._attempts[attempt.id] = attempt
        self._nursery.start_soon(self._work, attempt, work)
        return attempt

    def _forget_old(self) -> None:
        old = trio.current_time() - KEPT_S
        over = sorted((each for each in self._attempts.values() if each.over), key=lambda each: each.ended_at)
        for attempt in over[: max(0, len(over) - MAX_ATTEMPTS + 1)] + [each for each in over if each.ended_at < old]:
            self._attempts.pop(attempt.id, None)

    async def _work(self, attempt: Attempt, work: Work) -> None:
        """The work, which may be stopped at any point, then what settles it, which only the daemon's own end stops."""
        with attempt.scope:
            await self._contained(attempt, lambda: work(attempt))
        if attempt.settle is not None:
            await self._contained(attempt, attempt.settle)
        if attempt.over:
            return
        # Without an error its time was over, or nobody asked about it.
        error = attempt.error or MeshError("link_ended", why="it took too long, or its command went away")
        if error.code not in (*ENDS, "internal"):
            error = MeshError("link_ended", why=error.message)
        log.info("linking a device ended", side=Word(attempt.side), code=Word(error.code))
        attempt.fail(error)

    async def _contained(self, attempt: Attempt, step: Callable[[], Awaitable[None]]) -> None:
        """What goes wrong is the attempt's error; a bug costs this attempt, and no other."""
        try:
            await step()
        except* MeshError as group:
            error = first_error(group)
            assert isinstance(error, MeshError)
            attempt.error = error
        except* (LinkClosed, trio.TooSlowError):
            attempt.error = MeshError("link_ended", why="the broker stopped answering")
        except* Exception as group:  # noqa: BLE001 - see above
            attempt.error = MeshError("internal", reference=self.failed("linking", group))

    def find(self, attempt_id: str, side: str = "") -> Attempt:
        """Raises `not_found`."""
        attempt = self._attempts.get(attempt_id)
        if attempt is None or side not in ("", attempt.side):
            raise MeshError("not_found", what="such attempt to link a device", id=attempt_id)
        return attempt

    async def wait(self, attempt: Attempt, seen: str, seconds: float) -> None:
        """Until the attempt is in another state than `seen`, or for so long. What failed raises its `MeshError`."""
        attempt.attend(seconds)
        with trio.move_on_after(seconds):
            while attempt.state == seen:
                await attempt.changed.wait()
        if attempt.state == FAILED and attempt.error is not None:
            raise attempt.error

    async def end(self, attempt: Attempt, why: str) -> None:
        """Stop an attempt, and wait until its work has cleared up. What cannot be stopped any more goes on to its end."""
        self._stop(attempt, why)
        while not attempt.over:
            await attempt.changed.wait()

    def _stop(self, attempt: Attempt, why: str) -> None:
        if not attempt.over:
            attempt.error = MeshError("link_ended", why=why)
            attempt.scope.cancel()
