"""kill -9 while a home is made: in a migration, between key store and database, while a mesh and its prekey are made."""

import signal
import sqlite3
from pathlib import Path

import pytest
import trio

from machines.campaign import require_quiet
from machines.machine import BrokerProgram, Machine, running
from machines.pair import join
from machines.program import Program
from machines.talk import NoDaemon
from mesh_protocol.io.link import LinkClosed

DEATH_SECONDS = 20.0


async def die(program: Program, point: str, arrival: int) -> None:
    """Start it so that it dies there by itself."""
    program.doom(point, arrival)
    await program.spawn()
    await until_dead(program)
    program.doom(None)


async def until_dead(program: Program) -> None:
    assert await program.ended(DEATH_SECONDS) == -signal.SIGKILL, program.tail()


def version_of(database: Path) -> int:
    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


@pytest.mark.slow
async def test_a_migration_that_is_cut_off_is_done_again(tmp_path: Path) -> None:
    alice, broker = Machine("alice", tmp_path), BrokerProgram(tmp_path)
    await die(alice, "FP-16", 1)
    assert version_of(alice.home / "mesh.db") == 0
    await die(alice, "FP-16", 2)
    assert version_of(alice.home / "mesh.db") == 1
    await die(broker, "FP-16", 1)
    assert version_of(broker.data / "broker.db") == 0
    await die(alice, "FP-19", 1)
    async with running(broker, alice):
        await alice.call("mesh.new", name="team", me="alice", broker=broker.url)
        await alice.until_online()
    for program in (alice, broker):
        require_quiet(program)


@pytest.mark.slow
@pytest.mark.parametrize("arrival", [1, 2, 3, 4])
async def test_a_mesh_whose_making_is_cut_off_leaves_a_machine_that_makes_another(arrival: int, tmp_path: Path) -> None:
    """First: the broker has the mesh, the machine has stored nothing. Second: all is stored, its prekey not told yet. Third
    and fourth: the same of its one-time prekeys."""
    alice, bob, broker = Machine("alice", tmp_path), Machine("bob", tmp_path), BrokerProgram(tmp_path)
    async with running(broker, bob):
        alice.doom("FP-18", arrival)
        await alice.start()
        try:
            await alice.call("mesh.new", name="lost", me="alice", broker=broker.url, seconds=10)
        except (LinkClosed, NoDaemon, trio.TooSlowError):
            pass
        await until_dead(alice)
        alice.doom(None)
        async with running(alice):
            meshes = (await alice.status())["meshes"]
            assert [mesh["mesh"] for mesh in meshes] == ["lost"] * (arrival > 1)
            await join(alice, bob, broker.url, "found")
            await alice.until_online()
            await bob.until_online()
            sent = await alice.call("message.send", "hello", to="bob", mesh="found", wait="stored", timeout=20)
            assert sent["reached"]
    for program in (alice, bob, broker):
        require_quiet(program)
