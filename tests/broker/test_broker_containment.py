"""A bug or a broken disk on one path: its caller is told a reference, its log line tells nothing secret, others go on."""

from pathlib import Path

import pytest
import trio

from broker_kit.people import Device, envelope
from broker_kit.stand import HeldWorker, open_memory_stand
from mesh_broker.pages import StatusPages
from mesh_broker.store.interface import Box, Waiting
from mesh_broker.store.sqlite import SqliteStore
from mesh_protocol.broker_api import AcceptAnswer, MailSend, Stats, StatsAnswer
from mesh_protocol.wire.errors import RemoteError

SECRET = "canary-in-an-exceptions-text"


class BuggyStore(SqliteStore):
    """A store with bugs, once they are switched on."""

    buggy = False

    def mailbox(self, box: int, above: int = 0) -> Box:
        if self.buggy:
            raise RuntimeError(SECRET)
        return super().mailbox(box, above)

    def waiting(self, box: int, lane: int, after: int, count: int) -> list[Waiting]:
        if self.buggy:
            raise RuntimeError(SECRET)
        return super().waiting(box, lane, after, count)


async def test_a_bug_in_an_answer_is_told_by_reference_and_costs_nobody_his_connection(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, store=BuggyStore) as stand:
        mesh, side = await stand.create()
        stand.broker.store.buggy = True  # type: ignore[attr-defined]
        with pytest.raises(RemoteError) as caught:
            await side.call(Stats(mesh=mesh.id), StatsAnswer)
        assert caught.value.code == "internal"
        reference = str(caught.value.data["reference"])
        line = next(line for line in stand.log if reference in line)
        assert "RuntimeError" in line
        assert "mail.py:" in line
        assert SECRET not in "".join(stand.log)
        stand.broker.store.buggy = False  # type: ignore[attr-defined]
        await side.call(Stats(mesh=mesh.id), StatsAnswer)
        assert stand.broker.metrics.value("failures_total") == 1
        stand.log.clear()


async def test_a_bug_beside_a_connection_ends_that_connection_and_no_other(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, store=BuggyStore) as stand:
        mesh, ann = await stand.create()
        bob = Device("bob")
        await ann.append(mesh, mesh.add_member(bob))
        side = await stand.enter(mesh, bob)
        await side.resume(mesh)
        stand.broker.store.buggy = True  # type: ignore[attr-defined]
        await ann.call(MailSend(mesh=mesh.id, again=True), AcceptAnswer, envelope(mesh, mesh.owner, bob, 1))
        await side.closed()
        stand.broker.store.buggy = False  # type: ignore[attr-defined]
        assert (await ann.call(Stats(mesh=mesh.id), StatsAnswer)).devices_online == 1
        assert SECRET not in "".join(stand.log)
        again = await stand.enter(mesh, bob)
        await again.resume(mesh)
        assert [mseq for mseq, _ in await again.mail(1)] == [1]
        stand.log.clear()


async def test_a_disk_that_does_not_answer_is_not_ready(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    worker = HeldWorker()
    async with open_memory_stand(tmp_path, None, worker) as stand:
        pages = StatusPages(stand.broker.store, stand.broker.metrics, lambda: stand.broker.storage_full)
        assert (await pages.page("/ready")).status == 200
        worker.held = True
        assert (await pages.page("/ready")).status == 200, "an answer is good for a second"
        await trio.sleep(2)
        page = await pages.page("/ready")
        assert (page.status, "storage-slow" in page.body) == (503, True)
        worker.release()
        await trio.sleep(2)
        assert (await pages.page("/ready")).status == 200
