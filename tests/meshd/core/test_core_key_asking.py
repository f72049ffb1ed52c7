"""A machine that did not get the new key asks for it, and nobody can make it take another, or the mesh renew for ever."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from mesh_protocol.chain import RemoveMember, epoch_kc
from mesh_protocol.chain_state import Device
from mesh_protocol.ids import DeviceId
from mesh_protocol.key_request import KeyRequest, sign_key_request
from mesh_protocol.pae import lst
from mesh_protocol.rotation import rotate
from mesh_protocol.seals import MeshKeys, seal_keys
from mesh_protocol.wire.codec import decode, encode
from mesh_protocol.wire.framing import encode_frame, split_message
from meshd.keyasking import ASK_S, AT_ONCE, whom_to_ask
from meshd.lacking import MAX_GIVEN, Note
from meshd.link.admission import Change
from meshd.notes import KEY_REQUEST, KEYS
from world.letters import judge, letter, post, seal
from world.machine import Machine
from world.world import World


def epochs(machine: Machine) -> list[int]:
    keys = machine.mesh().keys
    assert keys is not None
    return sorted(keys.epochs)


def change_seals(world: World, machine: Machine, change: Callable[[bytes], bytes]) -> None:
    """Whatever the broker says lies there for `machine` is changed on the way."""
    asked: set[object] = set()

    def note(frame: bytes) -> list[bytes]:
        match decode(split_message(frame).header):
            case [0, number, "seals.read", *_]:
                asked.add(number)
        return [frame]

    def answer(frame: bytes) -> list[bytes]:
        message = split_message(frame)
        match decode(message.header):
            case [1, number, None, _] if number in asked:
                body = change(message.body)
                return [encode_frame(encode([1, number, None, {"count": 1}]), body)]
        return [frame]

    cable = world.cable(machine)
    cable.outgoing, cable.incoming = note, answer


def drop_seals(world: World, machine: Machine) -> None:
    change_seals(world, machine, lambda _: lst())


def frame_is(frame: bytes, method: str) -> bool:
    """Whether it is this notification."""
    match decode(split_message(frame).header):
        case [2, str() as said, *_]:
            return said == method
    return False


async def finding(machine: Machine, name: str) -> dict[str, object] | None:
    checks = (await machine.call("daemon.doctor"))["checks"]
    return next((check for check in checks if check["name"] == name), None)


async def test_a_machine_without_a_prekey_is_named_asks_and_gets_the_key(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    (house,) = world.network.brokers.values()
    device = cid.app.node.device
    await house.database.write(lambda tx: tx.execute("UPDATE device SET prekey=NULL WHERE id=?", (device,)) and None)
    ann.mesh().peer_prekeys.pop(device, None)
    gone = await ann.call("member.remove", peer="bob")
    assert gone["unsealed"] == [f"cid {device.hex()[:8]}"]
    await world.until(lambda: epochs(cid) == [1, 2], what="cid has the key")
    assert epochs(bob) == [1]
    assert await finding(cid, "keys team") is None


async def test_a_seal_that_the_broker_drops_is_asked_for(world: World) -> None:
    ann, _, cid = await world.mesh("ann", "bob", "cid")
    drop_seals(world, cid)
    await ann.call("member.remove", peer="bob", wait_s=0)
    await world.until(lambda: epochs(cid) == [1, 2], what="cid has the key")
    assert ann.mesh().state.epoch == 2, "a seal that is missing is no reason for another key"


async def test_a_seal_that_the_broker_swaps_is_not_taken_and_every_signer_renews_once(world: World) -> None:
    ann, _, cid = await world.mesh("ann", "bob", "cid")
    other = cid.mesh().prekey
    assert other is not None
    false = MeshKeys(bytes(32), {2: bytes(32)})
    swapped = lst(seal_keys(cid.mesh().id, 2, other, false, cid.mesh().tip).encode())
    change_seals(world, cid, lambda _: swapped)
    await ann.call("member.remove", peer="bob", wait_s=0)
    await world.until(lambda: cid.mesh().state.epoch == 3 and epochs(cid) == [1, 2, 3], what="cid has all keys")
    assert cid.mesh().lacking.since_ms == 0
    await world.settle(600)
    assert (ann.mesh().state.epoch, epochs(ann)) == (3, [1, 2, 3])


async def test_while_it_lacks_the_key_doctor_and_status_say_so(world: World) -> None:
    ann, _, cid = await world.mesh("ann", "bob", "cid")
    drop_seals(world, cid)
    world.cable(ann).incoming = lambda frame: [] if frame_is(frame, "mail") else [frame]
    await ann.call("member.remove", peer="bob", wait_s=0)
    await world.until(lambda: cid.mesh().lacking.asked, what="cid asks")
    found = await finding(cid, "keys team")
    assert found is not None
    assert found["ok"] == "warn"
    assert "the key of epoch 2 is not here yet" in str(found["text"])
    assert "1 machine was asked for it" in str(found["text"])
    (row,) = (await cid.call("daemon.status"))["meshes"]
    assert "lacks the newest key" in row["trouble"]
    await world.unplug(ann)
    world.cable(ann).incoming = None
    await world.plug(ann)
    await world.until(lambda: epochs(cid) == [1, 2], what="the request waited for ann at the broker")
    assert await finding(cid, "keys team") is None


async def test_a_false_key_of_a_member_and_garbage_are_not_taken_and_the_true_one_is(world: World) -> None:
    ann, _, cid, eve = await world.mesh("ann", "bob", "cid", "eve")
    drop_seals(world, cid)
    for each in (ann, eve):
        world.cable(each).incoming = lambda frame: [] if frame_is(frame, "mail") else [frame]
    await ann.call("member.remove", peer="bob", wait_s=0)
    await world.until(lambda: cid.mesh().lacking.asked, what="cid asks")
    prekey, mesh = cid.mesh().prekey, cid.mesh()
    assert prekey is not None
    assert eve.mesh().keys is not None
    true = eve.mesh().keys.epochs  # type: ignore[union-attr]
    answers = [
        b"garbage",
        b"",
        seal_keys(mesh.id, 2, prekey, MeshKeys(bytes(32), {2: true[2]}), mesh.tip).encode(),
        seal_keys(mesh.id, 2, prekey, MeshKeys(mesh.keys.name_key, {2: bytes(32)}), mesh.tip).encode(),  # type: ignore[union-attr]
        seal_keys(mesh.id, 2, prekey, MeshKeys(mesh.keys.name_key, {1: bytes(32), 2: true[2]}), mesh.tip).encode(),  # type: ignore[union-attr]
        seal_keys(mesh.id, 3, prekey, MeshKeys(mesh.keys.name_key, {3: true[2]}), mesh.tip).encode(),  # type: ignore[union-attr]
    ]
    for answer in answers:
        await post(eve, seal(eve, cid, letter(eve, cid, kind=KEYS, content_type="", content=answer, tip=mesh.tip)))
    await world.until(lambda: cid.mesh().lacking.refused == len(answers), what="all are refused")
    assert epochs(cid) == [1]
    world.cable(ann).incoming = None
    await world.cable(ann).cut()
    await world.until(lambda: epochs(cid) == [1, 2], what="the true one comes")
    assert cid.mesh().keys.epochs == ann.mesh().keys.epochs  # type: ignore[union-attr]


class Counted(deque[Note]):
    """Counts what was ever put into it."""

    came = 0

    def append(self, note: Note, /) -> None:
        self.came += 1
        super().append(note)


async def test_two_who_answer_at_once_do_no_harm(world: World) -> None:
    ann, _, cid, eve = await world.mesh("ann", "bob", "cid", "eve")
    drop_seals(world, cid)
    answers = cid.mesh().lacking.answers = Counted()
    await ann.call("member.remove", peer="bob", wait_s=0)
    await world.until(lambda: answers.came == 2, what="ann and eve answered")
    await world.settle(5)
    assert [epochs(each) for each in (ann, cid, eve)] == [[1, 2]] * 3
    assert cid.mesh().lacking.refused == 0


def request_of(machine: Machine, bad_seal: bytes = b"", first: int = 1) -> bytes:
    mesh = machine.mesh()
    assert mesh.prekey is not None
    made = KeyRequest(mesh.id, machine.app.node.device, first, mesh.prekey, mesh.tip, bad_seal)
    return sign_key_request(made, machine.app.node.key)


async def test_a_member_who_claims_bad_seals_for_ever_makes_each_signer_renew_once(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    await ann.call("member.role", peer="bob", role="admin")
    await world.until(lambda: bob.app.node.device in bob.mesh().state.signers, what="bob signs")
    for number in range(1, 12):
        for signer in (ann, bob):
            note = request_of(eve, bytes([number]) * 32)
            await post(eve, seal(eve, signer, letter(eve, signer, kind=KEY_REQUEST, content_type="", content=note)))
        await world.settle(30)
    assert ann.mesh().state.epoch == bob.mesh().state.epoch == eve.mesh().state.epoch == 3
    assert epochs(eve) == [1, 2, 3]


async def test_nobody_answers_who_was_removed_or_what_another_passes_on(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    early, other = request_of(bob), request_of(cid)
    sent: list[bytes] = []

    def note(frame: bytes) -> list[bytes]:
        match decode(split_message(frame).header):
            case [0, _, "mail.send", *_]:
                sent.append(frame)
        return [frame]

    await world.settle(30)
    world.cable(ann).outgoing = note
    envelope = seal(bob, ann, letter(bob, ann, kind=KEY_REQUEST, content_type="", content=early))
    assert judge(ann, envelope).kind == "take"
    await ann.call("member.remove", peer="bob")
    assert judge(ann, envelope).kind == "drop"
    lacking = ann.mesh().lacking
    # What had come before the removal is judged anew when it is answered.
    lacking.take(lacking.requests, Note(bob.app.node.device, early))
    lacking.take(lacking.requests, Note(cid.app.node.device, early))
    lacking.take(lacking.requests, Note(bob.app.node.device, other))
    await world.until(lambda: not lacking.requests, what="they were looked at")
    await world.settle(1)
    assert sent == []


async def test_one_machine_is_answered_only_so_often_in_an_hour(world: World) -> None:
    ann, _, _ = await world.mesh("ann", "bob", "cid")
    cid = world.machines["cid"]
    answers: list[bool] = []
    lacking = ann.mesh().lacking
    for _ in range(MAX_GIVEN + 3):
        answers.append(lacking.may_give(cid.app.node.device, ann.app.node.now()))
    assert answers == [True] * MAX_GIVEN + [False] * 3
    assert lacking.may_give(ann.app.node.device, ann.app.node.now())
    assert lacking.may_give(cid.app.node.device, ann.app.node.now() + 3_600_000)


async def test_a_signer_who_seals_garbage_to_all_is_healed_by_another_signer(world: World) -> None:
    """Nobody but he has the key that the chain commits to: the others' signer begins the next epoch."""
    ann, bob, cid, eve = await world.mesh("ann", "bob", "cid", "eve")
    await ann.call("member.role", peer="eve", role="owner")
    await world.until(lambda: eve.app.node.device in eve.mesh().state.signers, what="eve signs")
    link, mesh = eve.app.brokers.link_of(eve.mesh()), eve.mesh()
    assert link is not None
    assert mesh.keys is not None
    prekeys = {machine.app.node.device: machine.mesh().prekey for machine in (ann, cid)}

    def make(head: object) -> Change:
        rotation = rotate(
            mesh.state,
            mesh.last,  # type: ignore[arg-type]
            [RemoveMember(bob.mesh().row.member, False)],
            key=eve.app.node.key,
            keys=mesh.keys,  # type: ignore[arg-type]
            new_key=bytes(31) + b"x",
            prekeys=prekeys,  # type: ignore[arg-type]
            tip=mesh.tip,
        )
        assert rotation.state.kcs[2] == epoch_kc(mesh.id, 2, bytes(31) + b"x")
        false = MeshKeys(mesh.keys.name_key, {2: bytes(32)})  # type: ignore[union-attr]
        seals = [seal_keys(mesh.id, 2, prekey, false, mesh.tip) for prekey in prekeys.values() if prekey is not None]
        return Change(rotation.records, seals)

    await link.membership.append(make)
    await world.until(lambda: ann.mesh().state.epoch >= 3, 300, what="ann renews")
    await world.until(lambda: {3} <= set(epochs(ann)) & set(epochs(cid)), 300, what="ann and cid share a key")
    await world.settle(ASK_S * 8)
    assert ann.mesh().state.epoch <= 4


