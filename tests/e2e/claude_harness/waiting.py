"""Bounded waits on conditions, for code that watches another process."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

T = TypeVar("T")

POLL_SECONDS = 0.01


class WaitedTooLong(AssertionError):
    """The condition did not come true in its time; the text says what was there instead."""


async def until(
    probe: Callable[[], T | None], *, what: str, seconds: float = 20.0, explain: Callable[[], str] | None = None
) -> T:
    """Call `probe` until it gives something true, and return that.

    Raises WaitedTooLong after `seconds`, with `explain()` added to the message.
    """
    deadline = trio.current_time() + seconds
    while True:
        found = probe()
        if found:
            return found
        if trio.current_time() >= deadline:
            detail = f"\n{explain()}" if explain is not None else ""
            raise WaitedTooLong(f"waited {seconds:g} s for {what}{detail}")
        await trio.sleep(POLL_SECONDS)


async def end_process(process: trio.Process, *, grace: float = 5.0) -> int:
    """End one process by its id: SIGTERM, after `grace` seconds SIGKILL. Returns its exit status."""
    with trio.CancelScope(shield=True):
        if process.poll() is None:
            process.terminate()
            with trio.move_on_after(grace):
                await process.wait()
        if process.poll() is None:
            process.kill()
            await process.wait()
    status = process.returncode
    assert status is not None
    return status


@asynccontextmanager
async def alongside(task: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run `task` while the block runs. An error of the block comes out as itself, not wrapped in a group."""
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task)
        try:
            yield
        except BaseException as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
