"""Being let in: at once, later, once for an invite, over restarts; and what is said when it cannot be."""

from collections.abc import Callable

import pytest
import trio

from mesh_broker.client import PeerInfo
from mesh_protocol.ids import InviteId, MeshId
from mesh_protocol.invite import InviteLink, parse_link
from mesh_protocol.wire.errors import MeshError
from world.machine import Machine
from world.talk import Answer
from world.world import World

DAY_MS = 24 * 3600 * 1000


async def refusal(machine: Machine, url: str, **params: object) -> MeshError:
    talk = await machine.talk_of(machine.processes.shell)
    return await talk.refusal("mesh.join", url=url, **{"me": machine.name, **params})


async def until_joined(machine: Machine, seconds: float = 120.0) -> None:
    await machine.world.until(lambda: machine.mesh().active, seconds, f"{machine.name} was let in")
    await machine.until_online()


async def status_of(machine: Machine) -> Answer:
    (mesh,) = (await machine.call("daemon.status"))["meshes"]
    return dict(mesh)


def set_clocks(world: World, by_ms: int) -> None:
    for machine in world.machines.values():
        machine.clock.off_ms = by_ms
    for broker in world.network.brokers.values():
        broker.clock.off_ms = by_ms


async def test_an_invite_lets_in_at_once_while_its_maker_is_online(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    eve = await world.machine("eve")
    joined = await eve.call("mesh.join", url=await world.invite(ann), me="eve")
    assert (joined["state"], joined["mesh"], joined["me"]) == ("joined", "team", "eve")
    await eve.until_online()
    await eve.send("bob", "hello", wait="stored")


async def test_with_nobody_online_one_waits_visibly_and_is_let_in_later(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    url = await world.invite(ann)
    await ann.crash()
    eve = await world.machine("eve")
    before = trio.current_time()
    joined = await eve.call("mesh.join", url=url, me="eve")
    assert joined["state"] == "pending"
    assert 10 <= trio.current_time() - before < 11
    status = await status_of(eve)
    assert (status["state"], status["waiting_for"]) == ("pending", "ann to let you in")
    again = await eve.call("mesh.join", url=url, me="eve", wait_s=1)
    assert again["state"] == "pending", "asking twice with one invite is asking once"
    await trio.sleep(3600)
    await ann.start()
    await until_joined(eve)
    assert (await status_of(eve))["state"] == "joined"
    await eve.send("ann", "thank you", wait="stored")


async def test_a_joiner_that_was_restarted_while_it_waited_is_let_in(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    url = await world.invite(ann)
    await ann.crash()
    eve = await world.machine("eve")
    await eve.call("mesh.join", url=url, me="eve", wait_s=1)
    for _ in range(2):
        await eve.restart()
        await world.settle(10)
        assert (await status_of(eve))["state"] == "pending"
    await ann.start()
    await until_joined(eve)


async def test_a_joiner_that_was_let_in_while_it_was_away_finds_itself_in(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    url = await world.invite(ann)
    await ann.crash()
    eve = await world.machine("eve")
    await eve.call("mesh.join", url=url, me="eve", wait_s=1)
    await eve.crash()
    await ann.start()
    await bob.world.until(lambda: "eve" in bob.mesh().names.values(), what="she was admitted")
    sent = await bob.send("eve", "welcome")
    await eve.start()
    await until_joined(eve)
    await bob.until_state(sent, "stored")
    assert await eve.read() == ["welcome"]


async def test_an_invite_serves_once(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    url = await world.invite(ann)
    eve, carl = await world.machine("eve"), await world.machine("carl")
    await eve.call("mesh.join", url=url, me="eve")
    assert (await refusal(carl, url)).code == "invite_used"
    assert carl.app.node.meshes == {}, "nothing is kept of it"
    assert (await refusal(eve, url)).code == "already_member"


async def test_of_two_joiners_with_one_invite_exactly_one_is_let_in(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    url = await world.invite(ann)
    await ann.crash()
    eve, carl = await world.machine("eve"), await world.machine("carl")
    for machine in (eve, carl):
        assert (await machine.call("mesh.join", url=url, me=machine.name, wait_s=1))["state"] == "pending"
    await ann.start()
    await world.until(lambda: eve.mesh().active or carl.mesh().active, 120, "one was let in")
    await world.settle(60)
    inside, outside = (eve, carl) if eve.mesh().active else (carl, eve)
    assert not outside.mesh().active
    status = await status_of(outside)
    assert status["state"] == "failed"
    assert status["trouble"] == "this invite was used already: ask for a new one (mesh invite)"
    (check,) = [row for row in (await outside.call("daemon.doctor"))["checks"] if row["name"].startswith("mesh ")]
    assert (check["ok"], check["text"]) == ("bad", "not let in: this invite was used already")
    assert sorted(bob.mesh().names.values()) == sorted(["ann", "bob", inside.name])
    await outside.restart()
    await world.settle(60)
    assert (await status_of(outside))["state"] == "failed"
    joined = await outside.call("mesh.join", url=await world.invite(ann), me=outside.name)
    assert joined["state"] == "joined", "another invite mends it"
    await outside.until_online()


async def test_who_waits_on_the_command_line_is_told_when_somebody_else_used_the_invite(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    url = await world.invite(ann)
    await ann.crash()
    ends: list[str] = []

    async def join(machine: Machine) -> None:
        try:
            ends.append((await machine.call("mesh.join", url=url, me=machine.name, wait_s=60))["state"])
        except MeshError as error:
            ends.append(error.code)

    machines = [await world.machine(name) for name in ("eve", "carl")]
    async with trio.open_nursery() as nursery:
        for machine in machines:
            nursery.start_soon(join, machine)
        await trio.sleep(5)
        await ann.start()
    assert sorted(ends) == ["invite_used", "joined"]


async def test_a_new_invite_takes_the_place_of_one_that_ran_out(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    old = (await ann.call("mesh.invite", expires_s=60))["url"]
    new = await world.invite(ann)
    await ann.crash()
    eve = await world.machine("eve")
    await eve.call("mesh.join", url=old, me="eve", wait_s=1)
    set_clocks(world, 5 * 60_000)
    assert (await eve.call("mesh.join", url=new, me="eva", wait_s=1))["state"] == "pending"
    await ann.start()
    await until_joined(eve)
    assert set(ann.mesh().names.values()) == {"ann", "bob", "eva"}


async def test_a_bad_new_invite_changes_nothing_of_the_one_that_is_waited_on(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    url = await world.invite(ann)
    await ann.crash()
    eve = await world.machine("eve")
    await eve.call("mesh.join", url=url, me="eve", wait_s=1)
    link = parse_link(url)
    wrong = InviteLink(link.mesh_id, InviteId(b"w" * 32), link.broker_url, b"s" * 32)
    assert (await refusal(eve, wrong.url())).code == "invite_unknown"
    await eve.restart()
    await ann.start()
    await until_joined(eve)


async def test_two_calls_with_one_invite_at_once_join_once(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    url = await world.invite(ann)
    eve = await world.machine("eve")
    answers: list[str] = []

    async def join() -> None:
        try:
            answers.append((await eve.call("mesh.join", url=url, me="eve"))["state"])
        except MeshError as error:
            answers.append(error.code)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(join)
    assert "joined" in answers
    assert set(answers) <= {"joined", "already_member"}
    await eve.restart()
    await eve.until_online()
    assert eve.mesh().prekey is not None
    await eve.send("ann", "hello", wait="stored")


@pytest.mark.parametrize(
    "change",
    [
        lambda link: InviteLink(link.mesh_id, InviteId(b"x" * 32), link.broker_url, link.secret),
        lambda link: InviteLink(link.mesh_id, link.invite_id, link.broker_url, b"s" * 32),
    ],
)
async def test_an_invite_that_the_mesh_does_not_know_is_refused(
    world: World, change: Callable[[InviteLink], InviteLink]
) -> None:
    ann, _ = await world.mesh("ann", "bob")
    eve = await world.machine("eve")
    link = change(parse_link(await world.invite(ann)))
    assert (await refusal(eve, link.url())).code == "invite_unknown"
    assert eve.app.node.meshes == {}


async def test_an_invite_to_a_mesh_that_the_broker_does_not_know_is_refused(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    link = parse_link(await world.invite(ann))
    eve = await world.machine("eve")
    other = InviteLink(MeshId(b"x" * 32), link.invite_id, link.broker_url, link.secret)
    assert (await refusal(eve, other.url())).code == "unknown_on_broker"
    away = InviteLink(link.mesh_id, link.invite_id, "ws://127.0.0.1:9", link.secret)
    assert (await refusal(eve, away.url())).code == "broker_unreachable"


@pytest.mark.parametrize("text", ["x", "mesh://join/1", "https://example.org", "mesh://join/1?m=x&i=y&b=z#w"])
async def test_what_is_no_invite_is_refused(world: World, text: str) -> None:
    eve = await world.machine("eve")
    assert (await refusal(eve, text)).code == "bad_invite"


@pytest.mark.parametrize("name", ["a b", "x" * 33, "a/b", "\u202ebob", "@all"])
async def test_a_name_that_cannot_be_one_is_refused(world: World, name: str) -> None:
    ann, _ = await world.mesh("ann", "bob")
    eve = await world.machine("eve")
    assert (await refusal(eve, await world.invite(ann), me=name)).code == "bad_name"
    assert await eve.refusal("mesh.new", name="x", me=name) == "bad_name"


async def test_an_expired_invite_is_refused(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    url = (await ann.call("mesh.invite", expires_s=60))["url"]
    eve = await world.machine("eve")
    set_clocks(world, 5 * 60_000)
    error = await refusal(eve, url)
    assert error.code == "invite_expired"
    assert "4 minutes ago" in error.message


async def test_a_request_that_is_first_seen_too_late_waits_for_a_person(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    url = (await ann.call("mesh.invite", expires_s=60))["url"]
    await ann.crash()
    eve = await world.machine("eve")
    await eve.call("mesh.join", url=url, me="eve", wait_s=1)
    set_clocks(world, 5 * 60_000)
    await ann.start()
    events = await ann.talk(ann.processes.shell)
    await events.call("events.subscribe", kinds=["join_waits"])
    await ann.restart()
    await ann.until_online()
    await world.settle(60)
    assert not eve.mesh().active
    assert sorted(bob.mesh().names.values()) == ["ann", "bob"]


async def test_a_taken_name_is_shown_with_a_part_of_its_id(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    second = await world.machine("second")
    joined = await second.call("mesh.join", url=await world.invite(ann), me="BOB")
    shown = f"BOB~{second.mesh().row.member.hex()[:4]}"
    assert joined["me"] == shown
    for machine in (ann, bob, second):
        await world.until(lambda m=machine: shown in m.mesh().names.values(), what="they see the name")  # type: ignore[misc]
    await ann.send(shown, "to the second", wait="stored")
    await ann.send("bob", "to the first", wait="stored")
    assert await second.read() == ["to the second"]
    assert await bob.read() == ["to the first"]
    await ann.restart()
    assert shown in ann.mesh().names.values()


# Making and inviting.


async def test_a_mesh_is_made_and_known_by_its_own_name(world: World) -> None:
    broker = await world.broker()
    ann = await world.machine("ann")
    made = await ann.call("mesh.new", name="My Team", me="ann", broker=broker.url)
    assert (made["mesh"], made["me"], made["broker"]) == ("my-team", "ann", broker.url)
    (row,) = (await ann.call("mesh.list"))["meshes"]
    assert (row["name"], row["mesh"], row["default"], row["members"], row["online"]) == (
        "My Team",
        "my-team",
        True,
        1,
        1,
    )


async def test_meshes_of_one_name_get_numbers_here_also_when_made_at_once(world: World) -> None:
    broker = await world.broker()
    ann = await world.machine("ann")
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(lambda: ann.call("mesh.new", name="team", me="ann", broker=broker.url))
    assert sorted(row["mesh"] for row in (await ann.call("mesh.list"))["meshes"]) == ["team", "team-2", "team-3"]
    await ann.restart()
    assert [row["default"] for row in (await ann.call("mesh.list"))["meshes"]].count(True) == 1


@pytest.mark.parametrize("name", ["", " team", "x" * 49, "a/b", "a\nb"])
async def test_a_mesh_name_that_cannot_be_one_is_refused(world: World, name: str) -> None:
    ann = await world.machine("ann")
    assert await ann.refusal("mesh.new", name=name, me="ann") in ("bad_name", "bad_request")
    assert ann.app.node.meshes == {}


async def test_a_broker_elsewhere_wants_its_admission_token(world: World) -> None:
    broker = await world.broker()
    broker.peer = PeerInfo("192.0.2.7", False)
    ann = await world.machine("ann")
    assert await ann.refusal("mesh.new", name="team", me="ann", broker=broker.url) == "admission_needed"
    assert await ann.refusal("mesh.new", name="team", me="ann", broker=f"{broker.url}#guessed") == "admission_needed"
    token = "an admission token of at least 32 characters"
    made = await ann.call("mesh.new", name="team", me="ann", broker=f"{broker.url}#{token}")
    assert made["broker"] == broker.url, "the token is kept nowhere"
    assert token not in str(await ann.call("daemon.status"))


async def test_only_a_signer_invites(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    talk = await bob.talk_of(bob.processes.shell)
    error = await talk.refusal("mesh.invite")
    assert error.code == "not_allowed"
    assert "ann" in error.message


async def test_what_only_this_machine_can_reach_has_no_invites(world: World) -> None:
    ann = await world.machine("ann")
    assert await ann.refusal("mesh.invite") == "no_mesh"
    await ann.call("mesh.new", name="team", me="ann")
    assert await ann.refusal("mesh.invite") == "mesh_local_only"


async def test_who_waits_to_be_let_in_invites_nobody(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    url = await world.invite(ann)
    await ann.crash()
    eve = await world.machine("eve")
    await eve.call("mesh.join", url=url, me="eve", wait_s=0)
    assert await eve.refusal("mesh.invite") == "not_allowed"


async def test_an_invite_needs_the_broker_and_says_so_in_time(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await world.unplug(ann)
    before = trio.current_time()
    assert await ann.refusal("mesh.invite") == "broker_unreachable"
    assert trio.current_time() - before < 20


async def test_an_invite_for_an_admin_makes_one(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    invite = await ann.call("mesh.invite", role="admin", expires_s=600)
    assert invite["expires_ms"] == ann.app.node.now() + 600_000
    eve = await world.machine("eve")
    await eve.call("mesh.join", url=invite["url"], me="eve")
    await bob.until_knows("eve")
    roles = {row["to"]: row["role"] for row in (await bob.call("peer.list"))["peers"]}
    assert roles == {"ann": "owner", "bob": "member", "eve": "admin"}
