"""One daemon a home: a second says who runs, a stale socket is replaced, SIGTERM drains, a restored copy is refused."""

import os
import shutil
import signal
import socket
import sqlite3
from pathlib import Path

import pytest
import trio

from machines.machine import Machine, running
from machines.pair import open_pair
from machines.program import NotStarted
from machines.talk import open_talk, read_where
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.wire.errors import MeshError


def _generation(machine: Machine) -> int:
    with sqlite3.connect(machine.home / "mesh.db") as db:
        (value,) = db.execute("SELECT value FROM meta WHERE key='generation'").fetchone()
    return int.from_bytes(value, "little")


async def _until_finding(machine: Machine, name: str, text: str) -> None:
    with trio.fail_after(20):
        while text not in (await machine.findings())[name]["text"]:
            await trio.sleep(0.05)


async def test_a_second_daemon_says_who_runs_already_and_exits(tmp_path: Path) -> None:
    first = Machine("alice", tmp_path)
    second = Machine("second", tmp_path, home=first.home)
    async with running(first):
        await second.spawn()
        assert await second.ended() == 75
        said = second.said()
        assert len(said.splitlines()) == 1
        for part in (str(first.pid), str(first.home), (await first.status())["version"]):
            assert part in said
        assert (await first.status())["pid"] == first.pid


async def test_of_many_daemons_started_at_once_one_serves(tmp_path: Path) -> None:
    many = [Machine(f"daemon-{number}", tmp_path, home=tmp_path / "home") for number in range(4)]
    served: list[Machine] = []

    async def start(machine: Machine) -> None:
        try:
            await machine.start()
            served.append(machine)
        except NotStarted:
            assert machine.process.returncode == 75

    async with running():
        async with trio.open_nursery() as nursery:
            for machine in many:
                nursery.start_soon(start, machine)
        (one,) = served
        assert (await one.status())["pid"] == one.pid
        await one.kill()


async def test_the_socket_of_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    machine = Machine("alice", tmp_path)
    async with running(machine):
        await machine.kill()
        path = Path(read_where(machine.home))
        assert path.is_socket()
        await machine.start()
        assert (await machine.status())["state"] == "ready"
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_something_that_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    machine = Machine("alice", tmp_path)
    async with running(machine):
        await machine.stop()
        path = Path(read_where(machine.home))
        path.unlink(missing_ok=True)
        path.write_text("precious")
        await machine.spawn()
        assert await machine.ended() == 78
        assert path.read_text() == "precious"
        assert str(path) in machine.tail(1)


async def test_sigterm_drains_and_exits_0_with_every_kind_of_client_connected(tmp_path: Path) -> None:
    async with open_pair(tmp_path) as pair:
        bob = pair.bob
        half = socket.socket(socket.AF_UNIX)
        half.connect(read_where(bob.home))
        half.sendall(b"\x00\x00\x00\x20\x00\x00\x00\x00half a ")
        async with open_talk(bob.home) as waiting, open_talk(bob.home) as listening:
            await listening.call("events.subscribe", kinds=[])
            cut_off: list[str] = []

            async def wait() -> None:
                try:
                    await waiting.call("inbox.read", wait_s=60.0)
                except (LinkClosed, MeshError) as error:
                    cut_off.append(type(error).__name__)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.sleep(0.1)
                sent = [
                    (await bob.call("message.send", f"last words {n}", to="alice", idempotency_key=f"{n}"))["id"]
                    for n in range(20)
                ]
                assert await bob.stop() == 0
        assert cut_off
        half.close()
        assert not Path(read_where(bob.home)).exists(), "a socket that nobody serves"
        await bob.start()
        with trio.fail_after(20):
            for msg_id in sent:
                while (await bob.call("message.status", id=msg_id))["state"] != "stored":
                    await trio.sleep(0.02)
        rows = (await pair.alice.call("inbox.read"))["messages"]
        assert [row["message"] for row in rows] == [f"last words {n}" for n in range(20)]


async def test_sigterm_the_moment_it_is_ready_exits_0(tmp_path: Path) -> None:
    machine = Machine("alice", tmp_path)
    for _ in range(3):
        await machine.start()
        os.kill(machine.pid, signal.SIGTERM)
        assert await machine.ended() == 0


