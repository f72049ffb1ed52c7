"""A restart restores everything: what is on the disk is the truth, and it is verified anew."""

import pytest
import trio

from meshd.mesh import Mesh
from meshd.refusal import StartRefused
from world.machine import Machine
from world.world import World


def facts(mesh: Mesh) -> dict[str, object]:
    """Of a mesh, what must be the same after a restart."""
    assert mesh.keys is not None
    assert mesh.prekey is not None
    return {
        "row": mesh.row._replace(next_mseq=0),
        "hashes": list(mesh.hashes),
        "names": mesh.names,
        "title": mesh.title(),
        "keys": (mesh.keys.name_key, dict(mesh.keys.epochs)),
        "prekey": mesh.prekey.encode(),
        "prekeys": {number: prekey.public for number, prekey in mesh.prekeys.items()},
        "streams": dict(mesh.streams),
    }


async def busy(world: World) -> tuple[Machine, Machine]:
    """Two machines in two meshes with messages both ways and a session each."""
    ann, bob = await world.mesh("ann", "bob")
    await world.mesh("ann", "bob", title="club")
    for slug in ("team", "club"):
        await ann.send(f"{slug}:bob", "there", wait="stored")
        await bob.send(f"{slug}:ann", "and back", wait="stored")
    return ann, bob


@pytest.mark.parametrize("how", ["crash", "stop"])
async def test_meshes_keys_names_and_streams_come_back(world: World, how: str) -> None:
    ann, _ = await busy(world)
    before = {slug: facts(ann.mesh(slug)) for slug in ("team", "club")}
    generation, device = ann.app.node.generation, ann.app.node.device
    await (ann.crash() if how == "crash" else ann.stop())
    await ann.start()
    assert {slug: facts(ann.mesh(slug)) for slug in ("team", "club")} == before
    assert ann.app.node.generation == generation + 1
    assert ann.app.node.device == device
    assert ann.mesh().slug == "team", "the default mesh stays the default"
    await ann.until_online()


async def test_everything_works_before_any_broker_answers(world: World) -> None:
    ann, _ = await busy(world)
    await ann.crash()
    world.cable(ann).down = True
    await ann.start()
    assert (await ann.call("daemon.status"))["unread"] == 2
    assert await ann.read() == ["and back", "and back"]
    sent = await ann.send("team:bob", "queued")
    assert (await ann.call("message.status", id=sent["id"]))["state"] == "queued"
    assert [row["state"] for row in (await ann.call("mesh.list"))["meshes"]] == ["joined", "joined"]
    await world.plug(ann)
    await ann.until_state(sent, "stored")


async def test_messages_and_their_progress_come_back(world: World) -> None:
    ann, bob = await busy(world)
    sent = await ann.send("team:bob", "seen", wait="stored")
    await bob.read()
    await ann.until_state(sent, "shown")
    before = await ann.call("message.status", id=sent["id"])
    await ann.restart()
    assert await ann.call("message.status", id=sent["id"]) == before


async def test_sessions_that_live_are_taken_up_again(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    key = web.key
    await bob.restart()
    assert web.key == key
    assert [session.name for session in bob.app.sessions.live()] == ["web"]
    assert (await ann.send("bob/web", "still there?", wait="shown"))["reached"]


async def test_sessions_that_ended_meanwhile_are_remembered_as_ended(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await bob.crash()
    await web.end()
    await bob.start()
    (session,) = bob.app.sessions.all()
    assert (session.alive, session.name, session.ended_ms > 0) == (False, "web", True)


async def test_sessions_are_forgotten_after_a_month(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await web.end()
    await world.until(lambda: not bob.app.sessions.live(), what="its end was seen")
    await bob.crash()
    bob.clock.off_ms = 31 * 24 * 3600 * 1000
    await bob.start()
    assert bob.app.sessions.all() == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE chain SET record=(SELECT record FROM chain WHERE seq=2) WHERE seq=3",
        "UPDATE chain SET record=x'00' WHERE seq=1",
        "DELETE FROM chain WHERE seq=2",
        "UPDATE epoch_key SET sealed=zeroblob(length(sealed))",
        "UPDATE prekey SET sealed=zeroblob(length(sealed))",
        "UPDATE mesh SET secret=zeroblob(length(secret))",
    ],
)
async def test_what_was_altered_on_the_disk_stops_the_start_with_a_sentence(world: World, damage: str) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await ann.app.node.db.write(lambda tx: tx.execute(damage))
    await ann.crash()
    with pytest.raises(StartRefused, match="damaged in the mesh team"):
        await ann.start()


async def test_many_restarts_in_a_row_lose_nothing(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    for number in range(10):
        await ann.send("bob", f"{number}")
        await (ann, bob)[number % 2].restart()
    await world.settle(60)
    assert await bob.read(limit=100) == [f"{number}" for number in range(10)]


async def test_both_ends_killed_at_once_and_the_broker_too(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    sent = await ann.send("bob", "through it all")
    await trio.lowlevel.checkpoint()
    broker = next(iter(world.network.brokers.values()))
    await ann.crash()
    await broker.stop()
    await bob.crash()
    await bob.start()
    await broker.start()
    await ann.start()
    await ann.until_state(sent, "stored")
    assert await bob.read(all=True) == ["through it all"]


async def test_a_lower_generation_is_a_clone_and_is_refused(world: World) -> None:
    """A disk restored from a backup: the broker has seen a later start of this very device."""
    ann, _ = await world.mesh("ann", "bob")
    await ann.restart()
    await ann.until_online()
    await ann.crash()
    await ann.start()
    ann.app.node.generation = 1
    await world.until(lambda: ann.mesh().link.value == "refused", what="the broker refused it")
    assert "another daemon uses this machine's key" in ann.mesh().link_why
