"""The daemon itself, and what the thin clients inside Claude Code call."""

import json
from hashlib import sha256

from exercised import refuses, works

from meshd.keys.store import KeyStore
from world.machine import Machine, NoKeyring
from world.world import World


@works("hello")
async def a_client_learns_what_it_is(world: World) -> None:
    ann = await world.machine("ann")
    talk = await ann.talk(ann.processes.shell)
    said = await talk.call("hello", proto=[1, 0], build="1")
    assert (said["proto"], said["build"], said["tier"], said["session"]) == ([1, 0], "1.2.3", "user", "")


@refuses("hello", "version_mismatch")
async def a_client_of_another_protocol(world: World) -> str:
    return await (await world.machine("ann")).refusal("hello", proto=[2, 0], build="1")


@works("daemon.status")
async def the_daemon_says_how_it_is(world: World) -> None:
    (ann,) = await world.mesh("ann")
    status = await ann.call("daemon.status")
    assert (status["version"], status["pid"], status["state"], status["unread"]) == ("1.2.3", 1, "ready", 0)
    assert status["keys"].endswith("unprotected")
    assert [(mesh["mesh"], mesh["link"], mesh["members"]) for mesh in status["meshes"]] == [("team", "online", 1)]


@works("daemon.doctor")
async def the_doctor_finds_what_is_wrong(world: World) -> None:
    (ann,) = await world.mesh("ann")
    good = {check["name"]: check for check in (await ann.call("daemon.doctor"))["checks"]}
    assert good["mesh team"]["ok"] == "ok"
    await ann.restart()
    anew = {check["name"]: check for check in (await ann.call("daemon.doctor"))["checks"]}
    assert anew["mesh team"]["ok"] == "ok", "who asks at once gets the verdict, not that nothing was tried yet"
    await world.unplug(ann)
    bad = {check["name"]: check for check in (await ann.call("daemon.doctor"))["checks"]}
    assert (bad["mesh team"]["ok"], bool(bad["mesh team"]["fix"])) == ("bad", True)


@works("daemon.stop")
async def the_daemon_stops(world: World) -> None:
    ann = await world.machine("ann")
    assert (await ann.call("daemon.stop"))["pid"] == 1
    await world.until(lambda: not ann.running, 10, "it stopped")


@works("events.subscribe")
async def a_subscriber_hears_of_changes_without_a_gap(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    talk = await bob.talk(bob.processes.shell)
    assert (await talk.call("events.subscribe", kinds=["inbox"]))["next"] == 1
    await ann.send("bob", "one", wait="stored")
    await ann.send("bob", "two", wait="stored")
    assert [((event := await talk.next_event())["n"], event["kind"]) for _ in range(2)] == [(1, "inbox"), (2, "inbox")]


def stretch(passphrase: bytes | bytearray, salt: bytes) -> bytes:
    """Stands for Argon2id, which takes a child process and a tenth of a second."""
    return sha256(bytes(passphrase) + salt).digest()


async def locked(world: World) -> Machine:
    """A machine whose keys are under a passphrase, and whose daemon started without it."""
    ann = await world.machine("ann")
    await ann.stop()
    ann.stretch = stretch
    keys = KeyStore(ann.paths.keys, "file", NoKeyring(), stretch, ann.rng)  # type: ignore[arg-type]
    keys.load()
    keys.protect(b"correct horse")
    keys.close()
    await ann.start(locked=True)
    assert await ann.refusal("mesh.list") == "keys_locked"
    return ann


@works("keys.unlock")
async def the_passphrase_opens_the_keys(world: World) -> None:
    ann = await locked(world)
    assert (await ann.call("keys.unlock", passphrase="correct horse"))["state"] == "ready"
    assert (await ann.call("mesh.list"))["meshes"] == []


@refuses("keys.unlock", "keys_unavailable")
async def a_wrong_passphrase_opens_nothing(world: World) -> str:
    ann = await locked(world)
    code = await ann.refusal("keys.unlock", passphrase="wrong horse")
    assert await ann.refusal("mesh.list") == "keys_locked"
    return code


@works("statusline")
async def a_status_line_is_a_line(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.send("bob", "hello", wait="stored")
    said = await bob.call("statusline", columns=80, body=b"{}")
    assert said["exit"] == 0
    assert b"1" in said["body"]
    assert b"\n" not in said["body"].rstrip(b"\n")


@works("hook")
async def a_hook_is_taken_in(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    await bob.until_knows("ann/web")
    await web.hook("UserPromptSubmit")

    async def works() -> bool:
        return bool((await bob.until_knows("ann/web"))["status"] == "working")

    await world.until(works, 5, "bob sees that it works")


@works("mcp.open")
async def mcp_is_spoken_on_a_connection(world: World) -> None:
    (ann,) = await world.mesh("ann")
    web = await ann.claude("web")
    talk = await web.open_mcp()
    await talk.send_line(json.dumps({"jsonrpc": "2.0", "id": 7, "method": "ping"}).encode())
    assert json.loads(await talk.next_line()) == {"jsonrpc": "2.0", "id": 7, "result": {}}
