"""What a sender may do: by the chain, which every reader enforces, and by what each person grants him or not."""

from collections.abc import Callable
from typing import Any

import pytest
import trio

from mesh_protocol.wire.framing import split_message
from meshd.grants import MAY_NOT_SEND, NO_BROADCAST, NO_DIRECT
from world.claude import Claude
from world.machine import Machine
from world.seeds import seeded_scheduler
from world.world import World, open_world


async def two(world: World) -> tuple[Machine, Machine, Claude]:
    """Bob has a session."""
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    return ann, bob, web


def kept(machine: Machine) -> int:
    (count,) = machine.app.node.db.reader.execute("SELECT count(*) FROM inbox").fetchone()
    return int(count)


# The chain.


async def test_a_member_who_may_not_send_is_told_so_by_his_own_daemon(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    api, web = await bob.claude("api"), await bob.claude("web")
    await ann.call("member.deny", peer="bob", keys=["send"])
    await world.until(lambda: not bob.mesh().state.may(bob.app.node.device, "send"), what="bob knows")
    shell = await bob.talk_of(bob.processes.shell)
    refusal = await shell.refusal("message.send", to="ann", message="hello")
    assert refusal.code == "not_allowed"
    assert "ann may allow it (mesh member allow bob send)" in refusal.message
    await api.tool("send_message", to="web", message="between my own")
    await world.until(lambda: bool(web.seen), what="what stays on this machine is nobody's to forbid")
    await ann.call("member.allow", peer="bob", keys=["send"])
    await world.until(lambda: bob.mesh().state.may(bob.app.node.device, "send"), what="bob knows")
    await bob.send("ann", "again", wait="stored", timeout=10)


async def test_no_reader_takes_what_a_hostile_daemon_sends_without_the_right(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    sessions = [await each.claude("web") for each in (ann, cid)]
    await bob.until_knows("cid/web")
    await ann.call("member.deny", peer="bob", keys=["send"])
    for machine in (bob, cid):
        await world.until(lambda m=machine: not m.mesh().state.may(bob.app.node.device, "send"), what="it is known")  # type: ignore[misc]
    monkeypatch.setattr("meshd.outbox.require_send", lambda *_: None)
    direct = await bob.send("cid/web", "all the same")
    await bob.until_state(direct, "refused")
    assert (await bob.progress(direct))["reason"] == MAY_NOT_SEND
    many = await bob.send("*", "to everybody")

    async def refused() -> bool:
        rows = (await bob.call("message.status", id=many["id"]))["recipients"]
        return [row["state"] for row in rows if row["to"] != "bob/*"] == ["refused", "refused"]

    await world.until(refused, what="both refuse it")
    await world.settle(10)
    assert [each.seen for each in sessions] == [[], []]
    assert [kept(each) for each in (ann, cid)] == [0, 0]


async def test_who_is_denied_may_still_receive_and_tell_how_far_it_got(world: World) -> None:
    ann, _, web = await two(world)
    await ann.call("member.deny", peer="bob", keys=["send"])
    await ann.send("bob/web", "read on", wait="shown", timeout=20)
    assert len(web.seen) == 1


async def test_a_member_who_may_invite_signs_and_one_who_may_not_any_more_leaves_no_invite(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    allowed = await ann.call("member.allow", peer="bob", keys=["invite"])
    assert (allowed["signer"], allowed["own"]) == (True, True)
    assert allowed["permissions"] == ["invite", "send", "use_tools", "write_state"]
    await world.until(lambda: bob.app.node.device in bob.mesh().state.signers, what="bob signs")
    url = await world.invite(bob)
    cid = await world.machine("cid")
    assert (await cid.call("mesh.join", url=url, me="cid"))["state"] == "joined"
    await world.invite(bob)
    denied = await ann.call("member.deny", peer="bob", keys=["invite"])
    assert not denied["signer"]
    assert len(denied["closed_invites"]) == 1
    assert not any(each.open for each in ann.mesh().state.invites.values())
    await world.until(lambda: bob.app.node.device not in bob.mesh().state.signers, what="bob signs no more")
    assert await bob.refusal("mesh.invite") == "not_allowed"
    role = await ann.call("member.role", peer="bob", role="member")
    assert role["role"] == "member"
    row = next(row for row in (await ann.call("member.rights"))["members"] if row["member"] == "bob")
    assert (row["own"], row["permissions"]) == (False, ["send", "use_tools", "write_state"])


async def test_nobody_gives_what_he_may_not_do_himself_nor_changes_who_stands_above_him(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    await ann.call("member.role", peer="bob", role="admin")
    await world.until(lambda: bob.app.node.device in bob.mesh().state.signers, what="bob signs")
    assert await bob.refusal("member.allow", peer="cid", keys=["delete_mesh"]) == "not_allowed"
    assert await bob.refusal("member.deny", peer="ann", keys=["send"]) == "not_allowed"
    assert await cid.refusal("member.deny", peer="bob", keys=["send"]) == "not_allowed"
    assert (await bob.call("member.deny", peer="cid", keys=["use_tools"]))["permissions"] == ["send", "write_state"]
    assert await ann.refusal("member.deny", peer="ann", keys=["send"]) == "not_allowed"


async def test_who_may_not_close_invites_may_take_the_right_to_open_them_all_the_same(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    await ann.call("member.allow", peer="bob", keys=["invite"])
    await ann.call("member.allow", peer="cid", keys=["manage_permissions"])
    for each in (bob, cid):
        await world.until(lambda m=each: m.app.node.device in m.mesh().state.signers, what="both sign")  # type: ignore[misc]
    url = await world.invite(bob)
    await world.until(lambda: any(each.open for each in cid.mesh().state.invites.values()), what="cid knows of it")
    denied = await cid.call("member.deny", peer="bob", keys=["invite"])
    assert (denied["signer"], denied["closed_invites"]) == (False, [])
    dan = await world.machine("dan")
    joining = await dan.call("mesh.join", url=url, me="dan", wait_s=1)
    assert joining["state"] == "pending"
    (waits,) = (await ann.call("invite.list"))["waiting"]
    assert (waits["name"], waits["why"]) == ("dan", "opener"), "ann, who may let him in, is asked"
    await ann.call("invite.approve", who="dan")
    await world.until(lambda: dan.mesh().active, what="dan is in")


# What a person grants.


@pytest.mark.parametrize(
    ("withheld", "direct", "many", "why"),
    [("dm", "refused", "shown", NO_DIRECT), ("broadcast", "shown", "refused", NO_BROADCAST)],
)
async def test_what_is_withheld_is_refused_and_the_rest_is_shown(
    world: World, withheld: str, direct: str, many: str, why: str
) -> None:
    ann, bob, web = await two(world)
    row = await bob.call("grant.take", peer="ann", keys=[withheld])
    assert withheld not in row["grants"]
    sent = {direct: await ann.send("bob/web", "one"), many: await ann.send("*", "two")}
    row = await ann.until_state(sent["refused"], "refused")
    assert row["reason"] == why
    await world.until(lambda: len(web.seen) == 1, what="the other is shown")
    await bob.call("grant.give", peer="ann", keys=[withheld])
    for number, to in enumerate(("bob/web", "*"), start=2):
        await ann.send(to, f"again {number}")
        await world.until(lambda n=number: len(web.seen) == n, what="it is shown again")  # type: ignore[misc]


async def test_of_a_message_to_both_only_the_granted_part_is_taken(world: World) -> None:
    ann, bob, web = await two(world)
    api = await bob.claude("api")
    await bob.call("group.join", name="ui", session="api")
    await world.until(lambda: bool(ann.app.groups.listed(ann.mesh(), bob.app.node.device)), what="ann knows the group")
    await bob.call("grant.take", peer="ann", keys=["dm"])
    sent = await ann.send(["bob/web", "@ui"], "to both")
    await world.until(lambda: len(api.seen) == 1, what="the group has it")
    await world.settle(5)
    assert web.seen == []
    (row,) = (await ann.call("message.status", id=sent["id"]))["recipients"]
    assert row["stored_ms"] > 0


async def test_what_is_withheld_survives_a_restart_and_a_change_of_trust(world: World) -> None:
    ann, bob, _ = await two(world)
    await bob.call("grant.take", peer="ann", keys=["dm", "broadcast"])
    await bob.call("trust.set", peer="ann", policy="hold")
    await bob.restart()
    await bob.until_online()
    assert (await bob.call("grant.list", peer="ann"))["peers"] == [
        {"peer": "ann", "mesh": "team", "policy": "hold", "grants": ["read"]}
    ]
    assert (await bob.call("trust.set", peer="ann", policy="allow"))["policy"] == "allow"
    assert (await ann.until_state(await ann.send("bob", "hello"), "refused"))["reason"] == NO_DIRECT


# A block.


async def test_nobody_here_is_shown_what_a_blocked_peer_writes(world: World) -> None:
    ann, bob, web = await two(world)
    await bob.call("grant.block", peer="ann")
    sent = [await ann.send(to, "a trap", priority="now") for to in ("bob/web", "bob", "*")]
    for each in sent[:2]:
        assert (await ann.until_state(each, "stored"))["reason"] == ""
    await world.settle(30)
    assert web.seen == []
    assert "a trap" not in await web.tool("check_messages")
    assert await web.hook("Stop") == ""
    assert await bob.read(all=True) == []
    assert await bob.refusal("message.status", id=sent[0]["id"]) == "not_found"
    assert await bob.refusal("message.thread", id=sent[0]["id"]) == "not_found"
    assert (await bob.call("trust.held"))["held"] == []
    await bob.restart()
    await bob.until_online()
    await world.settle(30)
    assert web.seen == []
    assert kept(bob) == 4, "the person and his session, for whom the last one was, have a row each"


async def test_unblocking_shows_what_comes_from_then_on(world: World) -> None:
    ann, bob, web = await two(world)
    await bob.call("grant.block", peer="ann")
    await ann.until_state(await ann.send("bob/web", "one"), "stored")
    assert (await bob.call("grant.unblock", peer="ann"))["policy"] == "allow"
    await ann.send("bob/web", "two", wait="shown", timeout=20)
    await world.settle(10)
    assert ["two" in each for each in web.seen] == [True]
    assert await bob.read(all=True) == []


async def test_a_block_puts_away_what_nobody_has_seen_yet(world: World) -> None:
    ann, bob, web = await two(world)
    web.begin_turn()
    waiting = await ann.send("bob/web", "waits for the end of the turn")
    await ann.until_state(waiting, "stored")
    person = await ann.send("bob", "for bob")
    await ann.until_state(person, "stored")
    await bob.call("grant.block", peer="ann")
    web.end_turn()
    await world.settle(30)
    assert web.seen == []
    assert await bob.read() == []
    assert (await ann.progress(waiting))["state"] == "stored"
    assert (await ann.progress(person))["state"] == "stored"


async def test_a_held_or_refused_peer_is_not_let_in_by_an_unblock(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    await bob.call("trust.set", peer="ann", policy="refuse")
    assert (await bob.call("grant.unblock", peer="ann"))["policy"] == "refuse"
    assert (await bob.call("grant.block", peer="ann"))["policy"] == "block"
    assert [row["policy"] for row in (await bob.call("trust.list"))["peers"]] == ["block"]


def words(value: Any, times: tuple[str, ...] = ("_ms", "id", "thread")) -> Any:
    """An answer without what differs between any two runs: times and ids."""
    if isinstance(value, dict):
        return {key: words(item) for key, item in value.items() if not key.endswith(times)}
    return [words(item) for item in value] if isinstance(value, list) else value


async def what_ann_sees(decide: Callable[[Machine, Claude], Any]) -> tuple[list[Any], list[tuple[int, int]]]:
    """Ann writes to bob in every way, asks for everything about him, and both go away and come back. What she is told,
    and the size of every frame that her broker gives her."""
    async with open_world(77) as world:
        ann, bob = await world.mesh("ann", "bob")
        web = await bob.claude("web")
        await ann.until_knows("bob/web")
        await decide(bob, web)
        await world.settle(5)
        frames: list[tuple[int, int]] = []

        def note(frame: bytes) -> list[bytes]:
            message = split_message(frame)
            frames.append((len(message.header), len(message.body)))
            return [frame]

        world.cable(ann).incoming = note
        sent = [
            await ann.send(to, text, priority=lane)
            for lane in ("next", "low")
            for to, text in (("bob/web", "hello"), ("bob", "for you"), ("*", "all"))
        ]
        await world.settle(40)
        seen: list[Any] = [words(await ann.call("message.status", id=each["id"])) for each in sent]
        seen.append(words(await ann.call("peer.list")))
        seen.append(words(await ann.call("member.rights")))
        seen.append(words(await ann.call("group.list")))
        await world.unplug(bob)
        await world.settle(120)
        seen.append(words(await ann.call("peer.list")))
        late = await ann.send("bob/web", "while you are away")
        await world.plug(bob)
        await ann.until_state(late, "stored")
        await ann.until_knows("bob/web")
        await world.settle(40)
        seen.append(words(await ann.call("message.status", id=late["id"])))
        seen.append(words(await ann.call("peer.list")))
        world.cable(ann).incoming = None
        return seen, sorted(frames)


async def blocks(bob: Machine, web: Claude) -> None:
    await bob.call("grant.block", peer="ann")
    await bob.call("session.mode", mode="inbox", session="web")


async def leaves_unread(bob: Machine, web: Claude) -> None:
    await bob.call("grant.list", peer="ann")
    await bob.call("session.mode", mode="inbox", session="web")


async def shows(bob: Machine, web: Claude) -> None:
    await bob.call("grant.list", peer="ann")


def test_a_blocked_sender_sees_what_he_sees_of_somebody_who_does_not_look() -> None:
    def run(decide: Callable[[Machine, Claude], Any]) -> tuple[list[Any], list[tuple[int, int]]]:
        with seeded_scheduler(77):
            return trio.run(what_ann_sees, decide, clock=trio.testing.MockClock(autojump_threshold=0))

    blocked, unread = run(blocks), run(leaves_unread)
    assert blocked[0] == unread[0]
    assert blocked[1] == unread[1]
    shown = run(shows)
    assert shown[0] != unread[0], "else this comparison would not see a message that is shown"
    assert shown[1] != unread[1]
