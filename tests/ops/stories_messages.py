"""Sending, how far each message got, and reading."""

from dataclasses import replace

from exercised import refuses, works

from mesh_protocol.tip import TipRef, sign_tip
from mesh_protocol.wire.codec import decode, encode
from mesh_protocol.wire.framing import encode_frame, split_message
from meshd.config import Config, Limits
from world.machine import Machine
from world.world import World

UNKNOWN_ID = "00" * 16


@works("message.send")
async def a_message_arrives_with_its_receipt(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    sent = await ann.send("bob", "hello", wait="stored", timeout=10)
    assert (sent["state"], sent["reached"], sent["recipients"][0]["to"]) == ("stored", True, "bob")
    assert await bob.read() == ["hello"]
    await ann.until_state(sent, "shown")


@refuses("message.send", "unknown_recipient")
async def nobody_is_called_that(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    return await ann.refusal("message.send", to="rob", message="hello")


@refuses("message.send", "ambiguous_recipient")
async def two_sessions_are_called_that(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    await ann.claude("bob")
    return await ann.refusal("message.send", to="bob", message="hello")


@refuses("message.send", "unknown_mesh")
async def sending_into_a_mesh_that_is_not_here(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    return await ann.refusal("message.send", to="bob", message="hello", mesh="other")


@refuses("message.send", "ambiguous_mesh")
async def the_name_is_in_two_meshes(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    await world.mesh("ann", "bob", title="second")
    return await ann.refusal("message.send", to="bob", message="hello")


@refuses("message.send", "no_mesh")
async def sending_into_nothing(world: World) -> str:
    return await (await world.machine("ann")).refusal("message.send", to="bob", message="hello")


@refuses("message.send", "not_allowed")
async def a_session_sends_into_another_mesh_than_its_own(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    await world.mesh("ann", "bob", title="second")
    web = await ann.claude("web", mesh="team")
    return (await (await web.shell()).refusal("message.send", to="bob", message="hello", mesh="second")).code


@refuses("message.send", "too_large")
async def a_text_of_many_bytes(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    return await ann.refusal("message.send", to="bob", message="é" * 40_000)


@refuses("message.send", "idempotency_conflict")
async def a_key_is_used_for_another_text(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    first = await ann.send("bob", "one", idempotency_key="k")
    assert (await ann.send("bob", "one", idempotency_key="k"))["id"] == first["id"]
    return await ann.refusal("message.send", to="bob", message="two", idempotency_key="k")


@refuses("message.send", "outbox_full")
async def too_many_wait_for_the_broker(world: World) -> str:
    await world.machine("ann", Config(keys="file", limits=Limits(outbox_rows=2)))
    ann, _ = await world.mesh("ann", "bob")
    await world.unplug(ann)
    for number in range(2):
        await ann.send("bob", f"message {number}")
    return await ann.refusal("message.send", to="bob", message="one too many")


@refuses("message.send", "not_found")
async def answering_a_message_that_is_not_there(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    return await ann.refusal("message.send", to="bob", message="hello", reply_to=UNKNOWN_ID)


@refuses("message.send", "storage_full")
async def the_disk_is_full(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    db = ann.app.node.db
    pages = await db.write(lambda tx: tx.pragma("page_count"))
    await db.write(lambda tx: tx.pragma("max_page_count", pages))
    code = await ann.refusal("message.send", to="bob", message="x" * 60_000)
    await db.write(lambda tx: tx.pragma("max_page_count", 2**30))
    await ann.send("bob", "there is room again", wait="stored")
    return code


@refuses("message.send", "broker_rollback")
async def the_broker_shows_another_history(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    house = next(iter(world.network.brokers.values()))
    mesh = ann.mesh()
    other = sign_tip(house._key, mesh.id, TipRef(len(mesh.hashes), bytes(32), 0, bytes(32)))

    def lie(frame: bytes) -> list[bytes]:
        header, body = split_message(frame)
        match decode(header):
            case [1, number, None, dict() as result] if "server_ms" in result:
                return [encode_frame(encode([1, number, None, {**result, "tip": other.encode()}]), body)]
        return [frame]

    cable = world.cable(ann)
    cable.incoming = lie
    await cable.cut()
    await world.until(lambda: bool(mesh.alarm), 120, "the alarm")
    assert world.take_errors()
    return await ann.refusal("message.send", to="bob", message="hello")


async def send_two_alike(ann: Machine) -> None:
    """Two messages whose ids begin with the same 8 characters."""
    drawn = ann.rng

    def alike(size: int) -> bytes:
        return bytes(4) + drawn(size)[4:] if size == 16 else drawn(size)

    ann.app.node.seams = replace(ann.app.node.seams, rng=alike)
    for text in ("one", "two"):
        assert (await ann.send("bob", text))["id"].startswith("00000000")


@refuses("message.status", "ambiguous_id")
async def asking_for_one_of_two_that_begin_alike(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    await send_two_alike(ann)
    return await ann.refusal("message.status", id="00000000")


@works("message.status")
async def both_ends_see_how_far_it_got(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    sent = await ann.send("bob", "hello", wait="stored")
    out = await ann.call("message.status", id=sent["id"][:8])
    assert (out["direction"], out["message"], out["recipients"][0]["state"]) == ("out", "hello", "stored")
    found = await bob.call("message.status", id=sent["id"])
    assert (found["direction"], found["sender"], found["message"]) == ("in", "ann", "hello")


@refuses("message.status", "not_found")
async def asking_for_a_message_that_is_not_there(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    return await ann.refusal("message.status", id=UNKNOWN_ID)


@works("inbox.read")
async def a_person_reads(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.send("bob", "hello", wait="stored")
    answer = await bob.call("inbox.read", wait_s=5)
    assert [(row["sender"], row["message"], row["unread"]) for row in answer["messages"]] == [("ann", "hello", True)]
    assert answer["more"] is False


@refuses("inbox.read", "unknown_mesh")
async def reading_in_a_mesh_that_is_not_here(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("inbox.read", mesh="other")


@refuses("inbox.read", "no_mesh")
async def reading_in_nothing(world: World) -> str:
    ann = await world.machine("ann")
    assert (await ann.call("inbox.read"))["messages"] == []
    return await ann.refusal("inbox.read", mesh="team")


@works("inbox.ack")
async def reading_is_acknowledged(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    sent = await ann.send("bob", "hello", wait="stored")
    assert (await bob.call("inbox.ack", ids=[sent["id"]]))["marked"] == 1
    assert (await bob.call("inbox.ack", ids=[sent["id"]]))["marked"] == 0
    await ann.until_state(sent, "shown")


@works("inbox.check")
async def a_session_asks_for_its_messages(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web", inbox=False)
    await ann.until_knows("bob/web")
    sent = await ann.send("bob/web", "the heron is mended", wait="stored")
    assert "the heron is mended" in await web.tool("check_messages")
    await ann.until_state(sent, "shown")
    assert "the heron is mended" not in await web.tool("check_messages")


async def checking(world: World, **params: object) -> str:
    """The refusal of a session of ann's."""
    ann, _ = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    return (await (await web.shell()).refusal("inbox.check", **params)).code


@refuses("inbox.check", "no_session")
async def a_person_asks_as_a_session(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    return await ann.refusal("inbox.check")


@refuses("inbox.check", "unknown_mesh")
async def a_session_asks_in_a_mesh_that_is_not_here(world: World) -> str:
    return await checking(world, mesh="other")


@refuses("inbox.check", "not_found")
async def a_session_asks_for_a_message_that_is_not_there(world: World) -> str:
    return await checking(world, id=UNKNOWN_ID)


@refuses("inbox.check", "no_mesh")
async def a_session_asks_in_nothing(world: World) -> str:
    ann = await world.machine("ann")
    web = await ann.claude("web")
    return (await (await web.shell()).refusal("inbox.check", mesh="team")).code


@refuses("message.send", "ambiguous_id")
async def answering_one_of_two_that_begin_alike(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    await send_two_alike(ann)
    return await ann.refusal("message.send", to="bob", message="hello", reply_to="00000000")
