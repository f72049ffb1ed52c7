"""A trio program that lives between the steps of a test that is not asynchronous, and runs only while a step asks it to.

Hypothesis drives its state machines step by step; a world of daemons is one long program in virtual time. trio's guest
mode puts the two together: what trio wants to do next is queued here and done only while `call` waits for its result.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from typing import Final, TypeVar

import outcome
import trio
from trio.testing import MockClock

from world.seeds import seeded_scheduler

T = TypeVar("T")

TICKS: Final = 2_000_000
"""Rounds of trio's loop in one step: far more than any step takes."""


class GuestRun:
    """Virtual time, one seed, one history. `close` it."""

    def __init__(self, seed: int) -> None:
        self._todo: deque[Callable[[], object]] = deque()  # never more than what one round of the loop asks for
        self._ended: list[outcome.Outcome[None]] = []
        self._over = trio.Event()
        self._token: list[trio.lowlevel.TrioToken] = []
        self._nursery: trio.Nursery
        self._stack = ExitStack()
        self._stack.enter_context(seeded_scheduler(seed))
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._todo.append,
            done_callback=self._ended.append,
            clock=MockClock(autojump_threshold=0),
            host_uses_signal_set_wakeup_fd=True,
        )
        self._pump(lambda: bool(self._token))

    async def _main(self) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._token.append(trio.lowlevel.current_trio_token())
            await self._over.wait()
            nursery.cancel_scope.cancel()

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` to its end, everything else beside it; its result, or what it raised."""
        results: list[outcome.Outcome[T]] = []

        async def run() -> None:
            results.append(await outcome.acapture(work))

        self._token[0].run_sync_soon(lambda: self._nursery.start_soon(run))
        self._pump(lambda: bool(results))
        return results[0].unwrap()

    def hold(self, context: AbstractAsyncContextManager[T]) -> T:
        """Enter `context` in a task of its own, which leaves it again when this is closed."""
        entered: list[outcome.Outcome[T]] = []

        async def live() -> None:
            async with context as value:
                entered.append(outcome.Value(value))
                await self._over.wait()

        self._token[0].run_sync_soon(lambda: self._nursery.start_soon(live))
        self._pump(lambda: bool(entered))
        return entered[0].unwrap()

    def close(self) -> None:
        """End the program. Raises what its contexts raise as they are left."""
        try:
            if not self._ended:
                self._token[0].run_sync_soon(self._over.set)
                self._pump(lambda: bool(self._ended))
            self._ended[0].unwrap()
        finally:
            self._stack.close()

    def _pump(self, enough: Callable[[], bool]) -> None:
        for _ in range(TICKS):
            if enough():
                return
            if self._ended:
                self._ended[0].unwrap()
                raise AssertionError("the program ended before its time")
            assert self._todo, "in virtual time nothing waits for the world outside"
            self._todo.popleft()()
        raise AssertionError("this step does not come to an end")
