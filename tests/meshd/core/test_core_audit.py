"""The audit of a running daemon: before and after each change, through kills, a full disk and hands at its files."""

import random
from collections.abc import Callable

import apsw
import pytest
import trio
import trio.testing

from mesh_protocol.op import Answer, Request, Tier
from mesh_protocol.ops.meshes import New
from mesh_protocol.wire.errors import MeshError
from meshd.audit import COPY_NAME
from meshd.local.dispatch import Call, Caller
from world.machine import Machine
from world.power import PowerDisk
from world.world import World


async def rows_of(machine: Machine, **params: object) -> list[tuple[str, str]]:
    """(operation, outcome), the newest first."""
    return [(row["operation"], row["outcome"]) for row in (await machine.call("audit.list", **params))["rows"]]


async def broken_at(machine: Machine) -> int:
    with pytest.raises(MeshError) as caught:
        await machine.call("audit.verify")
    assert caught.value.code == "audit_broken"
    entry = caught.value.data["entry"]
    assert isinstance(entry, int)
    return entry


async def lone(world: World, *, disk: bool = False) -> Machine:
    """A machine with a mesh of its own, and three entries in its audit."""
    ann = await world.machine("ann")
    if disk:
        await ann.stop()
        ann.power = PowerDisk(random.Random(1))
        await ann.start()
    await ann.call("mesh.new", name="team", me="ann")
    return ann


def change_file(machine: Machine, sql: str) -> None:
    """By somebody with the rights of this user."""
    db = apsw.Connection(str(machine.paths.database))
    db.execute(sql)
    db.close()


def interrupt(machine: Machine, method: str, after: Callable[[], object]) -> None:
    """Have `after` happen when the action is done, and nobody was told."""
    handlers = machine.app.dispatch._handlers
    handler = handlers[method]

    async def act(call: Call, request: Request) -> Answer:
        answer = await handler(call, request)
        after()
        await trio.lowlevel.checkpoint()
        assert isinstance(answer, Answer)
        return answer

    machine.app.dispatch._handlers = {**handlers, method: act}


async def test_a_kill_between_a_change_and_its_report_leaves_an_entry(world: World) -> None:
    ann = await lone(world, disk=True)
    assert ann.power is not None
    interrupt(ann, "mesh.new", ann.kill)
    with pytest.raises(Exception):  # noqa: B017 - whatever a client sees of a daemon that dies
        await ann.call("mesh.new", name="second", me="ann")
    await ann.ended.wait()
    ann.power.restore()
    await ann.start()
    assert {row["mesh"] for row in (await ann.call("mesh.list"))["meshes"]} == {"team", "second"}
    assert (await rows_of(ann))[0] == ("mesh.new", "unfinished")
    assert (await ann.call("audit.verify"))["entries"] == 4
    await ann.crash()
    ann.power.close()


async def test_a_kill_between_the_last_entry_and_its_copy_is_no_alarm(world: World) -> None:
    ann = await lone(world)
    copy = ann.paths.keys / COPY_NAME
    older = copy.read_bytes()
    await ann.call("mesh.new", name="second", me="ann")
    newest = copy.read_bytes()
    await ann.crash()
    copy.write_bytes(older)
    await ann.start()
    assert copy.read_bytes() == newest, "it was caught up with at the start"
    assert (await ann.call("audit.verify"))["entries"] == 5


async def test_a_kill_between_the_first_copy_and_its_entry_is_no_alarm(world: World) -> None:
    ann = await world.machine("ann")
    await ann.crash()
    change_file(ann, "DELETE FROM audit")
    await ann.start()
    assert (await ann.call("audit.verify"))["entries"] == 1


async def test_without_room_nothing_is_begun(world: World) -> None:
    ann = await lone(world, disk=True)
    assert ann.power is not None
    ann.power.full = True
    assert await ann.refusal("mesh.new", name="second", me="ann") == "storage_full"
    assert len((await ann.call("mesh.list"))["meshes"]) == 1
    ann.power.full = False
    assert (await ann.call("audit.verify"))["entries"] == 3
    await ann.call("mesh.new", name="second", me="ann")
    assert (await rows_of(ann))[0] == ("mesh.new", "done")
    await ann.crash()
    ann.power.close()


