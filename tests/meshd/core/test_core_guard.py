"""The guard: every guarded verb asks, for each connection, and guessing is slow whatever dies meanwhile."""

from hashlib import sha256

import pytest
import trio

from mesh_protocol.registry import load_operations
from mesh_protocol.wire.errors import MeshError
from meshd.audit_entry import read_entry
from meshd.guarding import OPENER
from meshd.keys.argon2 import stretch
from meshd.store.audit import read_after
from world.machine import Machine
from world.talk import Talk
from world.world import World

GUARDED = sorted(method for method, each in load_operations().items() if each.guarded and method != OPENER)
LINES = {"hello", "events.subscribe", "mcp.open"}
"""They change what the connection is."""
OTHERS = sorted(method for method, each in load_operations().items() if not each.guarded and method not in LINES)
SECRET = "a long passphrase"


def stretch_cheaply(passphrase: bytes | bytearray, salt: bytes) -> bytes:
    return sha256(salt + passphrase).digest()


async def guarded(world: World) -> tuple[Machine, Talk]:
    ann = await world.machine("ann")
    ann.stretch = stretch_cheaply
    talk = await ann.talk(ann.processes.shell)
    await talk.call("guard.on", passphrase=SECRET)
    return ann, talk


async def test_every_guarded_verb_is_refused_without_a_proof_and_taken_with_one(world: World) -> None:
    ann, _ = await guarded(world)
    closed, opened = await ann.talk(ann.processes.shell), await ann.talk(ann.processes.shell)
    await opened.call("guard.open", passphrase=SECRET)
    for method in GUARDED:
        # Refused before anything is looked at; with a proof the parameters are.
        assert (await closed.refusal(method, no_such_field=1)).code == "guard_asks", method
        assert (await opened.refusal(method, no_such_field=1)).code == "unknown_field", method


async def test_a_token_does_for_all_but_what_would_make_it_last(world: World) -> None:
    ann, talk = await guarded(world)
    made = await talk.call("token.create", name="nightly")
    script = await ann.talk(ann.processes.shell)
    await script.call("guard.open", token=made["token"])
    refused = {method for method in GUARDED if (await script.refusal(method, no_such_field=1)).code == "guard_asks"}
    assert refused == {"guard.on", "guard.off", "token.create"}


async def test_what_is_not_guarded_asks_for_nothing(world: World) -> None:
    ann, _ = await guarded(world)
    talk = await ann.talk(ann.processes.shell)
    for method in OTHERS:
        assert (await talk.refusal(method, no_such_field=1)).code == "unknown_field", method


async def test_no_agent_gets_as_far_as_a_try_whatever_it_knows(world: World) -> None:
    ann, talk = await guarded(world)
    made = await talk.call("token.create", name="nightly")
    web = await ann.claude("web")
    cut_off = await ann.talk(ann.processes.orphan("mesh"))
    for each in (await web.shell(), cut_off):
        assert (await each.refusal("guard.open", passphrase=SECRET)).code == "guarded"
        assert (await each.refusal("guard.open", token=made["token"])).code == "guarded"
        assert (await each.refusal("trust.held")).code == "guarded"


async def test_each_try_after_three_wrong_ones_has_to_wait(world: World) -> None:
    ann, _ = await guarded(world)
    talk = await ann.talk(ann.processes.shell)
    for _ in range(3):
        assert (await talk.refusal("guard.open", passphrase="a wrong one")).code == "wrong_passphrase"
    refused = await talk.refusal("guard.open", passphrase=SECRET)
    assert (refused.code, refused.data["retry_after"]) == ("rate_limited", 1)
    await trio.sleep(1)
    assert (await talk.refusal("guard.open", passphrase="a wrong one")).code == "wrong_passphrase"
    refused = await talk.refusal("guard.open", passphrase=SECRET)
    assert (refused.code, refused.data["retry_after"]) == ("rate_limited", 2)
    await trio.sleep(2)
    await talk.call("guard.open", passphrase=SECRET)
    assert (
        await (await ann.talk(ann.processes.shell)).refusal("guard.open", passphrase="x")
    ).code == "wrong_passphrase"


async def test_the_wait_ends_after_a_minute_however_many_failed(world: World) -> None:
    ann, _ = await guarded(world)
    talk = await ann.talk(ann.processes.shell)
    await talk.call("guard.status")
    for _ in range(14):
        await trio.sleep(60)
        assert (await talk.refusal("guard.open", passphrase="a wrong one")).code == "wrong_passphrase"
    refused = await talk.refusal("guard.open", passphrase=SECRET)
    assert refused.data["retry_after"] == 60
    await trio.sleep(60)
    await talk.call("guard.open", passphrase=SECRET)


async def test_a_clock_that_was_set_back_locks_nobody_out(world: World) -> None:
    ann, _ = await guarded(world)
    talk = await ann.talk(ann.processes.shell)
    for _ in range(3):
        await talk.refusal("guard.open", passphrase="a wrong one")
    ann.clock.off_ms -= 3_600_000
    await talk.call("guard.open", passphrase=SECRET)


