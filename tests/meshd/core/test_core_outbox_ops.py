"""Looking into the outbox and repairing it: what waits and why, taking back, sending once more to the very same targets."""

from mesh_protocol.ids import MsgId
from meshd.store.outbox import DeliveryRow, read_deliveries, read_message
from world.claude import Claude
from world.machine import Machine
from world.talk import Answer, Talk
from world.world import World


async def waiting(machine: Machine, **params: object) -> list[Answer]:
    rows: list[Answer] = (await machine.call("outbox.list", **params))["waiting"]
    return rows


def deliveries(machine: Machine, sent: Answer) -> list[DeliveryRow]:
    return read_deliveries(machine.app.node.db.reader, bytes.fromhex(sent["id"]))


def targets(machine: Machine, sent: Answer) -> set[tuple[bytes, bytes, str]]:
    return {(row.member, row.device, row.to_session) for row in deliveries(machine, sent)}


def voids_kept(machine: Machine) -> int:
    found = machine.app.node.db.reader.execute("SELECT count(*) FROM message WHERE kind='void'").fetchone()
    assert found is not None
    return int(found[0])


async def gaps_of(machine: Machine) -> Talk:
    events = await machine.talk(machine.processes.shell)
    await events.call("events.subscribe", kinds=["gap"])
    return events