async def test_a_restart_keeps_meshes_and_messages_and_raises_the_generation(tmp_path: Path) -> None:
    async with open_pair(tmp_path) as pair:
        sent = await pair.alice.call("message.send", "remember me", to="bob", wait="stored")
        before = _generation(pair.bob)
        meshes = (await pair.bob.call("mesh.list"))["meshes"]
        assert await pair.bob.stop() == 0
        await pair.bob.start()
        await pair.bob.until_online()
        assert _generation(pair.bob) > before
        after = (await pair.bob.call("mesh.list"))["meshes"]
        assert [(m["id"], m["mesh"], m["me"], m["members"]) for m in after] == [
            (m["id"], m["mesh"], m["me"], m["members"]) for m in meshes
        ]
        (row,) = (await pair.bob.call("inbox.read"))["messages"]
        assert (row["id"], row["message"], row["sender"]) == (sent["id"], "remember me", "alice")


async def test_a_restored_old_copy_is_refused_by_the_broker_and_told(tmp_path: Path) -> None:
    async with open_pair(tmp_path) as pair:
        assert await pair.bob.stop() == 0
        shutil.copytree(pair.bob.home, tmp_path / "copy", ignore=shutil.ignore_patterns("run"))
        for _ in range(2):  # time goes on after the backup
            await pair.bob.start()
            await pair.bob.until_online()
            await pair.bob.stop()
        await pair.bob.start()
        await pair.bob.until_online()
        copy = Machine("restored", tmp_path, home=tmp_path / "copy")
        async with running(copy):
            await _until_finding(copy, "mesh team", "another daemon uses this machine's key")
            assert (await copy.findings())["mesh team"]["ok"] == "bad"
            await pair.alice.call("message.send", "for the true one", to="bob", wait="stored")
            (row,) = (await pair.bob.call("inbox.read"))["messages"]
            assert row["message"] == "for the true one"
            assert not (await copy.call("inbox.read"))["messages"]


async def test_of_two_daemons_with_one_key_one_is_refused_and_told(tmp_path: Path) -> None:
    """The copy is as new as the original, so the broker cannot know which is the true one; it serves one of them."""
    async with open_pair(tmp_path) as pair:
        await pair.bob.kill()
        shutil.copytree(pair.bob.home, tmp_path / "copy", ignore=shutil.ignore_patterns("run"))
        await pair.bob.start()
        await pair.bob.until_online()
        twin = Machine("twin", tmp_path, home=tmp_path / "copy")
        async with running(twin):
            await twin.kill()
            await twin.start()  # its generation is now above the original's
            await twin.until_online()
            await _until_finding(pair.bob, "mesh team", "another daemon uses this machine's key")


@pytest.mark.parametrize("missing", ["keys", "mesh.db"])
async def test_keys_and_database_that_do_not_belong_together_are_not_started(tmp_path: Path, missing: str) -> None:
    first, other = Machine("alice", tmp_path), Machine("bob", tmp_path)
    async with running(first, other):
        await first.stop()
        await other.stop()
        for home, source in ((first.home, other.home),):
            shutil.rmtree(home / missing) if (home / missing).is_dir() else (home / missing).unlink()
            if missing == "keys":
                shutil.copytree(source / missing, home / missing)
            else:
                shutil.copy(source / missing, home / missing)
        await first.spawn()
        assert await first.ended() == 78
        assert "put back" in first.tail(1) or "move" in first.tail(1)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE chain SET record = x'00' WHERE seq = 2",
        "DELETE FROM chain WHERE seq = 2",
        "UPDATE chain SET record = (SELECT record FROM chain WHERE seq = 1) WHERE seq = 2",
        "UPDATE epoch_key SET sealed = zeroblob(72)",
        "UPDATE prekey SET sealed = x''",
    ],
)
async def test_a_damaged_database_is_not_started_on_and_is_named(tmp_path: Path, damage: str) -> None:
    async with open_pair(tmp_path) as pair:
        await pair.bob.stop()
        with sqlite3.connect(pair.bob.home / "mesh.db") as db:
            db.execute(damage)
        db.close()
        status, said = await pair.bob.run_once()
        assert status == 78
        assert said.count("\n") == 1
        assert "mesh.db is damaged in the mesh team (" in said
        assert "backup" in said
