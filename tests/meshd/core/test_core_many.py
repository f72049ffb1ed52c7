"""One message to many: sealed once, each recipient his own copy, state and receipt; whoever is away gets it later."""

import pytest

import meshd.outbox
from mesh_protocol.wire.codec import decode
from mesh_protocol.wire.framing import split_message
from meshd.store.meshes import put_prekey
from world.machine import Machine
from world.talk import Answer
from world.world import World


async def states(machine: Machine, sent: Answer) -> dict[str, str]:
    """How far a message got, by recipient."""
    found = await machine.call("message.status", id=sent["id"])
    return {row["to"]: row["state"] for row in found["recipients"]}


def watch(world: World, machine: Machine) -> list[tuple[str, int]]:
    """Every request to send that leaves a machine: its method, and the size of its body."""
    seen: list[tuple[str, int]] = []

    def note(frame: bytes) -> list[bytes]:
        header, body = split_message(frame)
        said = decode(header)
        if isinstance(said, list) and said[0] == 0 and str(said[2]).startswith("mail."):
            seen.append((str(said[2]), len(body)))
        return [frame]

    world.cable(machine).outgoing = note
    return seen


async def test_a_list_is_sealed_once_and_each_recipient_answers_for_himself(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    seen = watch(world, ann)
    sent = await ann.send(["bob", "eve"], "to both of you", wait="stored")
    assert await states(ann, sent) == {"bob": "stored", "eve": "stored"}
    assert [method for method, _ in seen if method in ("mail.send", "mail.fan")] == ["mail.fan"]
    assert await bob.read() == ["to both of you"]
    await world.settle(2)
    assert await states(ann, sent) == {"bob": "shown", "eve": "stored"}
    assert await eve.read() == ["to both of you"]


async def test_the_ciphertext_crosses_the_wire_once(world: World) -> None:
    machines = await world.mesh("ann", "bob", "eve", "joe")
    seen = watch(world, machines[0])
    await machines[0].send(["bob", "eve", "joe"], "x" * 20_000, wait="stored")
    assert sum(size for method, size in seen if method == "mail.fan") < 25_000
    for machine in machines[1:]:
        assert await machine.read() == ["x" * 20_000]


async def test_who_is_away_gets_it_when_he_is_back(world: World) -> None:
    ann, _, eve = await world.mesh("ann", "bob", "eve")
    await world.unplug(eve)
    sent = await ann.send(["bob", "eve"], "hello", wait="accepted")
    await world.settle(5)
    assert await states(ann, sent) == {"bob": "stored", "eve": "accepted"}
    await world.plug(eve)
    await world.settle(5)
    assert await states(ann, sent) == {"bob": "stored", "eve": "stored"}
    assert await eve.read() == ["hello"]


async def test_more_devices_than_are_sealed_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meshd.outbox, "SMALL_FANOUT", 1)
    machines = await world.mesh("ann", "bob", "eve", "joe", "kim")
    names = [machine.name for machine in machines[1:]]
    sent = await machines[0].send(names, "hello", wait="stored")
    assert sent["counts"] == {"stored": 4}
    for machine in machines[1:]:
        assert await machine.read() == ["hello"]


async def test_the_sender_dies_and_the_same_bytes_go_out_again(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    world.cable(ann).incoming = lambda frame: []  # no answer comes back
    sent = await ann.send(["bob", "eve"], "hello")
    await world.settle(3)
    world.cable(ann).incoming = None
    before = ann.app.node.db.reader.execute("SELECT device, envelope FROM delivery ORDER BY device").fetchall()
    await ann.restart()
    await ann.until_online()
    after = ann.app.node.db.reader.execute("SELECT device, envelope FROM delivery ORDER BY device").fetchall()
    assert [envelope for _, envelope in before] != [None, None]
    await world.settle(3)
    assert set(after) <= {*before, *((device, None) for device, _ in before)}
    assert await states(ann, sent) == {"bob": "stored", "eve": "stored"}
    assert [await bob.read(), await eve.read()] == [["hello"], ["hello"]]


async def test_a_recipient_whose_prekey_is_another_gets_it_sealed_anew_and_the_others_do_not(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    await ann.send(["bob", "eve"], "first", wait="stored")
    mesh = eve.mesh()
    row = eve.app.making._new_prekey(mesh, 2)
    await eve.app.node.db.write(lambda tx: put_prekey(tx, mesh.id, row))
    del mesh.prekeys[1]
    sent = await ann.send(["bob", "eve"], "second", wait="stored")
    rows = ann.app.node.db.reader.execute(
        "SELECT device, attempt FROM delivery WHERE msg_id=?", (bytes.fromhex(sent["id"]),)
    ).fetchall()
    assert dict(rows) == {bob.app.node.device: 1, eve.app.node.device: 2}
    assert await states(ann, sent) == {"bob": "stored", "eve": "stored"}
    assert [await bob.read(), await eve.read()] == [["first", "second"]] * 2


async def test_nothing_to_one_recipient_is_overtaken_by_a_message_to_many(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    for number in range(30):
        to: str | list[str] = ["bob", "eve"] if number % 3 == 0 else "bob"
        await ann.send(to, str(number))
    await world.settle(10)
    assert await bob.read() == [str(number) for number in range(30)]
    assert await eve.read() == [str(number) for number in range(0, 30, 3)]


async def test_two_sessions_of_one_machine_share_an_envelope_and_are_told_apart(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.claude("web")
    api = await bob.claude("api", inbox=False)
    await ann.until_knows("bob/web")
    await ann.until_knows("bob/api")
    seen = watch(world, ann)
    sent = await ann.send(["bob/web", "bob/api"], "both of you", wait="shown")
    assert [method for method, _ in seen if method in ("mail.send", "mail.fan")] == ["mail.send"]
    (row,) = (await ann.call("message.status", id=sent["id"]))["recipients"]
    assert [(each["session"], bool(each["shown_ms"])) for each in row["sessions"]] == [("web", True)]
    assert "both of you" in await api.tool("check_messages")
    await world.settle(5)
    (row,) = (await ann.call("message.status", id=sent["id"]))["recipients"]
    assert [each["session"] for each in row["sessions"] if each["shown_ms"]] == ["api", "web"]
    assert await bob.read() == [], "it was for the sessions"
