"""A budget that is used up asks its person wherever he is."""

from dataclasses import replace

import pytest
import trio

from mesh_protocol.chain_bodies import AddDevice
from mesh_protocol.io.sqlite import InlineWorker
from mesh_protocol.keys import SigningKey
from meshd.ownnotes import OwnNotes
from meshd.removal import remove
from meshd.services.proxy.asking import Ask
from meshd.services.proxy.heads import Head, Header
from meshd.services.proxy.spending import Budget, Spent
from world.machine import Machine
from world.world import World

SECOND = SigningKey.from_seed(bytes(32)).public
DOLLAR = 10**9


def reached(session: str, now_ms: int, limit: int = DOLLAR) -> Ask:
    return Ask(Spent(Budget(3, "session", "", "usd", DOLLAR), session, limit, limit), session, "", now_ms, now_ms)


def notes_to(machine: Machine) -> list[tuple[str, bytes]]:
    rows = machine.app.node.db.reader.execute(
        "SELECT message.msg_id, device FROM message JOIN delivery USING(msg_id) WHERE scope='note' ORDER BY created_ms"
    )
    return [(bytes(msg_id).hex(), bytes(device)) for msg_id, device in rows]


async def test_the_persons_other_device_is_told_once_for_each_limit_and_nobody_else(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    await remove(ann.app, ann.mesh(), [AddDevice(ann.mesh().row.member, SECOND)])
    notes = OwnNotes(ann.app.node, ann.app.outbox, ann.app.sessions)
    for limit in (DOLLAR, DOLLAR, 2 * DOLLAR):
        await notes.tell_budget(reached(web.session_id, ann.app.node.now(), limit))
    told = notes_to(ann)
    assert [device for _, device in told] == [SECOND, SECOND]
    said = await ann.call("message.status", id=told[0][0])
    assert said["sender"] == "ann/web"
    assert "session web has used up the budget of $1.00 for this session" in str(said["message"])
    assert "mesh budget allow 3" in str(said["message"])


async def test_the_message_names_a_client_that_has_a_name(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await remove(ann.app, ann.mesh(), [AddDevice(ann.mesh().row.member, SECOND)])
    notes = OwnNotes(ann.app.node, ann.app.outbox, ann.app.sessions)
    await notes.tell_budget(reached("", ann.app.node.now())._replace(client="ci"))
    ((told, _),) = notes_to(ann)
    said = str((await ann.call("message.status", id=told))["message"])
    assert "client ci of the API proxy has used up" in said


async def test_a_request_that_a_budget_holds_is_what_tells_the_other_device(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await remove(ann.app, ann.mesh(), [AddDevice(ann.mesh().row.member, SECOND)])
    ann.app.node.seams = replace(ann.app.node.seams, worker=lambda name: InlineWorker())
    await ann.call("proxy.on")
    await ann.call("budget.set", amount=0, per="session")
    named = Header(b"X-Claude-Code-Session-Id", b"talk-one", b"x-claude-code-session-id")
    head = Head(b"POST", b"/v1/messages", b"1.1", (named,), chunked=False, last=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ann.app.proxy.service().budgets.gate, head, "")
        await world.until(lambda: notes_to(ann), what="the message")
        nursery.cancel_scope.cancel()
    ((_, device),) = notes_to(ann)
    assert device == SECOND


async def test_with_one_device_nobody_is_told(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await OwnNotes(ann.app.node, ann.app.outbox, ann.app.sessions).tell_budget(reached("gone", ann.app.node.now()))
    assert notes_to(ann) == []


@pytest.mark.parametrize("mesh", [True, False], ids=["in a mesh", "in none"])
async def test_the_status_line_held_and_doctor_say_who_waits(world: World, mesh: bool) -> None:
    ann = await world.machine("ann")
    if mesh:
        await ann.call("mesh.new", name="team")
    ann.app.node.seams = replace(ann.app.node.seams, worker=lambda name: InlineWorker())
    await ann.call("proxy.on")
    await ann.call("budget.set", amount=1, per="session")
    asked = reached("talk-one", ann.app.node.now())
    ann.app.proxy.service().budgets.asks.note(asked.over, "talk-one", "")
    assert "1 over budget (mesh budget)" in bytes((await ann.call("statusline"))["body"]).decode()
    (row,) = (await ann.call("trust.held"))["budgets"]
    assert (row["id"], row["session"], row["spent"], row["limit"]) == (3, "talk-one", 1.0, 1.0)
    checks = {each["name"]: each for each in (await ann.call("daemon.doctor"))["checks"]}
    assert checks["budget"]["fix"] == "mesh budget, then mesh budget allow 3"
