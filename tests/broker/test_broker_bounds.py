"""What one device may ask of the broker at most, and what the broker keeps in memory for it."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from broker_kit.people import Device, envelope, new_mesh, seeded
from broker_kit.stand import HeldWorker, open_memory_stand
from mesh_broker.acks import MAX_RANGES, AckQueue, merged
from mesh_broker.limits import Limits
from mesh_protocol.broker_api import AcceptAnswer, MailSend, Stats, StatsAnswer
from mesh_protocol.broker_chain import ChainRead
from mesh_protocol.io.connection import Call
from mesh_protocol.wire.errors import RemoteError


class SlowStore:
    """Takes acknowledgements and says when each is written: the one method of a store that is asked here."""

    def __init__(self) -> None:
        self.written: list[tuple[int, list[tuple[int, int]]]] = []
        self._waiting: list[Callable[[], None]] = []

    def acknowledge(self, box: int, acked: int, sacks: Sequence[tuple[int, int]]) -> "SlowStore":
        self.written.append((acked, list(sacks)))
        return self

    def settled(self, callback: Callable[[], None]) -> None:
        self._waiting.append(callback)

    def finish(self) -> None:
        self._waiting.pop(0)()


def test_acknowledgements_that_come_during_a_write_are_the_next_write() -> None:
    store = SlowStore()
    queue = AckQueue(store, 1)  # type: ignore[arg-type]  # it asks for nothing else
    for n in range(1, 101):
        queue.add(n // 2, [(n, n)])
    assert store.written == [(0, [(1, 1)])]
    store.finish()
    assert store.written[1:] == [(50, [(2, 100)])]
    store.finish()
    queue.add(60, [])
    assert store.written[2:] == [(60, [])]


def test_a_peer_that_acknowledges_in_splinters_cannot_fill_the_memory() -> None:
    store = SlowStore()
    queue = AckQueue(store, 1)  # type: ignore[arg-type]
    for n in range(10_000):
        queue.add(0, [(3 * n, 3 * n)])
    store.finish()
    assert len(store.written) == 2
    assert len(store.written[1][1]) == MAX_RANGES


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6))))
def test_merged_ranges_hold_the_same_numbers(starts: list[tuple[int, int]]) -> None:
    ranges = [(low, low + more) for low, more in starts]
    numbers = {n for low, high in ranges for n in range(low, high + 1)}
    found = merged(ranges)
    assert {n for low, high in found for n in range(low, high + 1)} == numbers
    assert all(high + 1 < low for (_, high), (low, _) in pairwise(found))


async def test_a_device_that_calls_without_end_is_slowed_down_but_may_send(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(call_rate=0.001, call_burst=5)) as stand:
        mesh, side = await stand.create()
        for _ in range(5):
            await side.call(Stats(mesh=mesh.id), StatsAnswer)
        assert await side.refusal(Stats(mesh=mesh.id)) == "rate_limited"
        assert await side.refusal(ChainRead(mesh=mesh.id, after=0)) == "rate_limited"
        await side.call(MailSend(mesh=mesh.id, again=True), AcceptAnswer, envelope(mesh, mesh.owner, mesh.owner, 1))


async def test_while_the_disk_is_behind_only_so_much_is_taken_and_nothing_is_lost(tmp_path: Path) -> None:
    worker = HeldWorker()
    async with open_memory_stand(tmp_path, Limits(accepting_bytes=10_000), worker) as stand:
        mesh, side = await stand.create()
        bodies = [envelope(mesh, mesh.owner, mesh.owner, n, text="x" * 3000) for n in range(8)]
        worker.held = True
        calls = [await side.begin(MailSend(mesh=mesh.id), body) for body in bodies]
        await stand.until(lambda: stand.broker.metrics.value("mail_refused_total") == 5)
        worker.release()
        codes = [await outcome(call) for call in calls]
        assert codes == ["", "", "", "rate_limited", *["out_of_turn"] * 4]
        for body in bodies:
            await side.call(MailSend(mesh=mesh.id, again=True), AcceptAnswer, body)
        assert (await side.call(Stats(mesh=mesh.id), StatsAnswer)).mailbox_rows == 8


async def outcome(call: Call) -> str:
    """The refusal's code, empty for an answer."""
    try:
        await call.reply(5)
    except RemoteError as error:
        return error.code
    return ""


async def test_what_is_being_written_at_the_end_is_answered_and_what_comes_later_is_not(tmp_path: Path) -> None:
    worker = HeldWorker()
    async with open_memory_stand(tmp_path, None, worker) as stand:
        mesh, side = await stand.create()
        worker.held = True
        before = await side.begin(MailSend(mesh=mesh.id), envelope(mesh, mesh.owner, mesh.owner, 1))
        await stand.until(lambda: any(client.answering for client in stand.broker.clients))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stand.broker.drain)
            await trio.testing.wait_all_tasks_blocked()
            after = await side.begin(MailSend(mesh=mesh.id), envelope(mesh, mesh.owner, mesh.owner, 2))
            assert await outcome(after) == "shutting_down"
            worker.release()
            assert await outcome(before) == ""
        await side.closed()
        assert not stand.broker.clients


async def test_a_key_that_says_hello_without_end_is_slowed_down(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(hello_rate=0.001, hello_burst=3)) as stand:
        mesh, side = await stand.create()
        for _ in range(2):
            await side.hello(mesh.id, mesh.owner.key)
        with pytest.raises(RemoteError) as caught:
            await side.hello(mesh.id, mesh.owner.key)
        assert caught.value.code == "rate_limited"


async def test_one_connection_enters_only_so_many_meshes(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(meshes_per_connection=2)) as stand:
        ann = Device("ann")
        side = await stand.connect()
        for n in range(3):
            mesh = new_mesh(ann, stand.broker.public_key, f"mesh {n}")
            if n < 2:
                await side.hello(mesh.id, ann.key, create=mesh)
        with pytest.raises(RemoteError) as caught:
            await side.hello(mesh.id, ann.key, create=mesh)
        assert caught.value.code == "broker_refused"


async def test_meshes_nobody_is_connected_to_leave_the_memory_and_come_back(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(kept_records=5)) as stand:
        made = []
        for n in range(6):
            mesh, side = await stand.create("ann", f"mesh {n}")
            made.append(mesh)
            if n:
                await side.connection.aclose()
                await stand.until(lambda: len(stand.broker.clients) == 1)
        await stand.create("bob", "last")
        held = {room.mesh for room in stand.broker.rooms}
        assert made[0].id in held, "somebody is connected to it"
        assert len(held & {mesh.id for mesh in made[1:]}) == 2
        again = await stand.enter(made[1], made[1].owner)
        assert (await again.call(Stats(mesh=made[1].id), StatsAnswer)).devices_online == 1


async def test_a_mesh_that_is_loaded_for_many_at_once_is_loaded_once(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path) as stand:
        mesh, ann = await stand.create()
        people = [Device(f"member {n}") for n in range(10)]
        for person in people:
            await ann.append(mesh, mesh.add_member(person))
        for n in range(80):
            await ann.append(mesh, mesh.open_invite(seeded("invite", n)))
    async with open_memory_stand(tmp_path) as stand:
        sides = [await stand.connect() for _ in people]
        calls = []
        for person, side in zip(people, sides, strict=True):
            request, _ = side.hello_request(mesh.id, person.key)
            calls.append(await side.begin(request))
        for call in calls:
            await call.reply(5)
        assert len({id(session.room) for client in stand.broker.clients for session in client.sessions.values()}) == 1
        assert (await sides[0].call(Stats(mesh=mesh.id), StatsAnswer)).devices_online == 10
