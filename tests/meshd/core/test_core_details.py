"""Who sees what a machine's sessions do, where that is withheld from somebody."""

from mesh_protocol.details import DetailsKey, encode_key
from world.letters import letter, post, seal
from world.machine import Machine
from world.world import World


async def three(world: World) -> tuple[Machine, Machine, Machine]:
    """Bob has a session, which the others know."""
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    web = await bob.claude("web")
    web.begin_turn()
    await bob.call("session.mode", mode="inbox", session="web")
    for each in (ann, cid):
        await each.until_knows("bob/web")
    return ann, bob, cid


async def sees(machine: Machine, who: str = "bob/web") -> bool:
    return any(row["to"] == who and row["online"] for row in (await machine.call("peer.list"))["peers"])


async def sees_nothing(machine: Machine) -> bool:
    return not await sees(machine)


async def withhold(world: World, bob: Machine, peer: Machine) -> None:
    await bob.call("grant.take", peer=peer.name, keys=["read"])
    await world.until(lambda: sees_nothing(peer), what=f"{peer.name} does not see bob's session any more")


async def test_one_sees_no_session_and_the_others_see_them_as_before(world: World) -> None:
    ann, bob, cid = await three(world)
    await withhold(world, bob, ann)
    for _ in range(10):
        await world.settle(20)
        assert await sees(ann, "bob"), "that he is there is seen"
        assert await sees_nothing(ann)
        assert await sees(cid)
    heard = ann.app.board.of(ann.mesh().id, bob.app.node.device)
    assert heard is not None
    assert heard.presence.sessions == []
    assert await ann.refusal("message.send", to="bob/web", message="?") == "unknown_recipient"
    await ann.send("bob", "to you", wait="stored", timeout=10)


async def test_what_is_new_is_told_to_who_may_read_it_at_once(world: World) -> None:
    ann, bob, cid = await three(world)
    await withhold(world, bob, ann)
    await bob.claude("api")
    await cid.until_knows("bob/api", seconds=10)
    await world.settle(60)
    assert not await sees(ann, "bob/api")


async def test_given_back_it_is_seen_again_and_no_key_is_left(world: World) -> None:
    ann, bob, cid = await three(world)
    await withhold(world, bob, ann)
    await bob.call("grant.give", peer="ann", keys=["read"])
    await ann.until_knows("bob/web")
    await world.settle(60)
    assert await sees(cid)
    place = (bob.mesh().id, bob.app.node.device)
    assert place not in ann.app.board.details
    assert [each.app.board.details[place].key for each in (bob, cid)] == [b"", b""]


async def test_each_time_somebody_may_not_any_more_the_key_is_another(world: World) -> None:
    ann, bob, cid = await three(world)
    await withhold(world, bob, ann)
    place = (bob.mesh().id, bob.app.node.device)
    first = bob.app.board.details[place]
    await world.until(lambda: cid.app.board.details.get(place) == first, what="cid has the key")
    await withhold(world, bob, cid)
    second = bob.app.board.details[place]
    assert second.key != first.key
    assert second.version > first.version
    await world.until(lambda: cid.app.board.details[place].key == b"", what="cid has none any more")
    assert not await sees(ann)


async def test_who_comes_later_is_given_the_key(world: World) -> None:
    ann, bob, _ = await three(world)
    await withhold(world, bob, ann)
    eve = await world.machine("eve")
    await eve.call("mesh.join", url=await world.invite(ann), me="eve")
    await eve.until_knows("bob/web")
    assert not await sees(ann)


async def test_it_is_so_after_restarts_and_after_a_new_epoch(world: World) -> None:
    ann, bob, cid = await three(world)
    eve = await world.machine("eve")
    await eve.call("mesh.join", url=await world.invite(ann), me="eve")
    await withhold(world, bob, ann)
    for each in (bob, cid, ann):
        await each.restart()
        await each.until_online()
    await cid.until_knows("bob/web")
    assert not await sees(ann)
    await ann.call("member.kick", peer="eve")
    await world.until(lambda: cid.mesh().state.epoch == bob.mesh().state.epoch == 2, what="all turned")
    await world.settle(60)
    heard = cid.app.board.of(cid.mesh().id, bob.app.node.device)
    assert heard is not None
    assert heard.epoch == 2, "a frame for some says nothing of epochs"
    assert await sees(cid)
    assert not await sees(ann)


async def test_a_goodbye_is_heard_by_all(world: World) -> None:
    ann, bob, cid = await three(world)
    await withhold(world, bob, ann)
    await bob.stop()
    for each in (ann, cid):
        await world.until(
            lambda each=each: not each.app.board.is_online(each.mesh().id, bob.app.node.device),  # type: ignore[misc]
            20,
            "it is away",
        )


async def test_an_older_key_or_noise_changes_nothing(world: World) -> None:
    ann, bob, cid = await three(world)
    await withhold(world, bob, ann)
    place = (bob.mesh().id, bob.app.node.device)
    await world.until(lambda: place in cid.app.board.details, what="cid has the key")
    kept = cid.app.board.details[place]
    for content in (encode_key(DetailsKey(kept.version - 1, b"")), encode_key(DetailsKey(kept.version, b"")), b"noise"):
        note = letter(bob, cid, kind="details", content=content)
        await post(bob, seal(bob, cid, note))
        await world.until(
            lambda note=note: cid.app.node.db.reader.execute(
                "SELECT 1 FROM seen WHERE msg_id=?", (note.msg_id,)
            ).fetchone(),  # type: ignore[misc]
            what="it came",
        )
        assert cid.app.board.details[place] == kept
