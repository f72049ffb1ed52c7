"""The guard and the tokens of scripts."""

from hashlib import sha256

from exercised import refuses, works

from meshd.keys.states import KeysNotReady
from world.machine import Machine
from world.talk import Talk
from world.world import World

SECRET = "a long passphrase"


def stretch_cheaply(passphrase: bytes | bytearray, salt: bytes) -> bytes:
    return sha256(salt + passphrase).digest()


def stretch_nothing(passphrase: bytes | bytearray, salt: bytes) -> bytes:
    raise KeysNotReady("64 MiB of memory were not to be had; try again")


async def guarded(world: World) -> tuple[Machine, Talk]:
    """A machine with the guard on, and the connection that switched it on."""
    ann = await world.machine("ann")
    ann.stretch = stretch_cheaply
    talk = await ann.talk(ann.processes.shell)
    await talk.call("guard.on", passphrase=SECRET)
    return ann, talk


@works("guard.on")
async def the_guard_is_switched_on(world: World) -> None:
    ann, talk = await guarded(world)
    assert await ann.refusal("trust.held") == "guard_asks"
    assert (await talk.call("trust.held"))["held"] == []
    await talk.call("guard.on", passphrase="another passphrase")
    again = await ann.talk(ann.processes.shell)
    assert (await again.refusal("guard.open", passphrase=SECRET)).code == "wrong_passphrase"
    await again.call("guard.open", passphrase="another passphrase")


@works("guard.off")
async def the_guard_is_switched_off(world: World) -> None:
    ann, talk = await guarded(world)
    await talk.call("token.create", name="nightly")
    assert await ann.refusal("guard.off") == "guard_asks"
    assert await talk.call("guard.off") == {"on": False, "since_ms": 0, "tokens": 0}
    await ann.call("trust.held")


@works("guard.status")
async def anybody_may_ask_whether_it_is_on(world: World) -> None:
    ann = await world.machine("ann")
    web = await ann.claude("web")
    shell = await web.shell()
    assert (await shell.call("guard.status"))["on"] is False
    ann.stretch = stretch_cheaply
    await ann.call("guard.on", passphrase=SECRET)
    assert await shell.call("guard.status") == {"on": True, "since_ms": ann.clock(), "tokens": 0}


@works("guard.open")
async def a_connection_is_opened_by_the_passphrase(world: World) -> None:
    ann, _ = await guarded(world)
    talk = await ann.talk(ann.processes.shell)
    assert (await talk.refusal("trust.held")).code == "guard_asks"
    assert await talk.call("guard.open", passphrase=SECRET) == {"token": ""}
    await talk.call("trust.held")
    assert await ann.refusal("trust.held") == "guard_asks", "another connection is not open"


@works("token.create")
async def a_script_uses_a_token(world: World) -> None:
    ann, talk = await guarded(world)
    made = await talk.call("token.create", name="nightly", days=1)
    assert made["expires_ms"] == ann.clock() + 24 * 3600 * 1000
    script = await ann.talk(ann.processes.shell)
    assert await script.call("guard.open", token=made["token"]) == {"token": made["id"]}
    await script.call("trust.held")
    for method, params in (("guard.off", {}), ("token.create", {"name": "more"}), ("guard.on", {"passphrase": SECRET})):
        assert (await script.refusal(method, **params)).code == "guard_asks"


@works("token.list")
async def tokens_are_listed_without_their_secrets(world: World) -> None:
    ann, talk = await guarded(world)
    made = await talk.call("token.create", name="nightly")
    (row,) = (await talk.call("token.list"))["tokens"]
    assert (row["id"], row["name"], row["used_ms"]) == (made["id"], "nightly", 0)
    assert made["token"] not in str(row)
    await (await ann.talk(ann.processes.shell)).call("guard.open", token=made["token"])
    assert (await talk.call("token.list"))["tokens"][0]["used_ms"] == ann.clock()


@works("token.revoke")
async def a_revoked_token_is_good_no_more(world: World) -> None:
    ann, talk = await guarded(world)
    made = await talk.call("token.create", name="nightly")
    script = await ann.talk(ann.processes.shell)
    await script.call("guard.open", token=made["token"])
    assert (await talk.call("token.revoke", id=made["id"]))["name"] == "nightly"
    assert (await script.refusal("trust.held")).code == "guard_asks"
    assert (await script.refusal("guard.open", token=made["token"])).code == "bad_token"


@refuses("guard.on", "keys_unavailable")
async def switching_it_on_without_memory(world: World) -> str:
    ann = await world.machine("ann")
    ann.stretch = stretch_nothing
    code = await ann.refusal("guard.on", passphrase=SECRET)
    assert (await ann.call("guard.status"))["on"] is False
    return code


@refuses("guard.open", "keys_unavailable")
async def opening_it_without_memory(world: World) -> str:
    ann, _ = await guarded(world)
    ann.stretch = stretch_nothing
    return await ann.refusal("guard.open", passphrase=SECRET)


@refuses("guard.open", "wrong_passphrase")
async def opening_it_with_another_passphrase(world: World) -> str:
    ann, _ = await guarded(world)
    code = await ann.refusal("guard.open", passphrase="a wrong passphrase")
    assert await ann.refusal("trust.held") == "guard_asks"
    return code


@refuses("guard.open", "bad_token")
async def opening_it_with_a_token_of_nobody(world: World) -> str:
    ann, talk = await guarded(world)
    made = await talk.call("token.create", name="nightly")
    return await ann.refusal("guard.open", token=str(made["token"])[:-1])


@refuses("guard.open", "service_off")
async def opening_what_is_off(world: World) -> str:
    ann = await world.machine("ann")
    assert await ann.refusal("guard.open") == "bad_request", "it takes one of the two"
    assert await ann.refusal("guard.open", token="mesh_x") == "service_off"
    return await ann.refusal("guard.open", passphrase=SECRET)


@refuses("token.create", "service_off")
async def a_token_without_a_guard(world: World) -> str:
    return await (await world.machine("ann")).refusal("token.create", name="nightly")


@refuses("token.create", "too_many")
async def one_token_too_many(world: World) -> str:
    _, talk = await guarded(world)
    for number in range(20):
        await talk.call("token.create", name=f"number {number}")
    return (await talk.refusal("token.create", name="one more")).code


@refuses("token.revoke", "not_found")
async def revoking_nothing(world: World) -> str:
    _, talk = await guarded(world)
    return (await talk.refusal("token.revoke", id="00000000")).code
