"""The status line: what it says in each state, and never wider than the place it has."""

import json
from dataclasses import replace

import msgspec
import pytest

from mesh_protocol.io.sqlite import InlineWorker
from meshd.fitting import width
from meshd.glance import read_glance
from meshd.presence import Heard, Presence, SessionView
from meshd.services.proxy.entries import Window, local_day
from meshd.services.proxy.store import add_entries
from meshd.statusline import LAYOUTS, Asked, compose
from proxy_kit.record import PLAIN
from world.claude import Claude
from world.machine import Machine
from world.world import HERE, World

DOCUMENT = json.dumps(
    {
        "model": {"display_name": "Opus 5.5"},
        "cost": {"total_cost_usd": 0.25},
        "context_window": {"used_percentage": 42},
    }
).encode()


async def line(machine: Machine, columns: int = 0, **asked: object) -> str:
    answer = await machine.call("statusline", columns=columns, **asked)
    return bytes(answer["body"]).decode() if "body" in answer else ""


async def wait_for_person(session: Claude, status: str = "waiting") -> None:
    """Its registry entry says that it waits, as before a permission prompt."""
    session.status = status
    session.register()
    await session.machine.world.settle(3)


async def test_it_says_where_one_stands(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    assert await line(ann) == "mesh team · bob · 2/2 online"
    await ann.send("bob", "hello", wait="stored")
    assert await line(bob) == "mesh team · ann · 2/2 online · 1 unread"
    await bob.read()
    assert await line(bob) == "mesh team · ann · 2/2 online"
    await bob.stop()
    await world.settle(2)
    assert await line(ann) == "mesh team · 1/2 online"


async def test_it_says_what_is_wrong(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await world.unplug(ann)
    assert await line(ann) in ("mesh team · offline", "mesh team · connecting")
    await world.plug(ann)
    ann.mesh().alarm = "another history"
    assert await line(ann) == "mesh team · sending stopped (mesh doctor)"
    url = await world.invite(ann)
    await ann.crash()
    eve, carl = await world.machine("eve"), await world.machine("carl")
    assert await line(eve) == "mesh: none yet (mesh new NAME)"
    for machine in (eve, carl):
        await machine.call("mesh.join", url=url, me=machine.name, wait_s=0)
    assert (await line(eve)).endswith(" · waiting for ann to let you in")
    await ann.start()
    await world.until(lambda: eve.mesh().active or carl.mesh().active, 120, "one is in")
    await world.settle(60)
    assert (await line(carl if eve.mesh().active else eve)).endswith(" · invite used")


async def test_what_waits_to_go_out_is_told(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await world.unplug(ann)
    await ann.send("bob", "waits")
    assert (await line(ann)).endswith(" · 1 to send")
    await world.plug(ann)
    await world.until(lambda: "to send" not in compose(ann.app, Asked()), what="it went out")


async def test_it_says_that_the_keys_are_locked(world: World) -> None:
    ann = await world.machine("ann")
    await ann.crash()
    await ann.start(locked=True)
    assert await line(ann, body=DOCUMENT) == "mesh: keys locked (mesh unlock) · Opus 5.5 · context 42% · $0.25"


async def test_the_sessions_that_wait_for_their_person_are_named_but_not_the_one_he_looks_at(world: World) -> None:
    (ann,) = await world.mesh("ann")
    web, api = await ann.claude("web"), await ann.claude("api")
    await wait_for_person(api)
    assert await line(ann) == "mesh team · 1/1 online · api waits for you"
    seen = {name: ann.app.sessions.get(each.key) for name, each in (("web", web), ("api", api))}
    assert "api waits for you" in compose(ann.app, Asked(session=seen["web"]))
    assert "waits" not in compose(ann.app, Asked(session=seen["api"]))
    await wait_for_person(web)
    assert "web, api wait for you" in await line(ann)
    assert await line(ann, 23) == "team · 2 sessions wait"
    for session in (web, api):
        await wait_for_person(session, "idle")
    assert "wait" not in await line(ann)


async def test_sessions_on_the_persons_other_machines_wait_for_him_too(world: World) -> None:
    (ann,) = await world.mesh("ann")
    mesh = ann.mesh()
    device = mesh.state.active_devices(mesh.row.member)[0]
    views = [SessionView("far", "waiting", 0, ""), SessionView("calm", "idle", 0, "")]
    ann.app.board._heard[(mesh.id, device)] = Heard(ann.app.node.now(), Presence(True, views))
    assert "far waits for you" in compose(ann.app, Asked())
    assert "calm" not in compose(ann.app, Asked())


async def test_held_messages_wait_for_the_person(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.claude("web")
    await ann.until_knows("bob/web")
    await bob.call("trust.set", peer="ann", policy="hold")
    await ann.send("bob/web", "let me in", wait="stored")
    assert "1 held (mesh held)" in await line(bob)
    assert "1 held" in await line(bob, layout="minimal")


async def test_what_a_session_has_not_been_shown_is_told_in_its_own_line(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    session = bob.app.sessions.get(web.key)
    await bob.call("session.mode", mode="off")
    await ann.send("bob/web", "one", wait="stored")
    assert "1 for this session" in compose(bob.app, Asked(session=session))
    assert "1 here" in compose(bob.app, Asked(session=session, layout="short"))
    assert "for this session" not in await line(bob)


async def test_a_session_of_a_mesh_that_does_not_exist_is_told_so(world: World) -> None:
    (ann,) = await world.mesh("ann")
    session = ann.app.sessions.get((await ann.claude("web")).key)
    assert session is not None
    session.wish = "nowhere"
    assert compose(ann.app, Asked(session=session)) == "mesh: this session's MESH names none of yours (mesh list)"


async def test_somebody_who_was_not_heard_lately_is_faint(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await world.until(lambda: "\x1b" not in compose(ann.app, Asked()), what="bob was heard just now")
    await world.unplug(bob)
    await world.until(lambda: "\x1b" in compose(ann.app, Asked()), 60, "bob is faint")
    assert compose(ann.app, Asked()) == "mesh team · \x1b[2mbob\x1b[22m · 2/2 online"
    assert compose(ann.app, Asked(plain=True)) == "mesh team · (bob) · 2/2 online"
    assert await line(ann, plain=True) == "mesh team · (bob) · 2/2 online"
    await world.until(lambda: "bob" not in compose(ann.app, Asked()), 120, "his lease is over")


async def test_model_context_and_cost_stand_at_the_end_and_go_first(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    said = "mesh team · bob · 2/2 online · Opus 5.5 · context 42% · $0.25"
    assert await line(ann, body=DOCUMENT) == said
    assert await line(ann, len(said) - 1, body=DOCUMENT) == "mesh team · bob · 2/2 online · Opus 5.5 · 42% · $0.25"
    assert await line(ann, 30, body=DOCUMENT) == "team · bob · 2/2 · 42%"


async def test_a_layout_says_as_much_as_was_asked_for(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.send("bob", "hello", wait="stored")
    said = {layout: await line(bob, layout=layout, body=DOCUMENT) for layout in LAYOUTS}
    assert said == {
        "full": "mesh team · ann · 2/2 online · 1 unread · Opus 5.5 · context 42% · $0.25",
        "short": "team · 2/2 · 1 unread · 42% · $0.25",
        "minimal": "team · 1 unread",
    }
    assert await line(bob, layout="huge") == "mesh: no layout is called that: full, short, minimal"


async def test_the_configuration_names_the_layout_where_the_command_names_none(world: World) -> None:
    ann = await world.machine("ann", replace(HERE, statusline="short"))
    await ann.call("mesh.new", name="team", me="ann")
    await ann.until_online()
    assert await line(ann) == "team · 1/1"
    assert await line(ann, layout="full") == "mesh team · 1/1 online"


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_it_is_never_wider_than_its_place_and_never_blank(world: World, layout: str) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.send("bob", "hello", wait="stored")
    for columns in range(1, 80):
        text = await line(bob, columns, layout=layout, body=DOCUMENT)
        assert 0 < width(text) <= columns
        assert not text.endswith((" ·", " "))
        assert columns < 15 or "1 unread" in text


async def test_what_peers_call_themselves_cannot_move_the_cursor(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    ann.mesh().names[bob.mesh().row.member] = "b\x1b[2Job\u202e"
    assert compose(ann.app, Asked()) == "mesh team · b[2Job · 2/2 online"


async def test_what_the_proxy_recorded_is_said_while_it_is_on(world: World) -> None:
    ann = await world.machine("ann")
    ann.app.node.seams = replace(ann.app.node.seams, worker=lambda name: InlineWorker())
    await ann.claude("web")
    session = next(iter(ann.app.sessions.live()))
    key = session.claude.session_id
    assert await line(ann, body=DOCUMENT) == "mesh: none yet (mesh new NAME) · Opus 5.5 · context 42% · $0.25"
    await ann.call("proxy.on")
    now = ann.app.node.now()
    windows = [Window("5h", 0.6, "allowed", now + 60_000), Window("7d", 0.95, "allowed", now + 60_000)]
    spent = msgspec.structs.replace(PLAIN, session=key, day=local_day(now), cost=1_500_000_000, windows=windows)
    other = msgspec.structs.replace(spent, session="another", cost=500_000_000, started_ms=now)
    await ann.app.proxy.service().db.write(lambda tx: add_entries(tx, [(1, spent), (2, other)]))
    said = "mesh: none yet (mesh new NAME) · 5h 40% left · 7d 5% left · Opus 5.5 · context 42% · $1.50 · $2.00 today"
    assert compose(ann.app, Asked(session=session, glance=read_glance(DOCUMENT))) == said
    assert "$0.25" in await line(ann, body=DOCUMENT)
    assert "7d 5% left" in await line(ann, layout="minimal")
    assert "5h" not in await line(ann, layout="minimal")
    await ann.call("proxy.off")
    assert "left" not in await line(ann, body=DOCUMENT)
