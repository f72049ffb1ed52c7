"""Leaving a mesh: what is gone when, who signs it, and that the same machine can come back by another invite."""

from pathlib import Path

import pytest
import trio

from core_kit.stock import stock
from mesh_protocol.chain import RemoveMember
from mesh_protocol.wire.errors import MeshError
from meshd.releasing import release_records, who_may_release
from meshd.store.leavers import SECRETS, STATE, put_leaver, read_leavers
from world.letters import judge, letter, seal
from world.machine import Machine
from world.world import World


def epochs(machine: Machine) -> list[int]:
    keys = machine.mesh().keys
    assert keys is not None
    return sorted(keys.epochs)


async def members(machine: Machine) -> list[tuple[object, object]]:
    return [(row["member"], row["state"]) for row in (await machine.call("member.list"))["members"]]


def rows_of(machine: Machine, mesh: bytes) -> dict[str, int]:
    """Rows that name the mesh, by table, whichever column it is in."""
    reader = machine.app.node.db.reader
    found = {}
    for (table,) in reader.execute("SELECT name FROM sqlite_schema WHERE type='table'").fetchall():
        count = 0
        for row in reader.execute(f'SELECT * FROM "{table}"').fetchall():
            count += any(bytes(value) == mesh for value in row if isinstance(value, bytes))
        if count:
            found[str(table)] = count
    return found


def on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in (path, Path(f"{path}-wal")) if file.exists())


async def test_every_table_that_holds_rows_of_a_mesh_is_emptied(world: World) -> None:
    ann = await world.machine("ann")
    tables = ann.app.node.db.reader.execute(
        "SELECT m.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type='table' AND c.name='mesh'"
    ).fetchall()
    assert sorted(str(row[0]) for row in tables) == sorted((*STATE, *SECRETS)), "name a new table in store/leavers.py"


