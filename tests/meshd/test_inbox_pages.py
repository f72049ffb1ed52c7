"""An inbox of any size can be read: an answer holds what travels in one frame, and says that there is more."""

from trio.testing import MockClock

from core_kit.core import until
from core_kit.town import Town
from meshd.store.inbox import count_unread


async def test_more_messages_than_fit_a_header_are_read_in_answers_that_fit_a_frame(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    sent = [f"message {number}" for number in range(130)]
    for text in sent:
        await alice.call("message.send", text, to="bob", mesh="team")
    await until(lambda: count_unread(bob.app.node.db.reader) == len(sent), "all messages")
    read: list[str] = []
    while True:
        answer = await bob.call("inbox.read", limit=100)
        if not answer["messages"]:
            break
        read.extend(row["message"] for row in answer["messages"])
        assert answer["more"] == (len(read) < len(sent))
        await bob.call("inbox.ack", ids=[row["id"] for row in answer["messages"]])
    assert read == sent


async def test_texts_that_exceed_a_frame_together_are_read_in_turn(town: Town, autojump_clock: MockClock) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    sent = [f"{number} " + "x" * 60_000 for number in range(20)]
    for text in sent:
        await alice.send("bob", text)
    first = await bob.call("inbox.read", limit=100)
    assert first["more"]
    assert [row["message"] for row in first["messages"]] == sent[: len(first["messages"])]
