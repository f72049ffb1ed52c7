"""Doctor: every finding that can keep a message from arriving, each with what mends it."""

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

import meshd.doctor.machine
from meshd.config import Limits
from world.machine import Machine
from world.talk import Answer
from world.world import HERE, World


async def findings(machine: Machine) -> dict[str, Answer]:
    return {check["name"]: check for check in (await machine.call("daemon.doctor"))["checks"]}


async def test_a_machine_in_good_order_has_nothing_bad_to_say(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await ann.claude("web")
    found = await findings(ann)
    assert found["daemon"]["text"] == "version 1.2.3, pid 1"
    assert found["mesh team"]["text"] == "online; members: 2"
    assert {name: check["ok"] for name, check in found.items() if check["ok"] != "ok"} == {
        "keys": "warn",
        "recovery team": "warn",
    }
    assert found["session web"]["text"] in ("idle", "working")


async def test_every_finding_that_is_not_ok_says_what_mends_it(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await ann.claude("web", inbox=False)
    await world.unplug(ann)
    await ann.send("bob", "waits")
    await ann.send("ann/web", "not pushed")
    await world.settle(30)
    bad = [check for check in (await findings(ann)).values() if check["ok"] != "ok"]
    assert {check["name"] for check in bad} == {"keys", "mesh team", "outbox team", "recovery team", "session web"}
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
    assert "waiting for ann to let you in" in (await findings(eve))[name]["text"]
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


async def test_what_a_person_makes_in_the_folder_may_be_read_but_not_written_by_others(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    prompts, prices = ann.paths.data / "prompts", ann.paths.data / "prices.toml"
    prompts.mkdir()
    prompts.chmod(0o755)
    prices.touch()
    prices.chmod(0o644)
    assert (await findings(ann))["files"]["ok"] == "ok"
    prompts.chmod(0o775)
    prices.chmod(0o646)
    assert (await findings(ann))["files"]["text"] == "others can read or write prices.toml, prompts"


async def test_a_disk_that_is_nearly_full_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, _ = await world.mesh("ann", "bob")
    monkeypatch.setattr(meshd.doctor.machine, "FREE_FLOOR", 2**70)
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


@pytest.mark.parametrize(("off_ms", "verdict"), [(0, ""), (60_000, ""), (-300_000, "warn"), (300_000, "warn")])
async def test_a_clock_that_differs_from_the_brokers_is_told(world: World, off_ms: int, verdict: str) -> None:
    ann, _ = await world.mesh("ann", "bob")
    ann.app.node.compare_clock(ann.app.node.now() - off_ms)
    found = await findings(ann)
    if not verdict:
        assert "clock" not in found
        return
    way = "ahead of" if off_ms > 0 else "behind"
    assert (found["clock"]["ok"], f"300 s {way} the broker's" in found["clock"]["text"]) == (verdict, True)
    assert "timedatectl" in found["clock"]["fix"]


async def test_members_can_compare_how_far_they_know_the_membership(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    chains = [(await findings(machine))["chain team"] for machine in (ann, bob)]
    assert chains[0] == chains[1]
    assert chains[0]["text"].startswith(f"{ann.mesh().tip.chain_seq} records, the last ")


async def test_a_machine_that_nobody_can_seal_to_is_told(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    prekey, ann.mesh().prekey = ann.mesh().prekey, None
    assert (await findings(ann))["prekey team"]["ok"] == "warn"
    ann.mesh().prekey = prekey
    assert "prekey team" not in await findings(ann)


@pytest.mark.parametrize(("rows", "verdict"), [(10, ""), (5, "warn"), (4, "bad")])
async def test_an_outbox_that_fills_is_told_before_it_is_full(world: World, rows: int, verdict: str) -> None:
    await world.machine("ann", replace(HERE, limits=Limits(outbox_rows=rows)))
    ann, _ = await world.mesh("ann", "bob")
    await world.unplug(ann)
    for number in range(4):
        await ann.send("bob", str(number))
    found = (await findings(ann)).get("quota team")
    assert (found["ok"] if found is not None else "") == verdict
    if found is not None:
        assert found["text"] == f"4 of at most {rows} deliveries wait for the broker"
        assert "mesh outbox cancel ID" in found["fix"]
    await world.plug(ann)


@pytest.mark.parametrize(("limit", "verdict"), [(1_000_000, "ok"), (1, "bad")])
async def test_open_files_near_their_limit_are_told(world: World, limit: int, verdict: str) -> None:
    ann, _ = await world.mesh("ann", "bob")
    object.__setattr__(ann.app.hardening, "open_files", limit)
    found = (await findings(ann))["open files"]
    assert (found["ok"], found["text"].endswith(f" of {limit}{' are in use' if verdict == 'bad' else ''}")) == (
        verdict,
        True,
    )


async def test_what_the_person_decided_of_senders_is_told(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.claude("web")
    await ann.until_knows("bob/web")
    assert "trust" not in await findings(bob)
    await bob.call("trust.set", peer="ann", policy="hold")
    await ann.send("bob/web", "let me in", wait="stored")
    found = (await findings(bob))["trust"]
    assert (found["ok"], found["text"]) == ("warn", "1 message waits for you to let them in")
    assert found["fix"].startswith("mesh held; then mesh held release ID")
    await bob.call("trust.release", id=(await bob.call("trust.held"))["held"][0]["id"])
    await bob.call("trust.set", peer="ann", policy="refuse")
    found = (await findings(bob))["trust"]
    assert (found["ok"], "messages of ann are refused" in found["text"]) == ("ok", True)


async def test_a_session_whose_mesh_does_not_exist_is_told(world: World) -> None:
    (ann,) = await world.mesh("ann")
    await ann.claude("web", mesh="nowhere")
    found = (await findings(ann))["mesh of web"]
    assert (found["ok"], "names nowhere" in found["text"]) == ("bad", True)


async def test_a_session_of_an_unknown_version_is_told(world: World) -> None:
    (ann,) = await world.mesh("ann")
    web = await ann.claude("web")
    session = ann.app.sessions.get(web.key)
    assert session is not None
    assert "version of web" not in await findings(ann)
    session.claude = replace(session.claude, version="9.9.9", peer_protocol=2)
    found = (await findings(ann))["version of web"]
    assert (found["ok"], found["text"].startswith("Claude Code 9.9.9 is not known")) == ("warn", True)


async def test_a_session_without_an_inbox_is_told_with_the_way_that_is_left(world: World) -> None:
    (ann,) = await world.mesh("ann")
    web = await ann.claude("web", inbox=False)
    found = (await findings(ann))["session web"]
    assert (found["ok"], "only when it asks: it has no inbox socket" in found["text"]) == ("ok", True)
    assert found["fix"].startswith("mesh install gives it hooks")
    await web.hook("UserPromptSubmit")
    await web.hook("Stop")
    assert "messages come by its hook: it has no inbox socket" in (await findings(ann))["session web"]["text"]


async def test_a_session_that_waits_for_its_person_is_told(world: World) -> None:
    (ann,) = await world.mesh("ann")
    web = await ann.claude("web")
    web.status = "waiting"
    web.register()
    await world.settle(3)
    assert (await findings(ann))["session web"]["text"] == "it waits for your answer"


async def test_keys_that_are_locked_are_the_one_thing_to_mend(world: World) -> None:
    ann = await world.machine("ann")
    await ann.crash()
    await ann.start(locked=True)
    found = await findings(ann)
    assert (found["keys"]["ok"], found["keys"]["fix"]) == ("bad", "mesh unlock")
    assert "mesh" not in found


async def test_a_disk_without_room_for_another_file_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, _ = await world.mesh("ann", "bob")
    room = SimpleNamespace(f_bavail=2**30, f_frsize=4096, f_files=1000, f_favail=0)
    monkeypatch.setattr("meshd.doctor.machine.os.statvfs", lambda path: room)
    found = (await findings(ann))["disk"]
    assert (found["ok"], "no room for another file" in found["fix"]) == ("bad", True)
