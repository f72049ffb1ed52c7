"""Membership of groups: who may change it, what outlasts what, and how every other machine learns of it."""

import trio

from mesh_broker.limits import Limits
from mesh_protocol.profile import GroupRole, Profile, SessionGroups
from mesh_protocol.wire.codec import decode
from mesh_protocol.wire.framing import encode_frame, split_message
from mesh_protocol.wire.items import pack_items
from meshd.groups import ABSENT_MS
from meshd.profiles import RENEW_MS
from meshd.store.inbox import is_seen
from world.letters import letter, post, seal, stranger_prekey
from world.machine import Machine
from world.talk import Answer
from world.world import World


async def until_groups(machine: Machine, *wanted: str, seconds: float = 30.0) -> None:
    """Wait until the machine lists exactly these memberships, each as `group to role`."""

    async def same() -> bool:
        return await groups(machine) == sorted(wanted)

    await machine.world.until(same, seconds, f"{machine.name} lists {wanted}")


async def groups(machine: Machine) -> list[str]:
    rows = (await machine.call("group.list"))["members"]
    return sorted(f"{row['group']} {row['to']} {row['role']}".strip() for row in rows)


def profiles_of(machine: Machine) -> list[tuple[bytes, int]]:
    """The profile messages in the outbox: their ids and how many deliveries each has."""
    query = (
        "SELECT msg_id, (SELECT count(*) FROM delivery d WHERE d.msg_id=m.msg_id) FROM message m WHERE kind='profile'"
    )
    return [(bytes(row[0]), int(row[1])) for row in machine.app.node.db.reader.execute(query)]