async def test_of_two_who_switch_it_on_at_once_the_second_does_not_replace_the_firsts_passphrase(world: World) -> None:
    ann = await world.machine("ann")
    ann.stretch = stretch_cheaply
    ended: list[str] = []

    async def switch_on(passphrase: str) -> None:
        talk = await ann.talk(ann.processes.shell)
        try:
            await talk.call("guard.on", passphrase=passphrase)
            ended.append(passphrase)
        except MeshError as error:
            ended.append(error.code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(switch_on, "the passphrase of one")
        nursery.start_soon(switch_on, "the passphrase of another")
    (kept,) = [each for each in ended if each != "not_allowed"]
    await (await ann.talk(ann.processes.shell)).call("guard.open", passphrase=kept)


async def test_many_tries_at_once_are_counted_one_by_one(world: World) -> None:
    ann, _ = await guarded(world)
    codes: list[str] = []

    async def guess(number: int) -> None:
        talk = await ann.talk(ann.processes.shell)
        codes.append((await talk.refusal("guard.open", passphrase=f"guess {number}")).code)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(guess, number)
    assert sorted(codes) == ["rate_limited"] * 17 + ["wrong_passphrase"] * 3


async def test_a_daemon_that_is_killed_while_it_judges_gives_no_try_away(world: World) -> None:
    ann, _ = await guarded(world)
    counted: list[int] = []

    def look(passphrase: bytes | bytearray, salt: bytes) -> bytes:
        counted.append(*ann.app.node.db.reader.execute("SELECT tries FROM guard").fetchone())
        return bytes(32)

    ann.stretch = look
    for _ in range(3):
        await ann.refusal("guard.open", passphrase="a wrong one")
        await ann.restart()
    assert counted == [1, 2, 3], "each is on the disk before it is judged"
    assert await ann.refusal("guard.open", passphrase=SECRET) == "rate_limited"


async def test_it_stays_on_over_a_restart_and_what_was_open_is_closed(world: World) -> None:
    ann, talk = await guarded(world)
    made = await talk.call("token.create", name="nightly")
    await ann.restart()
    assert await ann.refusal("trust.held") == "guard_asks"
    script = await ann.talk(ann.processes.shell)
    await script.call("guard.open", token=made["token"])
    await script.call("trust.held")


async def test_a_new_passphrase_closes_what_the_old_one_opened(world: World) -> None:
    ann, talk = await guarded(world)
    other = await ann.talk(ann.processes.shell)
    await other.call("guard.open", passphrase=SECRET)
    await talk.call("guard.on", passphrase="another passphrase")
    assert (await other.refusal("trust.held")).code == "guard_asks"
    await talk.call("trust.held")


async def test_a_token_ends_with_its_time(world: World) -> None:
    ann, talk = await guarded(world)
    made = await talk.call("token.create", name="nightly", days=1)
    script = await ann.talk(ann.processes.shell)
    await script.call("guard.open", token=made["token"])
    ann.clock.off_ms += 24 * 3600 * 1000
    assert (await script.refusal("trust.held")).code == "guard_asks"
    assert (await script.refusal("guard.open", token=made["token"])).code == "bad_token"


async def test_a_changed_record_opens_for_nobody(world: World) -> None:
    ann, _ = await guarded(world)
    forged = bytes(100)
    await ann.app.node.db.write(lambda tx: tx.execute("UPDATE guard SET sealed=?", (forged,)))
    await ann.restart()
    assert await ann.refusal("guard.open", passphrase=SECRET) == "keys_unavailable"
    assert await ann.refusal("trust.held") == "guard_asks"


async def test_neither_passphrase_nor_token_is_on_the_disk_and_every_try_is_audited(world: World) -> None:
    ann, talk = await guarded(world)
    made = await talk.call("token.create", name="nightly")
    await ann.refusal("guard.open", passphrase="a wrong one")
    entries = [read_entry(data, ann.app.node.device).deed for _, data in read_after(ann.app.node.db.reader, 0, 100)]
    assert [(each.operation, each.outcome) for each in entries if each.began][-1] == ("guard.open", "wrong_passphrase")
    await ann.stop()
    for path in ann.folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for secret in (SECRET, str(made["token"]), "a wrong one"):
                assert secret.encode() not in data, path
    assert await ann.start()


async def test_it_is_really_stretched_by_argon2(world: World) -> None:
    ann = await world.machine("ann")
    ann.stretch = stretch
    await ann.call("guard.on", passphrase=SECRET)
    talk = await ann.talk(ann.processes.shell)
    assert (await talk.refusal("guard.open", passphrase="a wrong one")).code == "wrong_passphrase"
    await talk.call("guard.open", passphrase=SECRET)


@pytest.mark.parametrize("passphrase", ["", "short", "x" * 1025])
async def test_a_passphrase_has_a_length(world: World, passphrase: str) -> None:
    ann = await world.machine("ann")
    assert await ann.refusal("guard.on", passphrase=passphrase) == "bad_request"