async def test_a_newcomer_whose_seal_was_dropped_or_swapped_gets_the_keys_from_a_member(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    mesh = ann.mesh()
    stranger = bob.mesh().prekey
    assert stranger is not None
    assert mesh.keys is not None
    swapped = lst(seal_keys(mesh.id, 1, stranger, mesh.keys, mesh.tip).encode())
    for name, body in (("cid", lst()), ("dan", swapped)):
        machine = await world.machine(name)
        change_seals(world, machine, lambda _, body=body: body)  # type: ignore[misc]
        joined = await machine.call("mesh.join", url=await world.invite(ann), me=name)
        await world.until(lambda m=machine: m.mesh().active, what=f"{name} has the keys")  # type: ignore[misc]
        assert machine.mesh().slug == "team"
        assert machine.mesh().row.me == name
        assert joined["state"] in ("joined", "pending")
        await machine.until_online()
        sent = await machine.send("bob", f"hello of {name}", wait="stored")
        assert sent["state"] == "stored"
        await machine.restart()
        await machine.until_online()
    assert await bob.read() == ["hello of cid", "hello of dan"]


async def test_a_newcomer_without_keys_says_what_it_waits_for_and_asks_again_after_a_restart(world: World) -> None:
    (ann,) = await world.mesh("ann")
    cid = await world.machine("cid")
    world.cable(ann).incoming = lambda frame: [] if frame_is(frame, "mail") else [frame]
    drop_seals(world, cid)
    assert (await cid.call("mesh.join", url=await world.invite(ann), me="cid", wait_s=5))["state"] == "pending"
    await world.until(lambda: cid.mesh().lacking.asked, what="cid asks")
    (row,) = (await cid.call("daemon.status"))["meshes"]
    assert row["waiting_for"].startswith("another machine of the mesh to send the keys")
    assert await cid.refusal("message.send", to="ann", message="?") in ("not_allowed", "unknown_recipient")
    await cid.restart()
    await world.until(lambda: cid.mesh().lacking.asked, what="cid asks again")
    world.cable(ann).incoming = None
    await world.cable(ann).cut()
    await world.until(lambda: cid.mesh().active, what="cid has the keys")
    await ann.until_knows("cid")


async def test_eight_machines_are_asked_at_a_time_those_first_that_have_the_key(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    own, mesh, board = ann.app.node.device, ann.mesh(), ann.app.board
    assert set(whom_to_ask(mesh, own, board, 0)) == {bob.app.node.device, cid.app.node.device}
    await world.unplug(bob)
    await world.settle(100)
    assert whom_to_ask(mesh, own, board, 0)[0] == cid.app.node.device, "who is online"
    many = [DeviceId(bytes([number]) * 32) for number in range(1, 20)]
    listed = {device: Device(device, mesh.row.member, True, 1, own) for device in many}
    mesh.chain = replace(mesh.state, devices=listed, signers=frozenset(many[5:7]))
    goes = [whom_to_ask(mesh, own, board, go) for go in range(3)]
    assert [len(go) for go in goes] == [AT_ONCE] * 3
    assert goes[0][:2] == many[5:7], "then signers"
    assert len({device for go in goes for device in go}) == len(many), "all of them in their turn"
    mesh.chain = replace(mesh.state, devices={own: Device(own, mesh.row.member, True, 1, own)})
    assert whom_to_ask(mesh, own, board, 0) == []
