"""A disk without room (RLIMIT_FSIZE): new things are refused in one line, what was promised is kept, and it goes on."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from machines.machine import Machine, running
from machines.pair import Pair, open_pair
from machines.program import Program
from mesh_protocol.wire.errors import CODES, RemoteError

FULL_TEXT = CODES["storage_full"].text


def _fill(program: Program, database: Path) -> None:
    """No room beyond what the write-ahead log has now."""
    program.limit_files(Path(f"{database}-wal").stat().st_size)


async def _send(machine: Machine, to: str, text: str) -> str:
    return str((await machine.call("message.send", text, to=to, idempotency_key=text))["id"])


async def _refusal(machine: Machine, to: str, text: str) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        await _send(machine, to, text)
    return caught.value


async def _until(machine: Machine, ids: list[str], state: str) -> None:
    with trio.fail_after(40):
        async with machine.talk() as talk:
            for msg_id in ids:
                while (found := (await talk.call("message.status", id=msg_id))["state"]) != state:
                    assert found in ("queued", "accepted", "stored"), found
                    await trio.sleep(0.05)


async def _texts(machine: Machine) -> list[str]:
    return [row["message"] for row in (await machine.call("inbox.read", all=True, limit=100))["messages"]]


async def _restarted(program: Program) -> None:
    await program.kill()
    program.limit_files(None)
    await program.start()


async def _given_room(program: Program) -> None:
    program.limit_files(None)


HEALS: dict[str, Callable[[Program], object]] = {"after a restart": _restarted, "without one": _given_room}


@pytest.mark.parametrize("heal", HEALS)
async def test_a_sender_without_room_refuses_and_keeps_what_it_promised(tmp_path: Path, heal: str) -> None:
    async with open_pair(tmp_path) as pair:
        alice, bob = pair.alice, pair.bob
        await pair.broker.stop()
        promised = [await _send(alice, "bob", f"before {n}") for n in range(5)]
        _fill(alice, alice.home / "mesh.db")
        refused = await _refusal(alice, "bob", "too much")
        assert (refused.code, refused.message) == ("storage_full", FULL_TEXT)
        assert "\n" not in refused.message
        # What is stored can be read, and the daemon goes on trying.
        assert (await alice.call("message.status", id=promised[0]))["message"] == "before 0"
        assert (await alice.findings())["daemon"]["ok"] == "ok"
        await pair.broker.start()
        await trio.sleep(2)
        assert alice.running, alice.tail()
        await HEALS[heal](alice)  # type: ignore[misc]
        await _until(alice, promised, "stored")
        promised.append(await _send(alice, "bob", "too much"))
        await _until(alice, promised, "stored")
        assert await _texts(bob) == [*(f"before {n}" for n in range(5)), "too much"]


@pytest.mark.parametrize("heal", HEALS)
async def test_a_recipient_without_room_takes_everything_once_when_there_is_room(tmp_path: Path, heal: str) -> None:
    async with open_pair(tmp_path) as pair:
        alice, bob = pair.alice, pair.bob
        await _until(alice, [await _send(alice, "bob", "first")], "stored")
        _fill(bob, bob.home / "mesh.db")
        sent = [await _send(alice, "bob", f"message {n}") for n in range(20)]
        await _until(alice, sent[:1], "accepted")
        connects = bob.said().count("link lost")
        await trio.sleep(4)
        assert bob.said().count("link lost") - connects < 20, "it hammers the broker"
        assert bob.running, bob.tail()
        assert (await bob.findings())["mesh team"]["text"]
        assert await _texts(bob) == ["first"]
        await HEALS[heal](bob)  # type: ignore[misc]
        await _until(alice, sent, "stored")
        assert await _texts(bob) == ["first", *(f"message {n}" for n in range(20))]


@pytest.mark.parametrize("heal", HEALS)
async def test_a_broker_without_room_keeps_what_it_accepted_and_senders_keep_the_rest(
    tmp_path: Path, heal: str
) -> None:
    async with open_pair(tmp_path) as pair:
        alice, bob, broker = pair.alice, pair.bob, pair.broker
        await bob.stop()
        accepted = [await _send(alice, "bob", f"accepted {n}") for n in range(10)]
        await _until(alice, accepted, "accepted")
        _fill(broker, broker.data / "broker.db")
        kept = [await _send(alice, "bob", f"kept {n}") for n in range(10)]
        await trio.sleep(2)
        assert broker.running, broker.tail()
        assert (await alice.call("message.status", id=kept[-1]))["state"] == "queued"
        carol = Machine("carol", tmp_path)
        async with running(carol):
            with pytest.raises(RemoteError) as refused:
                await carol.call("mesh.new", name="mine", me="carol", broker=broker.url)
            assert "disk is full" in refused.value.message
            await HEALS[heal](broker)  # type: ignore[misc]
            await bob.start()
            await _until(alice, [*accepted, *kept], "stored")
            await carol.call("mesh.new", name="mine", me="carol", broker=broker.url)
        assert await _texts(bob) == [*(f"accepted {n}" for n in range(10)), *(f"kept {n}" for n in range(10))]


@pytest.mark.parametrize("size", [0, 100, 4096, 20_000])
async def test_a_daemon_that_cannot_start_for_want_of_room_says_so_in_one_line(tmp_path: Path, size: int) -> None:
    bob = Machine("bob", tmp_path)
    async with running(bob):
        device = (await bob.status())["device"]
        await bob.stop()
        bob.limit_files(size)
        status, said = await bob.run_once()
        assert status == 75
        assert said.count("\n") == 1
        assert f"the disk of {bob.home} is full" in said
        bob.limit_files(None)
        await bob.start()
        assert (await bob.status())["device"] == device


async def test_a_broker_that_dies_without_room_keeps_what_it_accepted(tmp_path: Path) -> None:
    async with open_pair(tmp_path) as pair:
        await _kill_while_full(pair)
        assert await _texts(pair.bob) == [f"accepted {n}" for n in range(30)]


async def _kill_while_full(pair: Pair) -> None:
    await pair.bob.stop()
    accepted = [await _send(pair.alice, "bob", f"accepted {n}") for n in range(30)]
    await _until(pair.alice, accepted, "accepted")
    _fill(pair.broker, pair.broker.data / "broker.db")
    await pair.broker.kill()
    await _restarted(pair.broker)
    await pair.bob.start()
    await _until(pair.alice, accepted, "stored")