async def test_every_machine_learns_who_joined_and_who_left(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    web = await ann.claude("web")
    assert "web/ui (lead)" in await web.tool("join_group", name="web/ui", role="lead")
    await until_groups(bob, "web/ui ann/web lead")
    await until_groups(eve, "web/ui ann/web lead")
    await web.tool("join_group", name="@Web/UI", role="observer")
    await until_groups(bob, "Web/UI ann/web observer")
    await web.tool("leave_group", name="WEB/ui")
    await until_groups(bob)
    await until_groups(eve)


async def test_a_machine_that_was_never_online_together_with_the_other_learns_it(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.stop()
    web = await ann.claude("web")
    await web.tool("join_group", name="web")
    await world.settle(5)
    await ann.stop()
    await bob.start()
    await bob.until_online()
    await until_groups(bob, "web ann/web")


async def test_a_machine_that_is_let_in_later_learns_it(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    await web.tool("join_group", name="web")
    await until_groups(bob, "web ann/web")
    before = profiles_of(ann)
    eve = await world.machine("eve")
    await eve.call("mesh.join", url=await world.invite(ann), me="eve")
    await until_groups(eve, "web ann/web")
    assert set(profiles_of(ann)) > set(before), "the others are not told anew"
    assert sorted(count for _, count in profiles_of(ann)) == [1, 1]
    await web.tool("join_group", name="api")
    await until_groups(bob, "web ann/web", "api ann/web")
    assert [count for _, count in profiles_of(ann)] == [2], "the newest replaces them all"


async def test_a_machine_without_groups_tells_nothing(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.claude("web")
    await world.settle(10)
    assert profiles_of(ann) == profiles_of(bob) == []


async def test_many_changes_at_once_are_told_in_few_messages_and_the_newest_replaces_the_others(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    await world.unplug(bob)
    for number in range(20):
        await web.tool("join_group", name=f"g{number}")
    await world.settle(10)
    assert len(profiles_of(ann)) == 1
    (said,) = ann.app.profiles._said.values()
    assert len(said.profile.sessions[0].groups) == 20
    await world.plug(bob)
    await until_groups(bob, *(f"g{number} ann/web" for number in range(20)))


async def test_groups_outlast_the_daemon_and_a_resumed_session(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    await web.tool("join_group", name="web/ui", role="lead")
    await until_groups(bob, "web/ui ann/web lead")
    await ann.restart()
    await bob.restart()
    await until_groups(ann, "web/ui ann/web lead")
    await until_groups(bob, "web/ui ann/web lead")
    await web.end()
    await world.until(lambda: not ann.app.sessions.live(), what="the session ended")
    again = await web.resume()
    assert "api" in await again.tool("join_group", name="api")
    await until_groups(bob, "web/ui ann/web lead", "api ann/web")


async def test_a_session_that_ended_stays_in_its_groups_for_a_weekend(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web, api = await ann.claude("web"), await ann.claude("api")
    await web.tool("join_group", name="g")
    await api.tool("join_group", name="g")
    await web.end()
    await world.until(lambda: len(ann.app.sessions.live()) == 1, what="the session ended")
    await until_groups(bob, "g ann/web", "g ann/api")
    ann.clock.off_ms += ABSENT_MS
    await api.tool("join_group", name="h")
    await until_groups(bob, "g ann/api", "h ann/api")


async def test_a_hidden_session_is_in_no_group_for_others(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    await web.tool("join_group", name="g")
    await until_groups(bob, "g ann/web")
    await web.tool("set_visible", visible=False)
    await until_groups(bob)
    assert await groups(ann) == ["g ann/web"], "its own person sees it"
    await web.tool("set_visible", visible=True)
    await until_groups(bob, "g ann/web")


async def test_a_session_that_is_renamed_keeps_its_groups(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    await web.tool("join_group", name="g")
    await web.tool("set_profile", name="heron")
    await until_groups(bob, "g ann/heron")


async def test_groups_are_told_in_the_mesh_of_the_session_only(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    (_, eve) = await world.mesh("ann", "eve", title="second")
    web = await ann.claude("web", mesh="team")
    await web.tool("join_group", name="g")
    await until_groups(bob, "g ann/web")
    await world.settle(5)
    assert await groups(eve) == []


async def test_a_person_puts_a_session_of_this_machine_into_a_group_and_an_agent_only_itself(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    web, _ = await ann.claude("web"), await ann.claude("api")
    joined = await ann.call("group.join", name="g", role="lead", session="API")
    assert joined == {"to": "ann/api", "groups": ["g (lead)"]}
    assert await ann.refusal("group.join", name="g") == "no_session"
    assert await ann.refusal("group.join", name="g", session="docs") == "no_session"
    shell = await web.shell()
    assert (await shell.refusal("group.join", name="g", session="api")).code == "not_allowed"
    assert (await shell.refusal("group.list", session="api")).code == "not_allowed"
    assert (await shell.call("group.join", name="g", session="WEB"))["to"] == "ann/web"
    left = await ann.call("group.leave", name="G", session="api")
    assert left == {"to": "ann/api", "groups": []}
    assert await groups(ann) == ["g ann/web"]


async def test_a_session_is_in_a_bounded_number_of_groups(world: World) -> None:
    (ann,) = await world.mesh("ann")
    web = await ann.claude("web")
    talk = await web.shell()
    for number in range(32):
        await talk.call("group.join", name=f"g{number}")
    assert (await talk.refusal("group.join", name="g32")).code == "bad_request"
    await talk.call("group.join", name="G31", role="another role is no further group")
    await talk.call("group.leave", name="g0")
    await talk.call("group.join", name="g32")


async def test_groups_that_no_profile_holds_are_told_as_far_as_there_is_room(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    for number in range(4):
        session = await ann.claude(f"s{number}")
        talk = await session.shell()
        for group in range(31):
            await talk.call("group.join", name=f"{group:03d}" + "g" * 125, role="\U0001f600" * 60)
    await world.settle(5)
    (said,) = ann.app.profiles._said.values()
    assert 0 < len(said.profile.sessions) < 4
    told = {row.session for row in bob.app.groups.known(bob.mesh())[ann.app.node.device]}
    assert told == {row.session for row in said.profile.sessions}


async def test_the_list_of_peers_tells_groups_and_can_be_narrowed_to_one(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    web, api = await ann.claude("web"), await ann.claude("api")
    docs = await bob.claude("docs")
    await web.tool("join_group", name="web/ui", role="lead")
    await web.tool("join_group", name="on-call")
    await docs.tool("join_group", name="Web")
    await until_groups(eve, "web/ui ann/web lead", "on-call ann/web", "Web bob/docs")
    await eve.until_knows("ann/api")
    await eve.until_knows("bob/docs")

    async def listed(**params: str) -> dict[str, Answer]:
        return {row["to"]: row for row in (await eve.call("peer.list", **params))["peers"]}

    everybody = await listed()
    assert everybody["ann/web"]["groups"] == ["web/ui (lead)", "on-call"]
    assert everybody["ann/api"]["groups"] == everybody["ann"]["groups"] == []
    assert (await listed(group="@web")).keys() == {"ann/web", "bob/docs"}
    assert (await listed(group="web/ui")).keys() == {"ann/web"}
    assert (await listed(group="nothing")) == {}
    assert await eve.refusal("peer.list", group="we b") == "bad_group"
    assert "web/ui (lead)" in await api.tool("list_peers", group="web")
    # Of a machine that is away its groups are known, and that is all.
    await bob.stop()
    await eve.restart()
    away = (await listed(group="web"))["bob/docs"]
    assert (away["online"], away["status"], away["groups"]) == (False, "away", ["Web"])


async def test_a_profile_is_said_again_before_no_mailbox_holds_it_any_more(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    await web.tool("join_group", name="g")
    await until_groups(bob, "g ann/web")
    before = profiles_of(ann)
    mesh = ann.mesh()
    first = ann.app.profiles._said[mesh.id].profile.version
    for machine in (ann, bob):
        machine.clock.off_ms += RENEW_MS
    await trio.sleep(4000)
    assert ann.app.profiles._said[mesh.id].profile.version > first
    assert len(profiles_of(ann)) == len(before) == 1
    assert profiles_of(ann) != before
    await until_groups(bob, "g ann/web")


async def test_of_two_profiles_the_newer_counts_in_whatever_order_they_come(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    new = Profile(9, (SessionGroups("web", (GroupRole("new", ""),)),))
    old = Profile(8, (SessionGroups("web", (GroupRole("old", ""),)),))
    reader = bob.app.node.db.reader
    for profile in (new, old):
        message = letter(ann, bob, kind="profile", content=profile.encode(), stream_seq=0)
        await post(ann, seal(ann, bob, message))
        await world.until(lambda sent=message: is_seen(reader, sent.from_device, sent.msg_id), what="it came")
    assert await groups(bob) == ["new ann/web"]
    await bob.restart()
    assert await groups(bob) == ["new ann/web"]


async def test_a_profile_that_cannot_be_read_is_taken_and_changes_nothing(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    await web.tool("join_group", name="g")
    await until_groups(bob, "g ann/web")
    message = letter(ann, bob, kind="profile", content=b"no profile", stream_seq=0)
    await post(ann, seal(ann, bob, message))
    reader = bob.app.node.db.reader
    await world.until(lambda: is_seen(reader, message.from_device, message.msg_id), what="it was taken")
    assert await groups(bob) == ["g ann/web"]
    assert await bob.read() == []


async def test_a_profile_is_nothing_that_a_person_sees(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    await web.tool("join_group", name="g")
    await until_groups(bob, "g ann/web")
    ((msg_id, _),) = profiles_of(ann)
    assert await ann.refusal("message.status", id=msg_id.hex()) == "not_found"
    assert await bob.refusal("message.status", id=msg_id.hex()) == "not_found"
    assert (await bob.call("inbox.read", all=True))["messages"] == []


async def test_stored_groups_are_unreadable_without_the_store_key(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    await web.tool("join_group", name="canary-group")
    await until_groups(bob, "canary-group ann/web")
    await bob.stop()
    data = b"".join(path.read_bytes() for path in bob.paths.data.rglob("*") if path.is_file())
    assert b"canary-group" not in data


async def test_a_profile_is_sealed_anew_for_a_machine_whose_prekey_is_another_one(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    device = bob.app.node.device
    ann.mesh().peer_prekeys[device] = stranger_prekey(bob, 99)
    web = await ann.claude("web")
    await web.tool("join_group", name="g")
    await until_groups(bob, "g ann/web")
    assert ann.mesh().peer_prekeys[device] == bob.mesh().prekey


async def test_while_the_broker_takes_nothing_newer_profiles_replace_those_that_wait(world: World) -> None:
    await world.broker(limits=Limits(member_rate=0.2, member_burst=4))
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    web = await ann.claude("web")
    for number in range(30):
        await web.tool("join_group", name=f"g{number}")
        await world.settle(2)
    everything = [f"g{number} ann/web" for number in range(30)]
    await until_groups(bob, *everything, seconds=300)
    await until_groups(eve, *everything, seconds=300)
    assert len(profiles_of(ann)) == 1
    sent = await ann.send("bob", "and messages go on", wait="stored", timeout=100)
    assert sent["state"] == "stored"
    queue = ann.app.outbox.queue(ann.mesh().id)
    await world.until(lambda: not queue._rows and not queue._hand, 300, "nothing is left in the queue")


async def test_a_profile_that_is_replaced_while_its_recipients_prekey_is_unknown_blocks_nothing(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    mesh, device = ann.mesh(), bob.app.node.device
    web = await ann.claude("web")

    def hide(frame: bytes) -> list[bytes]:
        """The broker does not give any prekeys out."""
        header, body = split_message(frame)
        match decode(header):
            case [1, int(), None, _] if prekey.encode() in body:
                return [encode_frame(header, pack_items([]))]
        return [frame]

    prekey = mesh.peer_prekeys.pop(device)
    world.cable(ann).incoming = hide
    for number in range(4):
        await web.tool("join_group", name=f"g{number}")
        await world.settle(3)
    assert device not in mesh.peer_prekeys
    world.cable(ann).incoming = lambda frame: [frame]
    await until_groups(bob, *(f"g{number} ann/web" for number in range(4)))
    queue = ann.app.outbox.queue(mesh.id)
    await world.until(lambda: not queue._rows and not queue._hand, what="nothing is left in the queue")
