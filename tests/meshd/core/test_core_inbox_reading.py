"""The person's inbox: reading marks nothing, the acknowledgement does and tells the sender; waiting ends with a message."""

import trio

from world.talk import Answer
from world.world import World


async def test_reading_alone_marks_nothing(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    sent = await ann.send("bob", "hello", wait="stored")
    for _ in range(3):
        (row,) = (await bob.call("inbox.read"))["messages"]
        assert (row["message"], row["unread"]) == ("hello", True)
    await world.settle(10)
    assert (await ann.progress(sent))["state"] == "stored"


async def test_the_acknowledgement_marks_and_tells_the_sender_once(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    sent = await ann.send("bob", "hello", wait="stored")
    (row,) = (await bob.call("inbox.read"))["messages"]
    assert (await bob.call("inbox.ack", ids=[row["id"]]))["marked"] == 1
    assert (await bob.call("inbox.ack", ids=[row["id"]]))["marked"] == 0
    assert (await bob.call("inbox.read"))["messages"] == []
    (again,) = (await bob.call("inbox.read", all=True))["messages"]
    assert again["unread"] is False
    first = await ann.until_state(sent, "shown")
    await world.settle(10)
    assert await ann.progress(sent) == first


async def test_what_is_acknowledged_and_unknown_is_passed_over(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    assert (await bob.call("inbox.ack", ids=["ab" * 16]))["marked"] == 0


async def test_a_person_does_not_acknowledge_what_is_a_sessions(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.claude("web")
    await ann.until_knows("bob/web")
    sent = await ann.send("bob/web", "for web", priority="low", wait="stored")
    assert (await bob.call("inbox.ack", ids=[sent["id"]]))["marked"] == 0
    await world.settle(5)
    assert (await ann.progress(sent))["state"] == "stored"


async def test_a_session_does_not_acknowledge_what_is_not_its_own(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.claude("web")
    api = await bob.claude("api")
    await ann.until_knows("bob/web")
    sent = await ann.send("bob/web", "for web", priority="low", wait="stored")
    assert (await (await api.shell()).call("inbox.ack", ids=[sent["id"]]))["marked"] == 0


async def test_rows_say_who_wrote_what_to_whom(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    question = await bob.send("ann", "question", wait="stored")
    await web.tool("send_message", to="bob", message="answer", reply_to=question["id"], priority="now")
    (row,) = (await bob.call("inbox.read", wait_s=5))["messages"]
    assert {key: row[key] for key in ("mesh", "sender", "origin", "to", "priority", "reply_to", "message")} == {
        "mesh": "team",
        "sender": "ann/web",
        "origin": "agent",
        "to": "bob",
        "priority": "now",
        "reply_to": question["id"],
        "message": "answer",
    }
    assert row["created_ms"] <= row["stored_ms"]


async def test_waiting_ends_with_the_first_message(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    got: list[Answer] = []

    async def wait() -> None:
        got.append(await bob.call("inbox.read", wait_s=60))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(20)
        assert got == []
        await ann.send("bob", "at last")
    assert [row["message"] for row in got[0]["messages"]] == ["at last"]


async def test_waiting_for_nothing_ends_in_time(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    before = trio.current_time()
    assert (await bob.call("inbox.read", wait_s=30))["messages"] == []
    assert 30 <= trio.current_time() - before < 31


async def test_the_inbox_can_be_asked_by_mesh_and_sender(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    await ann.send("bob", "from ann", wait="stored")
    await eve.send("bob", "from eve", wait="stored")
    sender = {"sender": "ANN"}
    assert [row["message"] for row in (await bob.call("inbox.read", **sender))["messages"]] == ["from ann"]
    assert (await bob.call("inbox.read", sender="carl"))["messages"] == []
    assert len((await bob.call("inbox.read", mesh="team"))["messages"]) == 2
    assert await bob.refusal("inbox.read", mesh="guild") == "unknown_mesh"


async def test_a_limit_leaves_the_rest_and_says_so(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    for number in range(5):
        await ann.send("bob", f"{number}", wait="stored")
    first = await bob.call("inbox.read", limit=2)
    assert ([row["message"] for row in first["messages"]], first["more"]) == (["0", "1"], True)
    assert await bob.read(limit=2) == ["0", "1"]
    assert await bob.read(limit=2) == ["2", "3"]
    last = await bob.call("inbox.read", limit=2)
    assert ([row["message"] for row in last["messages"]], last["more"]) == (["4"], False)
    newest = await bob.call("inbox.read", limit=2, all=True)
    assert ([row["message"] for row in newest["messages"]], newest["more"]) == (["3", "4"], True)


async def test_more_text_than_an_answer_holds_comes_in_several(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    for number in range(20):
        await ann.send("bob", f"{number:02}" + "x" * 60_000, wait="stored")
    first = await bob.call("inbox.read", limit=100)
    assert 1 < len(first["messages"]) < 20
    assert first["more"]
    newest = await bob.call("inbox.read", limit=100, all=True)
    count = len(newest["messages"])
    assert [row["message"][:2] for row in newest["messages"]] == [f"{number:02}" for number in range(20 - count, 20)]
    assert newest["more"]
    read: list[str] = []
    while texts := await bob.read(limit=100):
        read.extend(text[:2] for text in texts)
    assert read == [f"{number:02}" for number in range(20)]


async def test_status_is_given_to_sender_and_recipient_by_a_part_of_the_id(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    sent = await ann.send(["bob", "eve"], "hello", wait="stored")
    ours = await ann.call("message.status", id=sent["id"][:8])
    assert (ours["direction"], ours["sender"], ours["message"], len(ours["recipients"])) == ("out", "ann", "hello", 2)
    assert ours["state"] == "stored"
    theirs = await bob.call("message.status", id=sent["id"][:12])
    assert (theirs["direction"], theirs["sender"], theirs["state"]) == ("in", "ann", "stored")
    await eve.read()
    await ann.until_state({"id": (await ann.send("eve", "x", wait="stored"))["id"]}, "stored")
    states = {row["to"]: row["state"] for row in (await ann.call("message.status", id=sent["id"]))["recipients"]}
    await world.settle(3)
    states = {row["to"]: row["state"] for row in (await ann.call("message.status", id=sent["id"]))["recipients"]}
    assert states == {"bob": "stored", "eve": "shown"}
    assert (await ann.call("message.status", id=sent["id"]))["state"] == "stored", "the least that all have reached"


async def test_a_message_that_nobody_here_sent_or_got_is_not_found(world: World) -> None:
    ann, _, eve = await world.mesh("ann", "bob", "eve")
    sent = await ann.send("bob", "private", wait="stored")
    assert await eve.refusal("message.status", id=sent["id"]) == "not_found"
    assert await ann.refusal("message.status", id="ab" * 20) == "not_found"


async def test_ids_that_begin_alike_are_told_apart(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    sent = [await ann.send("bob", f"{number}", wait="stored") for number in range(2)]
    db = ann.app.node.db
    twin = bytes.fromhex(sent[0]["id"][:16] + "0" * 16)
    await db.write(
        lambda tx: tx.execute("UPDATE message SET msg_id=? WHERE msg_id=?", (twin, bytes.fromhex(sent[1]["id"])))
    )
    talk = await ann.talk_of(ann.processes.shell)
    error = await talk.refusal("message.status", id=sent[0]["id"][:8])
    assert error.code == "ambiguous_id"
    assert error.data["candidates"] == sorted([twin.hex(), sent[0]["id"]])
    assert await ann.refusal("message.send", to="bob", message="x", reply_to=sent[0]["id"][:8]) == "ambiguous_id"


async def test_marks_of_second_arrivals_are_kept_for_sixty_days_and_not_for_ever(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.send("bob", "hello", wait="stored")
    marks = "SELECT count(*) FROM seen WHERE at_ms<?"
    sent = bob.clock() + 1
    for days, left in ((59, 1), (61, 0)):
        for clock in (ann.clock, bob.clock, next(iter(world.network.brokers.values())).clock):
            clock.off_ms = days * 86_400_000
        await bob.restart()
        await bob.until_online()
        await world.settle(65)
        assert bob.app.node.db.reader.execute(marks, (sent,)).get == left
    assert await bob.read() == ["hello"], "the message itself stays"
