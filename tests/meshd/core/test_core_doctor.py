"""Doctor: every finding that can keep a message from arriving, each with what mends it."""

import os

import pytest

import meshd.doctor
from world.machine import Machine
from world.talk import Answer
from world.world import World


async def findings(machine: Machine) -> dict[str, Answer]:
    return {check["name"]: check for check in (await machine.call("daemon.doctor"))["checks"]}


async def test_a_machine_in_good_order_has_nothing_bad_to_say(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await ann.claude("web")
    found = await findings(ann)
    assert found["daemon"]["text"] == "version 1.2.3, pid 1"
    assert found["mesh team"]["text"] == "online; members: 2"
    assert {name: check["ok"] for name, check in found.items() if check["ok"] != "ok"} == {"keys": "warn"}
    assert found["session web"]["text"] in ("idle", "working")


async def test_every_finding_that_is_not_ok_says_what_mends_it(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await ann.claude("web", inbox=False)
    await world.unplug(ann)
    await ann.send("bob", "waits")
    await ann.send("ann/web", "not pushed")
    await world.settle(30)
    bad = [check for check in (await findings(ann)).values() if check["ok"] != "ok"]
    assert {check["name"] for check in bad} == {"keys", "mesh team", "outbox team", "session web"}
    assert all(check["fix"] for check in bad)


async def test_without_a_mesh_it_says_how_to_get_one(world: World) -> None:
    eve = await world.machine("eve")
    found = await findings(eve)
    assert found["mesh"]["fix"] == "mesh new NAME, or mesh join URL"


async def test_waiting_and_failed_joins_are_told_apart(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    url = await world.invite(ann)
    await ann.crash()
    eve, carl = await world.machine("eve"), await world.machine("carl")
    for machine in (eve, carl):
        await machine.call("mesh.join", url=url, me=machine.name, wait_s=0)
    (name,) = [name for name in await findings(eve) if name.startswith("mesh ")]
    await world.until(lambda: eve.mesh().link.value == "greeting", what="she waits at the broker")
    assert "waiting to be let in" in (await findings(eve))[name]["text"]
    await ann.start()
    await world.until(lambda: eve.mesh().active or carl.mesh().active, 120, "one is in")
    await world.settle(60)
    outside = carl if eve.mesh().active else eve
    assert "ask for a new invite" in (await findings(outside))[name]["fix"]


async def test_a_broker_that_refuses_or_lies_is_named(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    mesh = ann.mesh()
    mesh.alarm = "the chain forked"
    assert "another history" in (await findings(ann))["mesh team"]["text"]
    assert await ann.refusal("message.send", to="bob", message="x") == "broker_rollback"
    mesh.alarm = ""
    mesh.link, mesh.link_why = type(mesh.link)("refused"), "not today"
    assert (await findings(ann))["mesh team"]["text"].endswith(": not today")
    mesh.link = type(mesh.link)("online")


async def test_files_that_others_can_read_are_named_with_the_command_that_closes_them(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    os.chmod(ann.paths.database, 0o644)
    check = (await findings(ann))["files"]
    assert (check["ok"], "mesh.db" in check["text"], check["fix"].startswith("chmod -R go= ")) == ("bad", True, True)


async def test_a_disk_that_is_nearly_full_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, _ = await world.mesh("ann", "bob")
    monkeypatch.setattr(meshd.doctor, "FREE_FLOOR", 2**70)
    assert (await findings(ann))["disk"]["ok"] == "bad"


async def test_hardening_that_was_not_achieved_is_told(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    object.__setattr__(ann.app.hardening, "notes", ("core files are possible",))
    assert (await findings(ann))["hardening"] == {
        "name": "hardening",
        "ok": "warn",
        "text": "core files are possible",
        "fix": "",
    }
