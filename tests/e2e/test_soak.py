"""A short soak, and that its instruments see what they are for."""

import os
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from machines.growth import MIB, Growth, slope
from machines.machine import free_port
from machines.program import Program
from machines.proxy import bad_network
from machines.soak import soak

SECONDS = float(os.environ.get("MESH_SOAK", "12"))
"""`make soak` goes on for ten minutes."""
SEED = int(os.environ.get("MESH_SEED", str(random.SystemRandom().randrange(2**32))))


@pytest.mark.slow
async def test_kills_and_a_bad_network_lose_double_and_reorder_nothing_and_nobody_grows(tmp_path: Path) -> None:
    print(f"MESH_SEED={SEED}")
    assert await soak(tmp_path, SEED, SECONDS) == []


def test_a_process_that_grows_is_seen() -> None:
    program: Program = SimpleNamespace(name="it")  # type: ignore[assignment]  # only its name is looked at
    growth = Growth(program, [0.0, 10.0, 20.0], [50 * MIB, 55 * MIB, 60 * MIB], [10, 20, 30])
    assert round(growth.memory_growth, 3) == 10
    assert round(growth.descriptor_growth, 3) == 20


def test_a_process_that_goes_up_and_down_does_not_grow() -> None:
    assert slope([0, 1, 2, 3], [5, 7, 7, 5]) == 0


async def _echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def test_the_bad_network_passes_on_swallows_and_cuts() -> None:
    target, front = free_port(), free_port()
    async with trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: trio.serve_tcp(_echo, target, host="127.0.0.1", task_status=task_status)
        )
        async with bad_network(front, target, random.Random(1)) as proxy:
            with trio.fail_after(10):
                async with await trio.open_tcp_stream("127.0.0.1", front) as first:
                    await first.send_all(b"hello")
                    assert await first.receive_some(5) == b"hello"
                    proxy.swallow(1.0)
                    with trio.move_on_after(0.2) as patience:
                        await first.send_all(b"into a hole")
                        await first.receive_some(1)
                    assert patience.cancelled_caught, "what a half-open connection takes it does not answer"
                    proxy.heal()
                    assert await first.receive_some(1) == b"", "a wire with a hole in it must end"
                proxy.refuses = True
                async with await trio.open_tcp_stream("127.0.0.1", front) as refused:
                    assert await refused.receive_some(1) == b""
        nursery.cancel_scope.cancel()
