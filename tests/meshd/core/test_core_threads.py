"""Conversations: who sees which of their messages, in which order, and where a text names its reader."""

import pytest

from mesh_protocol.ids import MsgId
from meshd.mentions import mentions
from world.letters import letter, post, seal
from world.machine import Machine
from world.talk import Answer
from world.world import World


async def thread(machine: Machine, id_: str, **params: object) -> Answer:
    return await machine.call("message.thread", id=id_, **params)


def lines(answer: Answer) -> list[str]:
    return [f"{row['direction']} {row['sender']}: {row['message']}" for row in answer["messages"]]


async def test_both_sides_read_the_same_conversation_from_any_of_its_messages(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    first = await ann.send("bob", "is it done?", wait="stored")
    second = await bob.send("ann", "nearly", reply_to=first["id"], wait="stored")
    third = await ann.send("bob", "thanks", reply_to=second["id"][:8], wait="stored")
    await ann.send("bob", "something else", wait="stored")
    for asked in (first, second, third):
        answer = await thread(ann, asked["id"][:10])
        assert lines(answer) == ["out ann: is it done?", "in bob: nearly", "out ann: thanks"]
        assert (answer["thread"], answer["mesh"], answer["more"]) == (first["id"], "team", False)
        assert lines(await thread(bob, asked["id"])) == ["in ann: is it done?", "out bob: nearly", "in ann: thanks"]
    rows = (await thread(ann, first["id"]))["messages"]
    assert [row["reply_to"] for row in rows] == ["", first["id"], second["id"]]
    assert [row["to"] for row in rows] == [["bob"], ["ann"], ["bob"]]
    assert [row["state"] for row in rows] == ["stored", "stored", "stored"]


async def test_a_long_conversation_gives_its_newest_messages(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    last = await ann.send("bob", "message 0")
    for number in range(1, 6):
        await world.settle(0.01)  # what is written in one millisecond has no order but that of its answers
        last = await ann.send("bob", f"message {number}", reply_to=last["id"])
    answer = await thread(ann, last["id"], limit=4)
    assert [row["message"] for row in answer["messages"]] == [f"message {number}" for number in range(2, 6)]
    assert answer["more"] is True
    assert (await thread(ann, last["id"], limit=6))["more"] is False


async def test_texts_that_do_not_fit_one_answer_are_left_out_oldest_first(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    last = await ann.send("bob", "first")
    for number in range(16):
        await world.settle(0.01)
        last = await ann.send("bob", f"{number} " + "x" * 60_000, reply_to=last["id"])
    answer = await thread(ann, last["id"])
    assert answer["more"] is True
    assert [row["message"].partition(" ")[0] for row in answer["messages"]] == [str(n) for n in range(2, 16)]


async def test_an_agent_sees_of_a_conversation_what_is_its_own(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web, api = await ann.claude("web"), await ann.claude("api")
    await bob.until_knows("ann/web")
    first = await bob.send("ann/web", "for web", wait="stored")
    await web.tool("send_message", to="bob", message="from web", reply_to=first["id"])
    await ann.send("bob", "from ann herself", reply_to=first["id"])
    assert lines(await (await web.shell()).call("message.thread", id=first["id"])) == [
        "in bob: for web",
        "out ann/web: from web",
    ]
    assert (await (await api.shell()).refusal("message.thread", id=first["id"])).code == "not_found"
    assert len((await thread(ann, first["id"]))["messages"]) == 3


async def test_a_message_to_many_is_one_message_of_the_conversation(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web, api = await bob.claude("web"), await bob.claude("api")
    for session in (web, api):
        await session.tool("join_group", name="all")

    async def known() -> bool:
        return len((await ann.call("group.list"))["members"]) == 2

    await world.until(known, what="the group is known")
    first = await ann.send(["@all", "bob"], "to all", wait="stored")
    await world.until(lambda: len(web.seen) == len(api.seen) == 1, what="both saw it")
    said = await web.tool("send_message", to="ann", message="web here", reply_to=first["id"])
    assert "ambiguous" not in said
    await world.settle(0.1)
    await api.tool("send_message", to="ann", message="api here", reply_to=first["id"][:12])
    await world.settle(3)
    answer = await thread(ann, first["id"])
    assert lines(answer) == ["out ann: to all", "in bob/web: web here", "in bob/api: api here"]
    assert answer["messages"][0]["to"] == ["@all", "bob"]
    theirs = await thread(bob, first["id"])
    assert lines(theirs) == ["in ann: to all", "out bob/web: web here", "out bob/api: api here"]


async def test_what_sessions_of_one_machine_wrote_each_other_is_there_once(world: World) -> None:
    (ann,) = await world.mesh("ann")
    web, api = await ann.claude("web"), await ann.claude("api")
    sent = await (await web.shell()).call("message.send", to="ann/api", message="between us")
    assert lines(await thread(ann, sent["id"])) == ["out ann/web: between us"]
    assert lines(await (await api.shell()).call("message.thread", id=sent["id"])) == ["in ann/web: between us"]


async def test_the_same_conversation_number_in_another_mesh_is_another_conversation(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    first = await ann.send("bob", "in team", wait="stored")
    _, eve = await world.mesh("ann", "eve", title="second")
    second = ann.mesh("second")
    stolen = letter(
        eve, ann, to_member=second.row.member, conv_id=bytes.fromhex(first["id"]), content=b"from another mesh"
    )
    await post(eve, seal(eve, ann, stolen, to=second.prekey))
    assert await ann.read(wait_s=10) == ["from another mesh"]
    assert lines(await thread(ann, first["id"])) == ["out ann: in team"]
    assert lines(await thread(ann, stolen.msg_id.hex())) == ["in eve: from another mesh"]


async def test_messages_that_claim_to_answer_each_other_are_shown_all_the_same(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    one, two = MsgId(b"1" * 16), MsgId(b"2" * 16)
    for msg_id, answers in ((one, two), (two, one)):
        await post(ann, seal(ann, bob, letter(ann, bob, msg_id=msg_id, reply_to=answers, conv_id=b"c" * 16)))
    await world.until(lambda: bob.read(), what="they came")
    assert len((await thread(bob, one.hex()))["messages"]) == 2


async def test_readers_are_told_the_thread_and_that_they_are_named(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    first = await ann.send("bob/web", "@web: please look", wait="stored", priority="low")
    second = await ann.send("bob/web", "and this", wait="stored", priority="low", reply_to=first["id"])
    text = await web.tool("check_messages")
    opening, answering = text.split(f"Message {second['id']}")
    assert "mentions you" in opening
    assert "thread" not in opening
    assert f"thread {first['id']}" in answering
    assert "mentions you" not in answering
    third = await ann.send("bob", "ask @Bob, not @ann", wait="stored")
    (row,) = (await bob.call("inbox.read"))["messages"]
    assert (row["thread"], row["mentions_you"]) == (third["id"], True)


@pytest.mark.parametrize(
    "text",
    [
        "@bob",
        "hello @bob!",
        "(@Bob)",
        "@bob, @ann",
        "ask @bob.",
        "@\uff42\uff4f\uff42",
        "first\n@bob second",
        "@bob/web and @bob/api",
        "@bob's",
    ],
)
def test_a_person_is_named(text: str) -> None:
    assert mentions(text, "bob", "")


@pytest.mark.parametrize(
    "text", ["", "bob", "@bobby", "ann@bob", "@ann/bob", "path/@bob", "@ bob", "@@bob", "x.@bob", "@web", "@bob_"]
)
def test_a_person_is_not_named(text: str) -> None:
    assert not mentions(text, "bob", "")


@pytest.mark.parametrize("text", ["@web", "@WEB.", "@bob/web", "@Bob/Web!", "@bob"])
def test_a_session_is_named_by_its_name_or_with_its_person(text: str) -> None:
    assert mentions(text, "bob", "web")


@pytest.mark.parametrize("text", ["@api", "@bob/api", "@ann/web", "@web/ui", "@web2"])
def test_a_session_is_not_named_with_another(text: str) -> None:
    assert not mentions(text, "bob", "web")


def test_a_name_that_ends_in_a_dot_is_found() -> None:
    assert mentions("tell @v1.", "bob", "v1.")
    assert mentions("tell @v1.", "bob", "v1")