async def test_what_failed_and_what_was_broken_off_is_written_too(world: World) -> None:
    ann = await lone(world)
    assert await ann.refusal("trust.set", policy="hold", peer="nobody") == "unknown_recipient"
    (row, *_) = (await ann.call("audit.list"))["rows"]
    assert (row["operation"], row["outcome"], row["target"]) == (
        "trust.set",
        "unknown_recipient",
        "policy=hold peer=nobody",
    )

    scope = trio.CancelScope()
    interrupt(ann, "mesh.new", scope.cancel)
    caller = Caller(Tier.USER, True, None, ann.processes.shell, "")
    operation = ann.app.dispatch.operations["mesh.new"]
    with scope:
        await ann.app.dispatch.invoke(Call(ann.app, caller), operation, New(name="second", me="ann"))
    assert scope.cancelled_caught
    assert (await rows_of(ann))[0] == ("mesh.new", "cancelled")


async def test_a_bug_of_a_change_is_written_too(world: World) -> None:
    ann = await lone(world)
    seen: list[int] = []

    def fail() -> None:
        seen.extend(ann.app.audit.under_way)
        raise RuntimeError("a bug")

    interrupt(ann, "mesh.new", fail)
    caller = Caller(Tier.USER, True, None, ann.processes.shell, "")
    operation = ann.app.dispatch.operations["mesh.new"]
    with pytest.raises(RuntimeError):
        await ann.app.dispatch.invoke(Call(ann.app, caller), operation, New(name="second", me="ann"))
    assert (await rows_of(ann))[0] == ("mesh.new", "internal")
    assert (seen, ann.app.audit.under_way) == ([4], set())


async def test_what_goes_on_is_told_from_what_never_ended(world: World) -> None:
    ann = await lone(world)
    asked, answered = trio.Event(), trio.Event()
    handlers = ann.app.dispatch._handlers

    async def act(call: Call, request: Request) -> Answer:
        asked.set()
        await answered.wait()
        raise MeshError("no_mesh")

    ann.app.dispatch._handlers = {**handlers, "trust.set": act}
    talk = await ann.talk(ann.processes.shell)
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            assert (await talk.refusal("trust.set", policy="hold", peer="bob")).code == "no_mesh"

        nursery.start_soon(ask)
        await asked.wait()
        assert (await rows_of(ann))[0] == ("trust.set", "under way")
        answered.set()
    assert (await rows_of(ann))[0] == ("trust.set", "no_mesh")


