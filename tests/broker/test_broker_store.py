"""The conformance suite of a store, and the mailbox against a model of sixty lines."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_kit.people import START_MS, Device, new_mesh, seeded
from mesh_broker.chain import START, grow, judge
from mesh_broker.store.interface import Accepted, Growth, Mail, MailKey, Quota, Store
from mesh_broker.store.schema import APPLICATION_ID, MIGRATIONS
from mesh_broker.store.sqlite import SqliteStore
from mesh_protocol.ids import DeviceId, InviteId, MemberId, MeshId, MsgId
from mesh_protocol.io.sqlite import Database, InlineWorker
from mesh_protocol.wire.errors import MeshError

ANN, BOB = Device("ann"), Device("bob")
MESH = new_mesh(ANN, seeded("broker"))
ROOMY = Quota(1000, 10**9, 1000, 10**9)


def open_store(folder: Path) -> tuple[SqliteStore, Database]:
    database = Database(
        folder / "store.db", application_id=APPLICATION_ID, migrations=MIGRATIONS, worker=InlineWorker()
    )
    return SqliteStore(database), database


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """The engines that must pass; there is one."""
    found, database = open_store(tmp_path)
    yield found
    database.close()


def first_growth() -> Growth:
    state = judge(None, MESH.records)
    growth = grow(None, START, state, MESH.records, ())
    return growth._replace(devices=[ANN.id, BOB.id])


async def made(store: Store) -> tuple[int, int]:
    """The mesh, and the boxes of ann and bob."""
    await store.create(MESH.id, first_growth(), ANN.id, 10, START_MS).wait()
    boxes = store.box(MESH.id, ANN.id), store.box(MESH.id, BOB.id)
    assert boxes[0] is not None
    assert boxes[1] is not None
    return boxes[0], boxes[1]


def mail(sender: int, box: int, number: int, *, lane: int = 1, expires: int = 10**15, size: int = 100) -> Mail:
    key = MailKey(sender, box, MsgId(b"%016d" % number), 0)
    return Mail(key, MemberId(b"member%010d" % sender), lane, expires, bytes(size))


async def test_an_unknown_mesh_has_nothing(store: Store) -> None:
    nowhere = MeshId(seeded("nowhere"))
    assert store.chain_end(nowhere) is None
    assert store.box(nowhere, ANN.id) is None
    assert store.records(nowhere, 0, 10, 1000) == []
    assert store.joins(nowhere, 1000) == []


async def test_a_mesh_is_made_once(store: Store) -> None:
    assert await store.create(MESH.id, first_growth(), ANN.id, 10, START_MS).wait()
    assert not await store.create(MESH.id, first_growth(), ANN.id, 10, START_MS).wait()
    assert store.records(MESH.id, 0, 10, 10**6) == [record.encode() for record in MESH.records]
    end = store.chain_end(MESH.id)
    assert end is not None
    assert (end.seq, end.head, end.log_seq) == (2, MESH.head, 2)


async def test_records_come_in_pages_of_a_count_and_a_size_and_never_empty(store: Store) -> None:
    await made(store)
    sizes = [len(record.encode()) for record in MESH.records]
    assert len(store.records(MESH.id, 0, 1, 10**6)) == 1
    assert len(store.records(MESH.id, 0, 10, sizes[0])) == 1
    assert len(store.records(MESH.id, 0, 10, 1)) == 1
    assert len(store.records(MESH.id, 0, 10, sum(sizes))) == 2
    assert store.records(MESH.id, 2, 10, 10**6) == []


async def test_of_two_appends_on_one_head_the_second_is_refused_and_leaves_nothing(store: Store) -> None:
    await made(store)
    end = store.chain_end(MESH.id)
    assert end is not None
    devices = [DeviceId(seeded("new", n)) for n in range(2)]
    growths = [
        Growth(3, [b"record %d" % n], 3, [(b"marker", b"h" * 32)], end._replace(seq=3, head=seeded(n)), [device])
        for n, device in enumerate(devices)
    ]
    promises = [store.append(MESH.id, MESH.head, growth) for growth in growths]
    await promises[0].wait()
    with pytest.raises(MeshError) as caught:
        await promises[1].wait()
    assert caught.value.code == "chain_conflict"
    assert not promises[1].succeeded
    assert store.records(MESH.id, 2, 10, 10**6) == [b"record 0"]
    assert store.box(MESH.id, devices[1]) is None


async def test_seals_are_replaced_read_in_order_and_dropped(store: Store) -> None:
    await made(store)
    end = store.chain_end(MESH.id)
    assert end is not None
    for n, seals in enumerate(([(BOB.id, 2, b"two"), (BOB.id, 1, b"one")], [(BOB.id, 2, b"two again")])):
        growth = Growth(3 + n, [b"r"], 3 + n, [], end._replace(seq=3 + n, head=seeded(n)), [], seals)
        await store.append(MESH.id, end.head if n == 0 else seeded(0), growth).wait()
    box = store.box(MESH.id, BOB.id)
    assert box is not None
    assert store.seals(box, 1000) == [b"one", b"two again"]
    assert store.seals(box, 3) == [b"one"]
    await store.drop_seals(box, 1).wait()
    assert store.seals(box, 1000) == [b"two again"]


async def test_a_generation_only_rises(store: Store) -> None:
    box, _ = await made(store)
    assert [await store.raise_generation(box, number).wait() for number in (3, 2, 5)] == [3, 3, 5]


async def test_a_repeat_keeps_its_first_answer(store: Store) -> None:
    ann, bob = await made(store)
    first = await store.accept(MESH.id, mail(ann, bob, 1), ROOMY, 5).wait()
    assert first == Accepted(1, 5)
    assert await store.accept(MESH.id, mail(ann, bob, 1), ROOMY, 9).wait() == first
    assert store.accepted(mail(ann, bob, 1).key) == first
    assert (store.mailbox(bob).rows, store.mailbox(bob).next_mseq) == (1, 2)


async def test_dedupe_rows_are_pruned_by_age_and_mail_by_expiry(store: Store) -> None:
    ann, bob = await made(store)
    for n in range(6):
        await store.accept(MESH.id, mail(ann, bob, n, expires=n * 10), ROOMY, n * 10).wait()
    assert await store.expire(20, 30, 2).wait() == 2
    assert await store.expire(20, 30, 100).wait() == 1
    assert [store.accepted(mail(ann, bob, n).key) is None for n in range(6)] == [True, True, True, False, False, False]
    assert [row.mseq for row in store.waiting(bob, 1, 0, 10)] == [4, 5, 6]


async def test_join_requests_have_ids_that_never_come_again(store: Store) -> None:
    await made(store)
    invite, device = InviteId(seeded("invite")), DeviceId(seeded("device"))
    first = await store.ask(MESH.id, invite, device, b"one", 100, 2).wait()
    assert await store.ask(MESH.id, invite, device, b"two", 100, 2).wait() == first
    assert [tuple(join) for join in store.joins(MESH.id, 1000)] == [(first, b"two")]
    await store.drop_join(MESH.id, first).wait()
    assert await store.ask(MESH.id, invite, device, b"three", 100, 2).wait() > first


# The mailbox against a model.


@dataclass
class Model:
    """What a mailbox is, without a database."""

    quota: Quota
    next_mseq: int = 1
    rows: dict[int, Mail] = field(default_factory=dict)
    known: dict[MailKey, int] = field(default_factory=dict)

    def accept(self, item: Mail) -> int | None:
        """The accept number, None when there is no room."""
        if item.key in self.known:
            return self.known[item.key]
        held = list(self.rows.values())
        own = [each for each in held if each.member == item.member]
        fits = (
            len(held) < self.quota.rows
            and len(own) < self.quota.member_rows
            and sum(len(each.envelope) for each in (*held, item)) <= self.quota.bytes
            and sum(len(each.envelope) for each in (*own, item)) <= self.quota.member_bytes
        )
        if not fits:
            return None
        self.rows[self.next_mseq] = item
        self.next_mseq += 1
        self.known[item.key] = len(self.known) + 1
        return self.known[item.key]

    def acknowledge(self, acked: int, sacks: list[tuple[int, int]]) -> None:
        for low, high in ((0, acked), *sacks):
            self.rows = {mseq: item for mseq, item in self.rows.items() if not low <= mseq <= high}

    def expire(self, now: int) -> None:
        self.rows = {mseq: item for mseq, item in self.rows.items() if item.expires_ms > now}


numbers = st.integers(0, 14)
steps = st.one_of(
    st.tuples(st.just("accept"), st.booleans(), numbers, st.integers(0, 2), st.integers(50, 400), st.integers(0, 60)),
    st.tuples(st.just("ack"), numbers, st.lists(st.tuples(numbers, st.integers(0, 3)), max_size=3)),
    st.tuples(st.just("expire"), st.integers(0, 50)),
    st.tuples(st.just("reopen")),
)


async def play(script: list[tuple[object, ...]], folder: Path) -> None:
    quota = Quota(8, 1500, 5, 1000)
    store, database = open_store(folder)
    boxes = await made(store)
    model = Model(quota)
    for step in script:
        match step:
            case ("accept", bool(own), int(number), int(lane), int(size), int(expires)):
                item = mail(boxes[own], boxes[1], number, lane=lane, size=size, expires=expires)
                expected = model.accept(item)
                try:
                    got: int | None = (await store.accept(MESH.id, item, quota, 1).wait()).seq
                except MeshError as error:
                    got = None if error.code == "mailbox_full" else -1
                assert got == expected
            case ("ack", int(acked), list(ranges)):
                sacks = [(low, low + more) for low, more in ranges]
                model.acknowledge(acked, sacks)
                await store.acknowledge(boxes[1], acked, sacks).wait()
            case ("expire", int(now)):
                model.expire(now)
                await store.expire(now, 0, 1000).wait()
            case _:
                database.close()
                store, database = open_store(folder)
        box = store.mailbox(boxes[1])
        assert (box.next_mseq, box.rows) == (model.next_mseq, len(model.rows))
        assert box.bytes == sum(len(item.envelope) for item in model.rows.values())
        assert box.floor == min(model.rows, default=model.next_mseq)
        for lane in range(3):
            waiting = [row.mseq for row in store.waiting(boxes[1], lane, 0, 100)]
            assert waiting == [mseq for mseq, item in model.rows.items() if item.lane == lane]
        assert all(store.envelope(boxes[1], mseq) == item.envelope for mseq, item in model.rows.items())
    database.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=25))
def test_a_mailbox_does_what_its_model_does(script: list[tuple[object, ...]]) -> None:
    with TemporaryDirectory() as folder:
        trio.run(play, script, Path(folder))
