"""One sender's messages arrive in the order in which they were sent, whatever the broker refuses for a while."""

from trio.testing import MockClock

from core_kit.core import Core, until
from core_kit.liar import RESPONSE, Said, honest
from core_kit.town import Town
from meshd.store.inbox import count_unread


async def _read_all(core: Core) -> list[str]:
    read: list[str] = []
    while True:
        rows = (await core.call("inbox.read", limit=100))["messages"]
        if not rows:
            return read
        read.extend(row["message"] for row in rows)
        await core.call("inbox.ack", ids=[row["id"] for row in rows])


async def test_a_burst_above_the_brokers_rate_arrives_in_order(town: Town, autojump_clock: MockClock) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    sent = [f"{number}" for number in range(320)]  # the broker takes 200 at once, then 20 a second
    for text in sent:
        await alice.call("message.send", text, to="bob", mesh="team")
    await until(lambda: count_unread(bob.app.node.db.reader) == len(sent), "all of it", 120)
    assert await _read_all(bob) == sent


async def test_messages_behind_one_that_has_to_wait_do_not_overtake_it(town: Town, autojump_clock: MockClock) -> None:
    """The recipient's prekey cannot be had for a while."""
    alice, bob, liar = town.cores["alice"], town.cores["bob"], town.liars["alice"]
    alice.mesh().peer_prekeys.clear()
    asked = 0

    def refuse_once(said: Said) -> list[Said]:
        nonlocal asked
        if said.kind != RESPONSE or said.method != "prekey.take":
            return [said]
        asked += 1
        if asked > 1:
            return [said]
        error = {"code": "rate_limited", "message": "", "data": {"retry_after": 1}}
        return [said.changed(value=None, error=error, body=b"")]

    liar.down = refuse_once
    sent = [f"{number}" for number in range(5)]
    for text in sent:
        await alice.call("message.send", text, to="bob", mesh="team")
    await until(lambda: count_unread(bob.app.node.db.reader) == len(sent), "all of it", 120)
    liar.down = honest
    assert await _read_all(bob) == sent


async def test_a_prekey_that_is_refused_for_a_while_delays_a_receipt_and_nothing_else(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, bob, liar = town.cores["alice"], town.cores["bob"], town.liars["bob"]
    bob.mesh().peer_prekeys.clear()
    error = {"code": "rate_limited", "message": "", "data": {"retry_after": 1}}
    liar.down = lambda said: [
        said.changed(value=None, error=error, body=b"")
        if said.kind == RESPONSE and said.method == "prekey.take"
        else said
    ]
    sent = await alice.call("message.send", "did it arrive?", to="bob", mesh="team", wait="stored", timeout=3)
    assert not sent["reached"]
    assert (await bob.link_state())["link"] == "online"
    await alice.call("message.send", "and this?", to="bob", mesh="team")
    liar.down = honest
    await until(lambda: count_unread(bob.app.node.db.reader) == 2, "the second one")
    waited = await alice.call("message.send", "now?", to="bob", mesh="team", wait="stored", timeout=30)
    assert waited["reached"]
    assert await alice.state_of(sent["id"]) == "stored"
