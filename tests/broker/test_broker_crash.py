"""kill -9 at any moment: what was accepted is delivered, once, in order; what was acknowledged never comes again."""

import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from broker_kit.people import START_MS, Device, Mesh, envelope, seeded
from broker_kit.process import SIGKILL, connected, made_mesh, running
from broker_kit.side import Side
from mesh_protocol.broker_api import AcceptAnswer, Done, MailAck, Stats, StatsAnswer
from mesh_protocol.broker_chain import ChainAnswer, ChainRead
from mesh_protocol.chain import Record
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.members import extend
from mesh_protocol.op import read_answer
from mesh_protocol.tip import EMPTY_LOG_HEAD, Tip, log_head, marker

CYCLES = 24
FAR_MS = START_MS + 10 * 365 * 86_400_000
LIMITS = [
    part
    for limit in ("member_rate=5000", "member_burst=5000", "append_rate=5000", "append_burst=5000")
    for part in ("--limit", limit)
]


@dataclass
class History:
    """What both daemons know across the broker's deaths."""

    sent: list[bytes] = field(default_factory=list)
    accepted: dict[int, int] = field(default_factory=dict)
    """Place in `sent` → accept_seq."""
    arrived: dict[int, bytes] = field(default_factory=dict)
    """mseq → envelope."""
    acked: set[int] = field(default_factory=set)
    """Numbers whose acknowledgement was answered."""
    appended: set[bytes] = field(default_factory=set)
    """Hashes of the records whose append was answered."""


async def send(side: Side, mesh: Mesh, ann: Device, bob: Device, history: History, stop: trio.Event) -> None:
    """Send again, in order, what has no answer yet, then new ones until the end; sixteen in flight."""
    window = trio.Semaphore(16)

    async def one(place: int) -> None:
        try:
            answer = read_answer(AcceptAnswer, (await calls[place].reply(10)).result)
        except LinkClosed:
            return
        finally:
            window.release()
        assert history.accepted.setdefault(place, answer.accept_seq) == answer.accept_seq

    calls = {}
    async with trio.open_nursery() as nursery:
        place = min(set(range(len(history.sent))) - history.accepted.keys(), default=len(history.sent))
        while not stop.is_set():
            if place == len(history.sent):
                history.sent.append(envelope(mesh, ann, bob, place, expires_ms=FAR_MS))
            await window.acquire()
            try:
                calls[place] = await side.connection.begin("mail.send", {"mesh": mesh.id}, history.sent[place])
            except LinkClosed:
                return
            nursery.start_soon(one, place)
            place += 1


async def receive(side: Side, mesh: Mesh, history: History) -> None:
    """Take what comes and acknowledge it, as a daemon does after its commit."""
    try:
        await side.resume(mesh)
        while True:
            pushed = await side.heard("mail")
            mseq = pushed.params["mseq"]
            assert isinstance(mseq, int)
            assert mseq not in history.acked, "an acknowledged envelope came again"
            assert history.arrived.setdefault(mseq, pushed.body) == pushed.body, "a number was given twice"
            await side.call(MailAck(mesh=mesh.id, acked=0, sacks=[[mseq, mseq]]), Done)
            history.acked.add(mseq)
    except (LinkClosed, AssertionError, trio.TooSlowError) as error:
        if "the connection ended" not in str(error) and isinstance(error, AssertionError):
            raise


async def grow(side: Side, mesh: Mesh, history: History, stop: trio.Event) -> None:
    """Append to the chain without end."""
    try:
        while not stop.is_set():
            record = mesh.open_invite(seeded("invite", len(mesh.records)))
            await side.append(mesh, record)
            history.appended.add(record.hash)
    except LinkClosed:
        return


async def check_chain(side: Side, mesh: Mesh, tip: bytes, history: History) -> None:
    """Take over the broker's chain: it is valid, holds all that was answered, and each record has its marker."""
    mesh.records = [Record.decode(item) for item in await side.items(ChainRead(mesh=mesh.id, after=0), ChainAnswer)]
    extend(None, mesh.records)
    assert history.appended <= {record.hash for record in mesh.records}
    head = EMPTY_LOG_HEAD
    for n, record in enumerate(mesh.records, 1):
        head = log_head(mesh.id, n, head, marker(record.seq, record.hash))
    ref = Tip.decode(tip).ref
    assert (ref.chain_seq, ref.chain_hash, ref.log_seq, ref.log_head) == (n, mesh.head, n, head)


@pytest.mark.slow
async def test_a_broker_killed_again_and_again_loses_repeats_and_reorders_nothing(tmp_path: Path) -> None:
    chance = random.Random(11)
    ann, bob, history = Device("ann"), Device("bob"), History()
    with running(tmp_path / "data", *LIMITS) as process:
        async with connected(process.ready()) as side:
            mesh = await made_mesh(side, ann)
            await side.append(mesh, mesh.add_member(bob))
    with trio.fail_after(120):
        for cycle in range(CYCLES):
            with running(tmp_path / "data", *LIMITS) as process:
                url = process.ready()
                async with connected(url) as ann_side, connected(url) as bob_side:
                    answer = await ann_side.hello(mesh.id, ann.key, generation=cycle + 1)
                    await check_chain(ann_side, mesh, answer.tip, history)
                    await bob_side.hello(mesh.id, bob.key, generation=cycle + 1)
                    stop = trio.Event()
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(send, ann_side, mesh, ann, bob, history, stop)
                        nursery.start_soon(receive, bob_side, mesh, history)
                        nursery.start_soon(grow, ann_side, mesh, history, stop)
                        await trio.sleep(chance.uniform(0.0, 0.12))
                        process.signal(SIGKILL)
                        stop.set()
                    await process.ended()
        await finish(tmp_path, mesh, ann, bob, history)
    judge(history)


async def finish(tmp_path: Path, mesh: Mesh, ann: Device, bob: Device, history: History) -> None:
    """One more life in which everything arrives."""
    with running(tmp_path / "data", *LIMITS) as process:
        url = process.ready()
        async with connected(url) as ann_side, connected(url) as bob_side:
            answer = await ann_side.hello(mesh.id, ann.key, generation=CYCLES + 1)
            await check_chain(ann_side, mesh, answer.tip, history)
            await bob_side.hello(mesh.id, bob.key, generation=CYCLES + 1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive, bob_side, mesh, history)
                for place in sorted(set(range(len(history.sent))) - history.accepted.keys()):
                    call = await ann_side.connection.begin("mail.send", {"mesh": mesh.id}, history.sent[place])
                    history.accepted[place] = read_answer(AcceptAnswer, (await call.reply(10)).result).accept_seq
                while (
                    len(history.arrived) < len(history.sent)
                    or (await bob_side.call(Stats(mesh=mesh.id), StatsAnswer)).mailbox_rows
                ):
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()


def judge(history: History) -> None:
    assert len(history.sent) > 5 * CYCLES, "too little traffic to say anything"
    assert len(history.appended) > CYCLES // 3, "too few appends to say anything"
    in_order = [history.arrived[mseq] for mseq in sorted(history.arrived)]
    assert in_order == history.sent, "lost, repeated or out of order"
    assert sorted(history.arrived) == list(range(1, len(history.sent) + 1)), "the numbers have a gap"
    assert sorted(history.accepted.values()) == list(range(1, len(history.sent) + 1))
