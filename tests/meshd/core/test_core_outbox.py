"""The outbox: durable before `send` returns, once for each key, bounded, and sent whatever becomes of the caller."""

from functools import partial

import pytest
import trio

from mesh_protocol.io.sqlite import ThreadWorker
from mesh_protocol.op import MAX_TEXT
from mesh_protocol.wire.errors import MeshError
from meshd.config import Config, Limits
from world.machine import Machine
from world.talk import Answer
from world.world import World, open_world


def messages_of(machine: Machine) -> int:
    return int(machine.app.node.db.reader.execute("SELECT count(*) FROM message WHERE kind='text'").fetchall()[0][0])


async def test_a_message_is_on_the_disk_before_send_returns(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    answers: list[Answer] = []

    async def send() -> None:
        answers.append(await ann.send("bob", "hello"))

    ann.disk.hold()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await world.settle(10)
        assert answers == []
        assert messages_of(ann) == 0
        ann.disk.release()
    assert messages_of(ann) == 1
    assert answers[0]["state"] == "queued"


async def test_a_message_that_was_accepted_by_the_daemon_survives_its_death(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await world.unplug(ann)
    sent = await ann.send("bob", "hello")
    await ann.crash()
    world.cable(ann).down = False
    await ann.start()
    await ann.until_state(sent, "stored")
    assert await bob.read() == ["hello"]


async def test_a_message_that_was_not_committed_when_the_daemon_died_never_was(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    ann.disk.hold()
    talk = await ann.talk_of(ann.processes.shell)
    await talk.connection.begin("message.send", {"to": "bob"}, b"lost")
    await world.settle()
    await ann.restart()
    assert messages_of(ann) == 0
    await ann.until_online()
    await ann.send("bob", "after it", wait="stored")
    assert await bob.read() == ["after it"]


async def test_a_message_goes_out_although_its_caller_went_away_before_the_commit(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    ann.disk.hold()
    talk = await ann.talk(ann.processes.shell)
    await talk.connection.begin("message.send", {"to": "bob"}, b"hello")
    await world.settle()
    await talk.close()
    await world.settle()
    ann.disk.release()
    assert await bob.read(wait_s=10) == ["hello"]


async def test_one_key_sends_one_message(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    first = await ann.send("bob", "hello", idempotency_key="k", wait="stored")
    again = await ann.send("BOB", "hello", idempotency_key="k")
    assert again["id"] == first["id"]
    assert again["state"] == "stored"
    await ann.restart()
    assert (await ann.send("bob", "hello", idempotency_key="k"))["id"] == first["id"]
    assert (await ann.send("bob", "hello", idempotency_key="l"))["id"] != first["id"]
    assert (await ann.send("bob", "hello"))["id"] != (await ann.send("bob", "hello"))["id"], "without a key it repeats"
    await world.settle(10)
    assert len(await bob.read()) == 4


@pytest.mark.parametrize(
    "change", [{"message": "other"}, {"to": "ann"}, {"to": ["bob", "ann"]}, {"priority": "low"}, {"reply_to": "first"}]
)
async def test_one_key_for_two_requests_is_refused_and_changes_nothing(world: World, change: dict[str, str]) -> None:
    ann, _ = await world.mesh("ann", "bob")
    first = await ann.send("bob", "hello", idempotency_key="k")
    request = {"to": "bob", "message": "hello", **change}
    if "reply_to" in change:
        request["reply_to"] = first["id"]
    assert await ann.refusal("message.send", idempotency_key="k", **request) == "idempotency_conflict"
    assert messages_of(ann) == 1


async def test_two_calls_with_one_key_at_once_send_one_message(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    answers: list[Answer] = []

    async def send(message: str) -> None:
        try:
            answers.append(await ann.send("bob", message, idempotency_key="k"))
        except MeshError as error:
            answers.append({"id": error.code})

    ann.disk.hold()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(send, "hello")
        await world.settle()
        nursery.start_soon(send, "something else")
        await world.settle()
        ann.disk.release()
    ids = [answer["id"] for answer in answers]
    assert ids.count("idempotency_conflict") == 1
    assert len(set(ids)) == 2
    await ann.send("bob", "next", wait="stored")
    assert await bob.read() == ["hello", "next"]
    await world.settle(60)
    assert bob.mesh().streams[ann.app.node.device].got == 2, "the calls that sent nothing took no numbers"


async def test_a_key_belongs_to_its_caller(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web, api = await ann.claude("web"), await ann.claude("api")
    shells = [await web.shell(), await api.shell(), await ann.talk_of(ann.processes.shell)]
    sent = [
        await shell.call("message.send", to="bob", message=f"from {n}", idempotency_key="k")
        for n, shell in enumerate(shells)
    ]
    assert len({answer["id"] for answer in sent}) == 3
    assert sorted(await bob.read(wait_s=5)) == ["from 0", "from 1", "from 2"]
    again = await shells[0].call("message.send", to="bob", message="from 0", idempotency_key="k")
    assert again["id"] == sent[0]["id"]


async def test_a_full_outbox_refuses_and_drops_nothing(world: World) -> None:
    await world.machine("ann", Config(keys="file", limits=Limits(outbox_rows=3)))
    ann, bob = await world.mesh("ann", "bob")
    await world.unplug(ann)
    for number in range(3):
        await ann.send("bob", f"message {number}")
    assert await ann.refusal("message.send", to="bob", message="one too many") == "outbox_full"
    await ann.restart()
    assert await ann.refusal("message.send", to="bob", message="one too many") == "outbox_full", (
        "also before it is online"
    )
    web = await ann.claude("web")
    local = await ann.send("ann/web", "not through the broker")
    assert local["state"] in ("stored", "shown", "turn_started")
    await world.until(lambda: web.seen != [], what="the session saw it")
    await world.plug(ann)
    assert await bob.read(wait_s=10) == ["message 0", "message 1", "message 2"]
    await ann.send("bob", "room again", wait="stored")


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f600"])
async def test_a_text_may_have_64_kib_and_not_a_byte_more(world: World, letter: str) -> None:
    ann, bob = await world.mesh("ann", "bob")
    whole = letter * (MAX_TEXT // len(letter.encode()))
    assert len(whole.encode()) == 65_536
    await ann.send("bob", whole, wait="stored")
    assert await bob.read() == [whole]
    talk = await ann.talk_of(ann.processes.shell)
    error = await talk.refusal("message.send", to="bob", message=whole + "x")
    assert (error.code, error.data["size"], error.data["limit"]) == ("too_large", 65_537, 65_536)
    error = await talk.refusal("message.send", to="bob", message=letter * 65_536 * 2)
    assert error.code == "too_large"
    assert messages_of(ann) == 1


async def test_a_full_disk_refuses_a_message_and_leaves_no_gap(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    events = await bob.talk(bob.processes.shell)
    await events.call("events.subscribe", kinds=["gap"])
    db = ann.app.node.db
    pages = await db.write(lambda tx: tx.pragma("page_count"))
    await db.write(lambda tx: tx.pragma("max_page_count", pages))
    assert await ann.refusal("message.send", to="bob", message="x" * 60_000) == "storage_full"
    await db.write(lambda tx: tx.pragma("max_page_count", 2**30))
    await ann.send("bob", "one", wait="stored")
    await ann.send("bob", "two", wait="stored")
    await world.settle(120)
    assert await bob.read() == ["one", "two"]
    assert not events.events, "nothing of the stream is missing"


async def test_a_message_waits_for_the_prekey_of_its_recipient(world: World) -> None:
    """Bob was let in while he was away, and since then the daemon that had his key from his request was restarted."""
    ann, _ = await world.mesh("ann", "eve")
    bob = await world.machine("bob")
    url = await world.invite(ann)
    world.cable(bob).outgoing = lambda frame: [] if b"prekey.put" in frame else [frame]
    await bob.call("mesh.join", url=url, me="bob")
    await bob.crash()
    await ann.restart()
    await ann.until_online()
    first = await ann.send("bob", "first", wait="accepted", timeout=20)
    assert first["state"] == "queued"
    second = await ann.send("bob", "second")
    others = await ann.send("eve", "others do not wait", wait="stored")
    assert others["state"] == "stored"
    world.cable(bob).outgoing = None
    await bob.start()
    await ann.until_state(first, "stored")
    await ann.until_state(second, "stored")
    assert await bob.read() == ["first", "second"]


async def test_the_same_holds_with_the_writer_in_a_thread() -> None:
    """In real time: a thread's work takes none of a virtual clock's."""
    async with open_world() as world:
        ann, bob = await world.mesh("ann", "bob")
        await ann.crash()
        ann.worker = ThreadWorker
        await ann.start()
        await ann.until_online()
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(partial(ann.send, "bob", f"{number // 2}", idempotency_key=f"{number // 2}"))
        assert messages_of(ann) == 10
        streams = bob.mesh().streams
        await world.until(lambda: any(stream.got == 10 for stream in streams.values()), what="all ten are there")
        assert sorted(await bob.read(), key=int) == [f"{number}" for number in range(10)]


async def test_what_is_answered_keeps_its_conversation(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    first = await ann.send("bob", "question", wait="stored")
    answer = await bob.send("ann", "answer", reply_to=first["id"][:8], wait="stored")
    more = await ann.send("bob", "thanks", reply_to=answer["id"], wait="stored")
    mine = await ann.send("bob", "p.s.", reply_to=more["id"], wait="stored")
    rows = ann.app.node.db.reader.execute("SELECT msg_id, conv, reply_to FROM message").fetchall()
    assert {bytes(conv).hex() for _, conv, _ in rows} == {first["id"]}
    answered = {bytes(row[0]).hex(): bytes(row[2]).hex() for row in rows}
    assert answered == {first["id"]: "", more["id"]: answer["id"], mine["id"]: more["id"]}


async def test_an_answer_to_what_is_not_here_is_refused(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    for unknown in ("ab" * 16, "abcdabcd", "abc", "xyz", "ab" * 20):
        assert await ann.refusal("message.send", to="bob", message="x", reply_to=unknown) == "not_found"