async def test_what_waits_is_listed_with_its_reason(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await world.unplug(bob)
    away = await ann.send("bob", "you are away", wait="accepted")
    await world.unplug(ann)
    here = await ann.send("bob", "x" * 100, priority="low")
    first, second = await waiting(ann)
    assert (first["id"], first["state"], first["to"], first["message"]) == (
        away["id"],
        "accepted",
        "bob",
        "you are away",
    )
    assert (second["id"], second["state"], second["code"]) == (here["id"], "queued", "offline")
    assert "the broker cannot be reached" in second["why"]
    assert (second["priority"], second["message"]) == ("low", "x" * 80)
    assert second["since_ms"] <= ann.app.node.now() < second["expires_ms"]
    checks = [c for c in (await ann.call("daemon.doctor"))["checks"] if c["name"] == "outbox team"]
    assert [check["ok"] for check in checks] == ["warn", "ok"]
    assert "mesh outbox" in checks[0]["fix"]
    await world.plug(ann)
    await world.plug(bob)
    await ann.until_state(here, "stored")
    assert await waiting(ann) == []


async def test_a_machine_that_went_away_is_said_to_be_away(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.stop()
    await ann.send("bob", "hello", wait="accepted")
    await world.settle(200)
    (row,) = await waiting(ann)
    assert (row["state"], row["code"]) == ("accepted", "away")
    assert "3 minutes ago" in row["why"]


async def test_a_message_taken_back_before_the_broker_has_it_never_goes_out(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    events = await gaps_of(bob)
    await ann.send("bob", "before", wait="stored")
    await world.unplug(ann)
    sent = await ann.send("bob", "a mistake")
    answer = await ann.call("outbox.cancel", id=sent["id"][:8])
    assert (answer["cancelled"], answer["recipients"][0]["state"]) == (1, "cancelled")
    assert await waiting(ann) == []
    await ann.send("bob", "after")
    await world.plug(ann)
    await world.settle(120)
    assert await bob.read() == ["before", "after"]
    assert not events.events, "its number was given up, so nothing is missing"
    assert (await ann.progress(sent))["state"] == "cancelled"
    assert voids_kept(ann) == 0, "the void is forgotten once the broker has it"


async def test_without_a_void_the_missing_number_would_be_told(world: World) -> None:
    """The test above is worth something: the same message lost without a word raises the alarm."""
    ann, bob = await world.mesh("ann", "bob")
    events = await gaps_of(bob)
    await ann.send("bob", "before", wait="stored")
    ann.mesh().next_stream(bob.app.node.device)
    await ann.send("bob", "after", wait="stored")
    await world.settle(120)
    assert [event["data"]["missing"] for event in events.events] == [1]


async def test_a_message_is_taken_back_over_a_restart(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    events = await gaps_of(bob)
    await ann.send("bob", "before", wait="stored")
    await world.unplug(ann)
    sent = await ann.send("bob", "a mistake")
    await ann.call("outbox.cancel", id=sent["id"])
    assert voids_kept(ann) == 1
    await ann.restart()
    await ann.send("bob", "after")
    await world.plug(ann)
    await world.settle(120)
    assert await bob.read() == ["before", "after"]
    assert not events.events
    assert voids_kept(ann) == 0


async def test_what_the_broker_has_is_too_late_to_take_back_and_may_still_arrive(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await world.unplug(bob)
    sent = await ann.send("bob", "on its way", wait="accepted")
    answer = await ann.call("outbox.cancel", id=sent["id"])
    assert answer["cancelled"] == 0
    assert "may still arrive" in answer["recipients"][0]["text"]
    await world.plug(bob)
    await ann.until_state(sent, "stored")
    answer = await ann.call("outbox.cancel", id=sent["id"])
    assert answer["recipients"][0]["text"] == "too late: it is stored there"


async def test_of_several_recipients_only_those_that_have_it_not_are_cancelled(world: World) -> None:
    ann, _, cid = await world.mesh("ann", "bob", "cid")
    await world.unplug(ann)
    sent = await ann.send(["bob", "cid"], "to both")
    ann.app.node.db.submit(
        lambda tx: tx.execute(
            "UPDATE delivery SET accepted_ms=1 WHERE msg_id=? AND device=?",
            (bytes.fromhex(sent["id"]), cid.app.node.device),
        )
    )
    answer = await ann.call("outbox.cancel", id=sent["id"])
    assert {row["to"]: row["cancelled"] for row in answer["recipients"]} == {"bob": True, "cid": False}


async def test_an_expired_message_is_followed_by_a_void(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.send("bob", "before", wait="stored")
    await world.unplug(ann)
    sent = await ann.send("bob", "too old")
    soon = ann.app.node.now() + 1_000
    ann.app.node.db.submit(lambda tx: tx.execute("UPDATE delivery SET expires_ms=? WHERE stored_ms=0", (soon,)))
    await ann.until_state(sent, "expired", 120)
    assert voids_kept(ann) == 1
    await world.plug(ann)
    events = await gaps_of(bob)
    await ann.send("bob", "after", wait="stored")
    await world.settle(120)
    assert await bob.read() == ["before", "after"]
    assert not events.events
    assert voids_kept(ann) == 0


async def test_a_failed_message_goes_once_more_to_the_very_same_targets(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    await world.unplug(ann)
    sent = await ann.send(["bob/web", "bob"], "once more", priority="now", reply_to="")
    await ann.call("outbox.cancel", id=sent["id"])
    (row,) = await waiting(ann, failed=True)
    assert (row["id"], row["state"]) == (sent["id"], "cancelled")
    again = await ann.call("outbox.requeue", id=sent["id"])
    assert again["instead_of"] == sent["id"] != again["id"]
    assert targets(ann, again) == targets(ann, sent)
    old, new = (read_message(ann.app.node.db.reader, MsgId(bytes.fromhex(each["id"]))) for each in (sent, again))
    assert old is not None
    assert new is not None
    assert (new.lane, new.origin, new.reply_to, new.scope) == (old.lane, old.origin, old.reply_to, old.scope)
    await world.plug(ann)
    await world.until(lambda: any("\nonce more\n" in body for body in web.seen), what="web saw it")
    assert (await ann.progress(sent))["state"] == "cancelled"


async def test_asking_twice_to_send_it_once_more_sends_it_once(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await world.unplug(ann)
    sent = await ann.send("bob", "once")
    await ann.call("outbox.cancel", id=sent["id"])
    first = await ann.call("outbox.requeue", id=sent["id"])
    assert (await ann.call("outbox.requeue", id=sent["id"]))["id"] == first["id"]
    await world.plug(ann)
    await world.settle(5)
    assert await bob.read() == ["once"]


async def test_only_where_it_failed_it_goes_once_more(world: World) -> None:
    ann, _, cid = await world.mesh("ann", "bob", "cid")
    await world.unplug(cid)
    sent = await ann.send(["bob", "cid"], "to both")
    await world.until(lambda: any(row.stored_ms for row in deliveries(ann, sent)), what="bob has it")
    ann.app.node.db.submit(
        lambda tx: tx.execute(
            "UPDATE delivery SET ended='refused', accepted_ms=0 WHERE msg_id=? AND stored_ms=0",
            (bytes.fromhex(sent["id"]),),
        )
    )
    again = await ann.call("outbox.requeue", id=sent["id"])
    assert again["recipients"] == ["cid"]
    assert targets(ann, again) == {t for t in targets(ann, sent) if t[1] == cid.app.node.device}


async def agents(world: World) -> tuple[Machine, Claude, Claude]:
    ann, _ = await world.mesh("ann", "bob")
    web, api = await ann.claude("web"), await ann.claude("api")
    await world.unplug(ann)
    return ann, web, api


async def test_an_agent_sees_and_takes_back_its_own_messages_only(world: World) -> None:
    ann, web, api = await agents(world)
    await web.tool("send_message", to="bob", message="of web")
    of_person = await ann.send("bob", "of the person")
    (own,) = (await (await web.shell()).call("outbox.list"))["waiting"]
    assert own["message"] == "of web"
    assert (await (await api.shell()).call("outbox.list"))["waiting"] == []
    talk = await api.shell()
    for method in ("outbox.cancel", "outbox.requeue"):
        assert (await talk.refusal(method, id=own["id"])).code == "not_found"
        assert (await talk.refusal(method, id=of_person["id"])).code == "not_found"
    assert (await (await web.shell()).call("outbox.cancel", id=own["id"]))["cancelled"] == 1
    assert len(await waiting(ann)) == 1


async def test_nothing_of_a_message_taken_back_is_on_the_wire(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await world.unplug(ann)
    sent = await ann.send("bob", "a mistake")
    kept = await ann.send("bob", "no mistake")
    await ann.call("outbox.cancel", id=sent["id"])
    frames: list[bytes] = []
    world.network.tap = frames.append
    await world.plug(ann)
    await ann.until_state(kept, "stored")
    assert not any(bytes.fromhex(sent["id"]) in frame for frame in frames)
    assert any(bytes.fromhex(kept["id"]) in frame for frame in frames)
