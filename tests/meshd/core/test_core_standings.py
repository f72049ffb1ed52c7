"""What a person decides on one of his devices holds on the others; nobody else can tell them anything."""

from mesh_protocol.chain_bodies import AddDevice
from mesh_protocol.envelope import open_envelope, parse_outer, seal_envelope, sign_message
from mesh_protocol.ids import MemberId
from mesh_protocol.keys import PrekeyPrivate, SigningKey, sign_prekey
from mesh_protocol.pae import MAX_INT
from mesh_protocol.standing import Standing, decode_standings, encode_standings
from meshd.removal import remove
from meshd.sealing import seal_delivery
from meshd.standings import RENEW_MS
from meshd.store import outbox as sent
from world.letters import judge, letter, post, seal
from world.machine import Machine
from world.world import World

LAPTOP = SigningKey.from_seed(bytes(32))
"""Bob's other device: its key, and no daemon."""


async def three(world: World, *, laptop: bool = True) -> tuple[Machine, Machine, Machine]:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    if laptop:
        await link_laptop(world, bob)
    return ann, bob, cid


async def link_laptop(world: World, bob: Machine) -> None:
    await remove(bob.app, bob.mesh(), [AddDevice(bob.mesh().row.member, LAPTOP.public)])
    others = [each for each in world.machines.values() if each is not bob]
    await world.until(lambda: all(each.mesh().state.is_active(LAPTOP.public) for each in others), what="all know it")


def told(machine: Machine) -> list[tuple[bytes, list[Standing]]]:
    """The decisions that a machine has put on their way, with the device they go to."""
    node = machine.app.node
    rows = node.db.reader.execute(
        "SELECT device, msg_id, content FROM message JOIN delivery USING(msg_id) WHERE kind='standing'"
        " ORDER BY created_ms"
    )
    return [
        (bytes(device), [*decode_standings(node.open("message", "content", bytes(msg_id), bytes(content)))])
        for device, msg_id, content in rows
    ]


def from_laptop(bob: Machine, *rows: Standing, content: bytes | None = None) -> bytes:
    """An envelope of bob's laptop to his other device."""
    message = letter(
        bob,
        bob,
        from_device=LAPTOP.public,
        kind="standing",
        content=encode_standings(rows) if content is None else content,
    )
    prekey = bob.mesh().prekey
    assert prekey is not None
    return seal_envelope(sign_message(message, LAPTOP), attempt=1, spk=prekey)


async def take(reader: Machine, envelope: bytes) -> None:
    """As the receiver does with what the broker brings."""
    verdict = judge(reader, envelope)
    assert verdict.kind == "take", verdict
    assert verdict.outer is not None
    assert verdict.signed is not None
    pending = reader.app.inbox.commit(reader.mesh(), verdict.outer, verdict.signed)
    for row in (await pending.wait()).rows:
        reader.app.ladder.surfaced(row)
    assert judge(reader, envelope).kind == "seen"


def member(machine: Machine) -> MemberId:
    return machine.mesh().row.member


async def policy(bob: Machine, peer: str = "ann") -> tuple[str, list[str]]:
    (row,) = (await bob.call("grant.list", peer=peer))["peers"]
    return row["policy"], row["grants"]


async def test_a_decision_goes_to_my_other_device_and_to_nobody_else(world: World) -> None:
    ann, bob, _ = await three(world)
    await bob.call("grant.block", peer="ann")
    await bob.call("grant.take", peer="ann", keys=["dm"])
    await bob.call("trust.set", peer="cid", policy="hold")
    said_to = told(bob)
    assert {device for device, _ in said_to} == {LAPTOP.public}
    said = [(row.member_id, row.policy, row.withheld) for _, rows in said_to for row in rows]
    assert sorted(said) == sorted(
        [(member(ann), "block", ()), (member(ann), "block", ("dm",)), (member(world.machines["cid"]), "hold", ())]
    )
    assert told(ann) == []


async def test_a_device_that_comes_later_is_told_all_that_was_decided(world: World) -> None:
    ann, bob, cid = await three(world, laptop=False)
    await bob.call("grant.block", peer="ann")
    await bob.call("trust.set", peer="cid", policy="refuse")
    await bob.call("trust.set", peer="cid", policy="allow")
    assert told(bob) == []
    await link_laptop(world, bob)
    await world.until(lambda: bool(told(bob)), what="it is told")
    ((device, rows),) = told(bob)
    assert device == LAPTOP.public
    assert {row.member_id: row.policy for row in rows} == {member(ann): "block", member(cid): "allow"}
    await bob.restart()
    await world.settle(10)
    assert len(told(bob)) == 1
    bob.clock.off_ms += RENEW_MS
    await bob.restart()
    await world.until(lambda: len(told(bob)) == 2, what="it is told anew after a while")