async def test_what_an_agent_does_with_its_tools_bears_its_name(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await web.tool("join_group", name="ui", role="lead")
    (row, *_) = (await bob.call("audit.list"))["rows"]
    assert (row["who"], row["tier"], row["operation"], row["target"]) == (
        "web",
        "agent",
        "group.join",
        "name=ui role=lead",
    )
    assert (await (await web.shell()).refusal("audit.list")).code == "not_allowed"


async def test_no_secret_and_no_text_is_in_it(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    url = str((await ann.call("mesh.invite"))["url"])
    cem = await world.machine("cem")
    await cem.call("mesh.join", url=url, me="cem", wait_s=30)
    sent = await ann.send("bob", "a well kept text")
    await ann.until_state(sent, "stored")
    for machine in (ann, bob, cem):
        kept = b"".join(data for (data,) in machine.app.node.db.reader.execute("SELECT entry FROM audit"))
        assert kept
        for secret in ("a well kept text", url.partition("#")[2], url):
            assert secret.encode() not in kept
    assert not [row for row in await rows_of(ann) if row[0].startswith("message.")]


async def test_unlocking_is_written_as_soon_as_there_is_a_key_to_sign_with(world: World) -> None:
    ann = await lone(world)
    await ann.stop()
    await ann.start(locked=True)
    assert await ann.refusal("audit.list") == "keys_locked"
    await ann.call("keys.unlock")
    assert (await rows_of(ann))[0] == ("keys.unlock", "done")
    await ann.call("audit.verify")


ALARM = "the audit was cut off or changed while the daemon did not run: see mesh audit verify"
CUTS = {
    "one in the middle": ("DELETE FROM audit WHERE seq=2", 2),
    "the newest": ("DELETE FROM audit WHERE seq=3", 3),
    "all": ("DELETE FROM audit", 1),
    "two swapped": (
        "UPDATE audit SET entry=(SELECT entry FROM audit AS other WHERE other.seq=5-audit.seq) WHERE seq>1",
        2,
    ),
    "one changed": ("UPDATE audit SET entry=CAST(replace(entry, 'person', 'nobody') AS BLOB) WHERE seq=2", 2),
}


@pytest.mark.parametrize("cut", CUTS)
async def test_what_is_taken_out_while_the_daemon_does_not_run_is_named_and_stays_named(world: World, cut: str) -> None:
    sql, first = CUTS[cut]
    ann = await lone(world)
    await ann.stop()
    change_file(ann, sql)
    await ann.start()
    assert await broken_at(ann) == first
    for number in range(4):  # more than were taken out
        await ann.call("mesh.new", name=f"more-{number}", me="ann")
    assert await broken_at(ann) == first
    await ann.restart()
    assert await broken_at(ann) == first
    assert set(world.take_errors()) == ({ALARM} if cut in ("the newest", "all") else set()), "the end is known at once"


@pytest.mark.parametrize("cut", CUTS)
async def test_what_is_taken_out_while_the_daemon_runs_is_named_and_stays_named(world: World, cut: str) -> None:
    sql, first = CUTS[cut]
    ann = await lone(world)
    change_file(ann, sql)
    assert await broken_at(ann) == first
    for number in range(4):
        await ann.call("mesh.new", name=f"more-{number}", me="ann")
    assert await broken_at(ann) == first


@pytest.mark.parametrize("content", [None, b"", b"noise" * 40])
async def test_a_copy_that_is_gone_or_is_not_ours_is_named_and_stays_named(world: World, content: bytes | None) -> None:
    ann = await lone(world)
    await ann.stop()
    copy = ann.paths.keys / COPY_NAME
    copy.unlink()
    if content is not None:
        copy.touch(mode=0o600)
        copy.write_bytes(content)
    await ann.start()
    assert await broken_at(ann) == 4
    await ann.call("mesh.new", name="second", me="ann")
    assert await broken_at(ann) == 4
    assert world.take_errors() == [ALARM]
    assert ("audit.gap", "done") in await rows_of(ann)


async def test_many_changes_at_once_are_one_chain(world: World) -> None:
    ann = await lone(world)
    async with trio.open_nursery() as nursery:
        for number in range(8):

            async def make(number: int = number) -> None:
                talk = await ann.talk(ann.processes.shell)
                await talk.call("mesh.new", name=f"more-{number}", me="ann")

            nursery.start_soon(make)
    assert (await ann.call("audit.verify"))["entries"] == 3 + 2 * 8
    assert await rows_of(ann, limit=8) == [("mesh.new", "done")] * 8


async def test_a_list_is_cut_by_number_and_by_time(world: World) -> None:
    ann = await lone(world)
    for number in range(3):
        await trio.sleep(3_600)
        await ann.call("mesh.new", name=f"more-{number}", me="ann")
    answer = await ann.call("audit.list", limit=2)
    assert (len(answer["rows"]), answer["more"]) == (2, True)
    recent = await ann.call("audit.list", since="90m")
    assert [row["target"] for row in recent["rows"]] == ["name=more-2 me=ann", "name=more-1 me=ann"]
    assert recent["more"] is False
    assert len((await ann.call("audit.list", since="1d"))["rows"]) == 5
    assert await ann.refusal("audit.list", since="soon") == "bad_request"


async def test_who_asks_while_the_first_entry_is_being_written_hears_of_no_missing_end(world: World) -> None:
    ann = await world.machine("ann")
    change_file(ann, "DELETE FROM audit")
    (ann.paths.keys / COPY_NAME).unlink()
    heard: list[object] = []

    async def ask(method: str) -> None:
        heard.append(await ann.call(method))

    async with trio.open_nursery() as nursery:
        ann.disk.hold()
        ann.app.audit.restore()
        nursery.start_soon(ask, "daemon.doctor")
        nursery.start_soon(ask, "audit.verify")
        await trio.testing.wait_all_tasks_blocked()
        assert heard == []
        ann.disk.release()
    assert "bad" not in str(heard)