async def test_who_leaves_is_removed_by_who_may_and_nothing_of_the_mesh_stays_here(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    await bob.claude("web")
    await ann.send("bob", "read me", wait="stored")
    await bob.send("cid", "hello", wait="stored")
    await bob.call("verify.confirm", peer="ann", number=(await bob.call("verify.show", peer="ann"))["digits"])
    mesh, node = bob.mesh(), bob.app.node
    sealed = [bytes(row[0]) for row in node.db.reader.execute("SELECT sealed FROM prekey").fetchall()]
    sealed += [bytes(row[0]) for row in node.db.reader.execute("SELECT sealed FROM epoch_key").fetchall()]
    sealed += [bytes(row[0]) for row in node.db.reader.execute("SELECT content FROM inbox").fetchall()]
    assert len(sealed) >= 3
    assert all(each in on_disk(node.db.path) for each in sealed)
    left = await bob.call("mesh.leave")
    assert (left["mesh"], left["state"], left["told"], left["forgotten"]) == ("team", "left", 1, False)
    assert node.meshes == {}
    assert node.default_mesh is None
    assert rows_of(bob, mesh.id) == {}
    assert not [each for each in sealed if each in on_disk(node.db.path)], "not in the database, and not in its log"
    assert mesh.keys is None
    assert mesh.prekeys == {}
    assert bob.app.details.keys == {}
    await world.until(lambda: epochs(ann) == epochs(cid) == [1, 2], what="those who stay have another key")
    assert await members(cid) == [("ann", "member"), ("cid", "member"), ("bob", "removed")]
    sent = await cid.send("ann", "we go on", wait="stored")
    assert sent["state"] == "stored"
    await bob.restart()
    assert (await bob.call("mesh.list"))["meshes"] == []
    assert await bob.refusal("message.send", to="ann", message="?") == "no_mesh"


async def test_who_left_comes_back_by_another_invite_on_the_same_machine(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    for author, reader in ((ann, "bob"), (cid, "bob"), (bob, "ann")):
        await author.send(reader, "before", wait="stored")
    before = bob.mesh().row.member
    (house,) = world.network.brokers.values()
    await world.until(lambda: stock(house, bob), what="his one-time prekeys lie there")
    await bob.call("mesh.leave")
    assert stock(house, bob) == [], "nobody is given a prekey whose private half is gone"
    joined = await bob.call("mesh.join", url=await world.invite(ann), me="bob")
    assert joined["state"] == "joined"
    await bob.until_online()
    assert bob.mesh().row.member != before
    assert epochs(bob) == [1, 2]
    await world.settle(30)
    for author, reader in ((ann, "bob"), (cid, "bob"), (bob, "ann"), (bob, "cid")):
        for number in range(2):
            sent = await author.send(reader, f"after {number}", wait="stored")
            assert sent["state"] == "stored", (author.name, reader)
            assert (await author.call("message.status", id=sent["id"]))["recipients"][0]["state"] == "stored"
    bounces = [
        each.app.node.db.reader.execute("SELECT count(*) FROM message WHERE kind='bounce'") for each in (ann, bob)
    ]
    assert [each.fetchall() for each in bounces] == [[(0,)]] * 2
    attempts = ann.app.node.db.reader.execute("SELECT max(attempt) FROM delivery WHERE ended=''").fetchall()
    assert attempts == [(1,)], "each was opened at the first attempt"
    assert sorted(await bob.read(all=True)) == ["after 0", "after 0", "after 1", "after 1"]


async def test_with_nobody_there_who_may_sign_it_goes_on_by_itself(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    await world.unplug(ann)
    left = await bob.call("mesh.leave", wait_s=5)
    assert (left["state"], left["told"]) == ("leaving", 1)
    (row,) = (await bob.call("mesh.list"))["meshes"]
    assert row["state"] == "leaving"
    assert set(rows_of(bob, bob.mesh().id)) <= {"meta", "mesh", "chain", "message", "delivery"}
    assert bob.mesh().keys is None
    for method, given in (
        ("message.send", {"to": "ann", "message": "?"}),
        ("mesh.invite", {}),
        ("member.list", {}),
        ("inbox.read", {"mesh": "nowhere"}),
    ):
        assert await bob.refusal(method, **given) in ("not_allowed", "unknown_mesh", "unknown_recipient")
    (status,) = (await bob.call("daemon.status"))["meshes"]
    assert (status["state"], status["waiting_for"]) == ("leaving", "a member who may sign that it leaves")
    checks = {check["name"]: check for check in (await bob.call("daemon.doctor"))["checks"]}
    assert "has dropped its keys" in checks["mesh team"]["text"]
    assert (await bob.call("leave.terms"))["how"] == "leaving"
    assert (await bob.call("mesh.leave", wait_s=0))["state"] == "leaving", "once more says the same"
    await bob.restart()
    await bob.until_online()
    assert bob.mesh().keys is None
    await world.plug(ann)
    await world.until(lambda: not bob.app.node.meshes, what="bob is out")
    await world.until(lambda: epochs(cid) == [1, 2], what="the others have another key")
    assert rows_of(bob, ann.mesh().id) == {}


async def test_who_leaves_without_a_connection_says_it_when_there_is_one(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await world.unplug(bob)
    assert (await bob.call("mesh.leave", wait_s=1))["state"] == "leaving"
    await bob.restart()
    world.cable(bob).down = False
    await world.until(lambda: not bob.app.node.meshes, what="bob is out")
    assert await members(ann) == [("ann", "member"), ("bob", "removed")]


async def test_forgetting_tells_nobody_and_the_machine_must_be_removed_before_it_comes_back(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    left = await bob.call("mesh.leave", forget=True)
    assert (left["state"], left["told"], left["forgotten"]) == ("left", 0, True)
    assert rows_of(bob, ann.mesh().id) == {}
    await world.settle(120)
    assert await members(ann) == [("ann", "member"), ("bob", "member")]
    url = await world.invite(ann)
    assert await bob.refusal("mesh.join", url=url, me="bob") == "not_allowed"
    await ann.call("member.remove", peer="bob", wait_s=0)
    assert (await bob.call("mesh.join", url=await world.invite(ann), me="bob"))["state"] == "joined"


async def test_the_last_owner_cannot_leave_others_and_can_once_there_is_another_one(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    for method in ("mesh.leave", "leave.terms"):
        assert await ann.refusal(method) == "not_allowed"
    assert ann.mesh().active
    await ann.call("member.role", peer="bob", role="owner")
    await world.until(lambda: bob.app.node.device in bob.mesh().state.signers, what="bob signs")
    assert (await ann.call("leave.terms"))["askable"] == ["bob"]
    assert (await ann.call("mesh.leave"))["state"] == "left"
    assert await members(bob) == [("bob", "member"), ("ann", "removed")]


async def test_who_is_alone_leaves_at_once_also_without_a_broker(world: World) -> None:
    (ann,) = await world.mesh("ann")
    await ann.call("mesh.new", name="second", me="ann")
    await ann.call("mesh.new", name="third", me="ann")
    terms = await ann.call("leave.terms", mesh="second")
    assert (terms["how"], terms["returns"]) == ("alone", False)
    assert await ann.refusal("mesh.leave") == "ambiguous_mesh"
    assert await ann.refusal("mesh.leave", mesh="fourth") == "unknown_mesh"
    assert (await ann.call("mesh.leave", mesh="second", wait_s=0))["state"] == "left"
    await ann.send("ann", "to myself", mesh="third")
    await world.unplug(ann)
    assert (await ann.call("mesh.leave", mesh="team", wait_s=0))["state"] == "left"
    listed = (await ann.call("mesh.list"))["meshes"]
    assert [(row["mesh"], row["default"]) for row in listed] == [("third", True)]
    await ann.restart()
    await ann.until_online()
    assert [row["mesh"] for row in (await ann.call("mesh.list"))["meshes"]] == ["third"]
    assert (await ann.call("mesh.new", name="team", me="ann"))["mesh"] == "team"


async def test_who_was_removed_leaves_too(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.call("member.remove", peer="bob", wait_s=0)
    await world.until(lambda: bob.mesh().link.value == "refused", what="bob is told")
    assert (await bob.call("mesh.leave"))["state"] == "left"
    assert (await bob.call("mesh.join", url=await world.invite(ann), me="bob"))["state"] == "joined"


async def test_who_waits_to_be_let_in_stops_waiting(world: World) -> None:
    (ann,) = await world.mesh("ann")
    url = await world.invite(ann)
    await world.unplug(ann)
    bob = await world.machine("bob")
    assert (await bob.call("mesh.join", url=url, me="bob", wait_s=1))["state"] == "pending"
    assert (await bob.call("leave.terms"))["how"] == "waiting"
    assert (await bob.call("mesh.leave"))["state"] == "left"
    assert bob.app.node.meshes == {}


async def test_of_several_who_may_sign_it_one_does(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    for peer, machine in (("bob", bob), ("cid", cid)):
        await ann.call("member.role", peer=peer, role="admin")
        await world.until(lambda m=machine: m.app.node.device in m.mesh().state.signers, what="he signs")  # type: ignore[misc]
    assert sorted((await cid.call("leave.terms"))["askable"]) == ["ann", "bob"]
    assert (await cid.call("mesh.leave"))["state"] == "left"
    await world.settle(400)
    assert ann.mesh().state.epoch == bob.mesh().state.epoch == 2
    for machine in (ann, bob):
        assert read_leavers(machine.app.node.db.reader, machine.mesh().id) == []


@pytest.mark.parametrize("point", ["FP-17", "stored"])
async def test_a_signer_who_dies_at_it_does_it_after_all(world: World, point: str) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    await world.unplug(ann)
    await bob.call("mesh.leave", wait_s=1)
    died: list[str] = []

    def die(reached: str) -> None:
        if reached == point and not died:
            died.append(reached)
            world.nursery.start_soon(ann.crash)

    if point == "stored":  # the wish is on the disk and nothing is done about it
        ann.mesh().alarm = "held"
        await ann.app.node.db.write(lambda tx: put_leaver(tx, ann.mesh().id, bob.app.node.device, 10, 1))
        await ann.crash()
    else:
        ann.reached = die
        world.cable(ann).down = False
        await world.until(lambda: bool(died), what="it dies")
        await ann.ended.wait()
    world.cable(ann).down = False
    await ann.start()
    await ann.until_online()
    await world.until(lambda: epochs(ann) == epochs(cid) == [1, 2], what="bob is out")
    await world.until(lambda: not bob.app.node.meshes, what="bob knows")
    assert ann.mesh().state.epoch == 2


async def test_a_wish_of_an_earlier_stay_or_of_another_member_does_nothing(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    wish = letter(bob, ann, kind="leave", content_type="", content=b"\x01")
    old = seal(bob, ann, wish)
    # Another member cannot say it for him, and nobody for another mesh.
    forged = seal(cid, ann, letter(cid, ann, kind="leave", from_member=bob.mesh().row.member, content=b"\x01"))
    assert judge(ann, forged).kind == "drop"
    await ann.call("member.remove", peer="bob", wait_s=0)
    await bob.call("mesh.leave")
    await bob.call("mesh.join", url=await world.invite(ann), me="bob")
    await bob.until_online()
    assert judge(ann, old).kind == "drop", "its member is no more"
    seq = wish.tip.chain_seq
    await ann.app.node.db.write(lambda tx: put_leaver(tx, ann.mesh().id, bob.app.node.device, seq, 1))
    ann.mesh().wishes.set()
    await world.until(lambda: not read_leavers(ann.app.node.db.reader, ann.mesh().id), what="ann looked at it")
    assert ann.mesh().state.is_active(bob.app.node.device)


async def test_a_member_who_may_not_remove_anybody_keeps_a_wish_and_does_nothing(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    device = bob.app.node.device
    assert who_may_release(ann.mesh().state, device) == [ann.app.node.device]
    (body,) = release_records(ann.mesh().state, device)
    assert body == RemoveMember(bob.mesh().row.member, False)
    seq = cid.mesh().state.seq
    await cid.app.node.db.write(lambda tx: put_leaver(tx, cid.mesh().id, device, seq, 1))
    cid.mesh().wishes.set()
    await world.settle(400)
    assert cid.mesh().state.is_active(device)


async def test_leaving_one_mesh_leaves_the_others_alone(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.call("mesh.new", name="other", me="ann", broker=next(iter(world.network.brokers)))
    await bob.call("mesh.join", url=await world.invite(ann, "other"), me="bob")
    await world.until(lambda: bob.mesh("other").active, what="bob is in both")
    session = await bob.claude("web", mesh="team")
    await ann.send("bob", "stays", mesh="other", wait="stored")
    await ann.until_knows("bob/web")
    await ann.send("bob/web", "goes", mesh="team", wait="stored")
    assert (await bob.call("mesh.leave", mesh="team"))["state"] == "left"
    await bob.until_online()
    assert (await bob.call("mesh.list"))["meshes"][0]["default"]
    assert await bob.read(all=True) == ["stays"]
    sent = await ann.send("bob", "and goes on", mesh="other", wait="stored")
    assert sent["state"] == "stored"
    assert bob.app.sessions.mesh_of(bob.app.sessions.live()[0]) is None
    await session.end()


async def test_what_arrives_while_the_leave_is_being_stored_is_not_kept(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    await cid.send("bob", "hello", wait="stored")
    await world.settle(15)
    await world.unplug(ann)
    bob.disk.hold()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bob.app.leaving.begin, bob.mesh())
        await world.until(lambda: bob.mesh().leaving, what="it is being stored")
        for text in ("too late", "and this"):
            await cid.send("bob", text, wait="accepted")
        await world.settle(1)
        bob.disk.release()
    assert bob.mesh().leaving, "nobody has signed it yet"
    assert set(rows_of(bob, bob.mesh().id)) <= {"meta", *STATE, "message", "delivery"}


async def test_two_calls_at_once_leave_once(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    answers: list[object] = []

    async def leave() -> None:
        talk = await bob.talk(bob.processes.shell)
        answers.append((await talk.call("mesh.leave"))["state"])

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(leave)
    assert answers == ["left"] * 3
    assert ann.mesh().state.epoch == 2
    told = ann.app.node.db.reader.execute("SELECT count(*) FROM leaver").fetchall()
    assert told == [(0,)]


async def test_a_full_disk_leaves_the_mesh_as_it_was(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")

    def full(tx: object, row: object, default: object) -> None:
        raise MeshError("storage_full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meshd.leaving.forget_secrets", full)
        assert await bob.refusal("mesh.leave") == "storage_full"
    assert bob.mesh().active
    await bob.until_online()
    (house,) = world.network.brokers.values()
    await world.until(lambda: len(stock(house, bob)) == 2, what="his prekeys are there again")
    sent = await ann.send("bob", "still here", wait="stored")
    assert sent["state"] == "stored"