async def test_what_my_other_device_decided_holds_here(world: World) -> None:
    ann, bob, _ = await three(world)
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    now = bob.app.node.now()
    await take(bob, from_laptop(bob, Standing(member(ann), "block", (), now)))
    assert await policy(bob) == ("block", ["read", "dm", "broadcast"])
    trap = await ann.send("bob/web", "a trap")
    await world.settle(20)
    assert web.seen == []
    await take(bob, from_laptop(bob, Standing(member(ann), "allow", ("broadcast",), now + 60_000)))
    assert await policy(bob) == ("allow", ["read", "dm"])
    await ann.send("bob/web", "welcome")
    await world.until(lambda: len(web.seen) == 1, what="it is shown")
    assert trap["id"] not in web.seen[0]


async def test_a_block_from_another_device_puts_away_what_waits_here(world: World) -> None:
    ann, bob, _ = await three(world)
    await ann.send("bob", "unread")
    await world.until(lambda: bob.app.node.db.reader.execute("SELECT 1 FROM inbox").fetchone(), what="it came")
    await take(bob, from_laptop(bob, Standing(member(ann), "block", (), bob.app.node.now())))
    assert await bob.read() == []


async def test_letting_in_on_another_device_lets_in_here_too(world: World) -> None:
    ann, bob, _ = await three(world)
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    await bob.call("trust.set", peer="ann", policy="hold")
    waits = await ann.send("bob/web", "held")
    await world.until(lambda: bob.app.node.db.reader.execute("SELECT 1 FROM held").fetchone(), what="it is held")
    await take(bob, from_laptop(bob, Standing(member(ann), "allow", (), bob.app.node.now() + 1)))
    await world.until(lambda: len(web.seen) == 1, what="it is shown")
    assert waits["id"] in web.seen[0]
    assert (await bob.call("trust.held"))["held"] == []


async def test_the_later_decision_counts_and_a_new_one_is_always_later(world: World) -> None:
    ann, bob, _ = await three(world)
    await bob.call("grant.block", peer="ann")
    await take(bob, from_laptop(bob, Standing(member(ann), "allow", (), bob.app.node.now() - 1)))
    assert (await policy(bob))[0] == "block"
    ahead = bob.app.node.now() + 10**9
    await take(bob, from_laptop(bob, Standing(member(ann), "hold", (), ahead)))
    assert (await policy(bob))[0] == "hold"
    await bob.call("trust.set", peer="ann", policy="allow")
    assert (await policy(bob))[0] == "allow"
    assert told(bob)[-1][1][0].at_ms > ahead, "on the other device it counts too, whatever its clock"


async def test_a_stolen_device_does_not_have_the_last_word_for_ever(world: World) -> None:
    ann, bob, _ = await three(world)
    await bob.call("grant.block", peer="ann")
    await take(bob, from_laptop(bob, Standing(member(ann), "allow", (), MAX_INT)))
    assert (await policy(bob))[0] == "block"
    await bob.call("grant.unblock", peer="ann")
    await bob.call("grant.block", peer="ann")
    assert (await policy(bob))[0] == "block"


async def test_nobody_else_decides_for_me_and_nothing_is_decided_of_myself(world: World) -> None:
    ann, bob, cid = await three(world)
    rows = [Standing(member(cid), "block", (), bob.app.node.now())]
    forged = letter(ann, bob, kind="standing", content=encode_standings(rows))
    await post(ann, seal(ann, bob, forged))
    await world.until(
        lambda: bob.app.node.db.reader.execute("SELECT 1 FROM seen WHERE msg_id=?", (forged.msg_id,)).fetchone(),
        what="it came",
    )
    assert (await policy(bob, "cid"))[0] == "allow"
    await take(bob, from_laptop(bob, Standing(member(bob), "block", (), bob.app.node.now())))
    await take(bob, from_laptop(bob, content=b"noise"))
    assert bob.app.node.db.reader.execute("SELECT count(*) FROM trust").fetchone() == (0,)


async def test_what_goes_out_is_what_the_other_device_reads(world: World) -> None:
    _, bob, _ = await three(world)
    await bob.call("grant.take", peer="ann", keys=["broadcast"])
    private = PrekeyPrivate.from_seed(bytes(range(32)))
    mesh = bob.mesh()
    mesh.peer_prekeys[LAPTOP.public] = sign_prekey(LAPTOP, mesh.id, 1, private.public, bob.app.node.now())
    ((device, rows),) = told(bob)
    (msg_id,) = bob.app.node.db.reader.execute("SELECT msg_id FROM message WHERE kind='standing'").fetchone()
    message = sent.read_message(bob.app.node.db.reader, msg_id)
    delivery = sent.read_delivery(bob.app.node.db.reader, msg_id, device)
    assert message is not None
    assert delivery is not None
    content = bob.app.node.open("message", "content", msg_id, message.content)
    sealed = seal_delivery(bob.app.node, mesh, message, content, delivery)
    assert sealed is not None
    assert sealed.envelope is not None
    read = open_envelope(parse_outer(sealed.envelope), private).message
    assert (read.kind, read.to_device, read.to_member) == ("standing", LAPTOP.public, member(bob))
    assert [*decode_standings(read.content)] == rows
