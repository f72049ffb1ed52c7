"""Whom on this machine a label means, decided when the message comes."""

from meshd.audience import Writer, addresses
from meshd.inbox import Address
from world.claude import Claude
from world.machine import Machine
from world.world import World


async def house(world: World) -> tuple[Machine, Claude, Claude, Claude]:
    """Bob has three sessions: ui and api in groups below web, and one that hides."""
    _, bob = await world.mesh("ann", "bob")
    ui, api, hidden = [await bob.claude(name) for name in ("ui", "api", "hidden")]
    await ui.tool("join_group", name="web/ui")
    await api.tool("join_group", name="Web/api")
    await hidden.tool("join_group", name="web")
    await hidden.tool("set_visible", visible=False)
    return bob, ui, api, hidden


def found(machine: Machine, label: str, writer: Writer | None = None) -> list[Address]:
    app = machine.app
    return addresses(app.sessions, app.groups, machine.mesh(), label, writer)


def named(machine: Machine, label: str, writer: Writer | None = None) -> set[str]:
    """The names a label reaches, with ! in front of what it means nobody for, and the person marked."""
    return {
        ("" if each.known else "!") + each.name + (" (person)" if each.person else "")
        for each in found(machine, label, writer)
    }


async def test_every_kind_of_label_means_what_it_says(world: World) -> None:
    bob, ui, api, hidden = await house(world)
    person = Address("", True, True, "")
    assert found(bob, "") == [person]
    assert found(bob, "UI") == [Address(ui.key, False, True, "ui")]
    assert found(bob, "hidden") == [Address(hidden.key, False, True, "hidden")], "direct messages arrive"
    assert named(bob, "@web") == {"ui", "api"}
    assert named(bob, "@WEB/ui") == {"ui"}
    assert named(bob, "*") == {"* (person)", "ui", "api"}
    assert {each.session_key for each in found(bob, "@web")} == {ui.key, api.key}


async def test_what_means_nobody_waits_with_the_person_and_says_so(world: World) -> None:
    bob, *_ = await house(world)
    assert named(bob, "docs") == {"!docs (person)"}
    assert named(bob, "@docs") == {"!@docs (person)"}
    assert named(bob, "@docs,ui") == {"!@docs (person)", "ui"}
    assert named(bob, "@docs,mail") == {"!@docs (person)", "!mail"}, "he gets it once"
    assert named(bob, "@docs,*") == {"!@docs", "* (person)", "ui", "api"}
    assert named(bob, ",@docs") == {" (person)", "!@docs"}


async def test_several_parts_reach_everybody_once(world: World) -> None:
    bob, *_ = await house(world)
    assert named(bob, "@web,ui,@web/ui") == {"ui", "api"}
    assert named(bob, "*,hidden,") == {"* (person)", "ui", "api", "hidden"}
    assert len(found(bob, "ui,UI,@web/ui,*,@web")) == 3


async def test_a_persons_only_session_stands_for_both(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    ui = await bob.claude("ui")
    assert found(bob, "") == [Address(ui.key, True, True, "")]
    assert found(bob, ",ui") == [Address(ui.key, True, True, "ui")]
    assert found(bob, "*,") == [Address("", True, True, "*"), Address(ui.key, False, True, "ui")]


async def test_who_wrote_it_here_is_not_told(world: World) -> None:
    bob, *_ = await house(world)
    assert named(bob, "@web", Writer("UI")) == {"api"}
    assert named(bob, "*", Writer("ui")) == {"* (person)", "api"}
    assert named(bob, "*", Writer("")) == {"ui", "api"}, "the person wrote it"
    assert named(bob, "@web", Writer("")) == {"ui", "api"}
    assert named(bob, "@web/ui", Writer("ui")) == {"!@web/ui (person)"}


async def test_a_session_that_ended_is_told_apart_from_a_hidden_one_of_its_name(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    old = await bob.claude("web")
    await old.tool("join_group", name="g")
    await old.end()
    await world.until(lambda: not bob.app.sessions.live(), what="it ended")
    new = await bob.claude("web")
    await new.tool("set_visible", visible=False)
    both = found(bob, "web,@g")
    assert both[0] == Address(new.key, False, True, "web")
    assert both[1].name == f"web~{both[1].session_key[:4]}"
    assert both[1].session_key != new.key
