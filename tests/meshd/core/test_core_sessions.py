"""Sessions of agents: found through their processes, named, watched to their end, and never believed."""

import subprocess
import sys

import pytest
import trio

from mesh_protocol.envelope import MAX_SESSION
from world.claude import Claude
from world.world import World, open_world


async def test_a_session_is_named_after_its_folder(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    for folder, name in (
        ("web", "web"),
        ("my app", "my-app"),
        ("€", "session"),
        ("x" * 50, "x" * 32),
        ("Web", "Web-2"),
    ):
        session = await ann.claude(folder)
        found = ann.app.sessions.get(session.key)
        assert found is not None
        assert found.name == name


async def test_a_name_of_any_letters_fits_an_envelope(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    letters = "\U00010330" * 40
    for _ in range(2):
        session = await ann.claude(letters)
        assert '"isError"' not in await session.tool("send_message", to="bob", message="hello")
    names = [session.name for session in ann.app.sessions.live()]
    assert len(set(names)) == 2
    assert all(len(name.encode()) <= MAX_SESSION for name in names)
    assert await bob.read(wait_s=5) == ["hello", "hello"]


async def test_a_name_that_is_taken_gets_a_number(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await ann.claude("web")
    api = await ann.claude("api")
    assert '"to":"ann/WEB-2"' in await api.tool("set_profile", name="WEB")
    assert '"to":"ann/WEB-2"' in await api.tool("set_profile", name="web-2"), (
        "its own name in another case is no change"
    )
    assert '"to":"ann/api"' in await api.tool("set_profile", name="api")


async def test_an_agent_that_has_not_registered_yet_is_waited_for(world: World) -> None:
    """It starts its tools before it has written its registry entry."""
    ann, _ = await world.mesh("ann", "bob")
    web = Claude(ann, "web")
    web.pid = ann.processes.spawn("claude", ann.processes.shell)
    shim = ann.processes.spawn("python3", web.pid)
    talk = await ann.talk(shim)
    answers: list[str] = []

    async def open_mcp() -> None:
        answers.append((await talk.call("mcp.open", env=web.env))["session"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_mcp)
        await trio.sleep(1.5)
        assert answers == []
        web.inbox = False
        web.register()
    assert answers == ["web"]


async def test_an_agent_that_never_registers_is_not_waited_for_longer_than_three_seconds(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    pid = ann.processes.spawn("claude", ann.processes.shell)
    talk = await ann.talk(ann.processes.spawn("python3", pid))
    before = trio.current_time()
    assert (await talk.call("mcp.open", env={"HOME": str(ann.folder)}, cwd="/src/late"))["session"] == "late"
    assert ann.app.sessions.live()[0].foreign
    assert 2.5 < trio.current_time() - before < 3.5


@pytest.mark.parametrize("env", [{}, {"HOME": "relative"}, {"HOME": "/nowhere"}])
async def test_a_caller_below_no_agent_is_answered_at_once(world: World, env: dict[str, str]) -> None:
    ann, _ = await world.mesh("ann", "bob")
    talk = await ann.talk(ann.processes.spawn("editor", ann.processes.shell))
    before = trio.current_time()
    assert (await talk.call("mcp.open", env=env))["session"] == "session"
    assert ann.app.sessions.live()[0].foreign
    assert trio.current_time() == before


async def test_an_entry_for_another_process_makes_no_session(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    other = ann.processes.spawn("vim", ann.processes.shell)
    entry = web._entry.read_text().replace(str(web.pid), str(other))
    web._entry.with_name(f"{other}.json").write_text(entry)
    talk = await ann.talk(ann.processes.spawn("python3", other))
    await talk.call("mcp.open", env=web.env)
    assert [session.foreign for session in ann.app.sessions.live()] == [False, True]


async def test_hooks_tell_what_a_session_does(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    session = ann.app.sessions.get(web.key)
    assert session is not None
    for event, word in (
        ("UserPromptSubmit", "working"),
        ("Stop", "idle"),
        ("PreToolUse", "working"),
        ("SessionStart", "working"),
        ("StopFailure", "idle"),
    ):
        web.busy = word == "working"
        web.register()
        await web.hook(event)
        assert session.status.word == word
    talk = await ann.talk_of(web.pid)
    for body in (b"", b"{", b"[]", b'{"hook_event_name": 5}', b"[" * 100_000):
        assert (await talk.call("hook", env=web.env, body=body))["exit"] == 0


async def test_a_hook_alone_makes_a_session_known(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    web = Claude(ann, "web")
    web.pid = ann.processes.spawn("claude", ann.processes.shell)
    web.inbox = False
    web.register()
    web._shim = ann.processes.spawn("sh", web.pid)
    await web.hook("SessionStart")
    assert [session.name for session in ann.app.sessions.live()] == ["web"]
    outside = await ann.talk(ann.processes.spawn("sh", ann.processes.shell))
    assert (await outside.call("hook", env=web.env, body=b"{}"))["exit"] == 0
    assert len(ann.app.sessions.all()) == 1


async def test_work_without_news_ends_when_the_registry_says_idle(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    session = ann.app.sessions.get(web.key)
    assert session is not None
    web.begin_turn()
    await web.hook("UserPromptSubmit")
    await trio.sleep(300)
    assert session.status.word == "working", "its process is in a turn"
    web.busy = False
    web.register()
    await trio.sleep(3)
    assert session.status.word == "idle"


async def test_the_end_of_a_session_is_seen_and_told(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    await bob.until_knows("ann/web")
    await web.end()
    await world.settle(5)
    assert "ann/web" not in [row["to"] for row in (await bob.call("peer.list"))["peers"]]
    assert ann.app.sessions.live() == []


async def test_a_registry_entry_that_cannot_be_read_for_a_moment_ends_nothing(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    web._entry.write_text("{")
    await trio.sleep(10)
    assert [session.name for session in ann.app.sessions.live()] == ["web"]
    web.register()
    await trio.sleep(10)
    assert [session.name for session in ann.app.sessions.live()] == ["web"]


async def test_a_pid_that_became_another_process_is_not_the_session(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    shim = web._shim
    await ann.crash()
    ann.processes.end(web.pid)
    ann.processes.adopt(web.pid, "claude")
    await ann.start()
    assert ann.app.sessions.live() == []
    assert ann.processes.look(shim) is not None


async def test_the_end_of_a_real_process_is_seen_at_once() -> None:
    """In real time, by the kernel's own handle of the process."""
    async with open_world() as world:
        ann = await world.machine("ann")
        web = Claude(ann, "web", inbox=False)
        argv = [sys.executable, "-ISc", "print(flush=True); input()"]
        child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert child.stdout is not None
            child.stdout.readline()
            web.pid = child.pid
            ann.processes.adopt(child.pid, "claude")
            web.register()
            web._shim = ann.processes.spawn("python3", web.pid)
            await web.hook("SessionStart")
            assert len(ann.app.sessions.live()) == 1
        finally:
            child.communicate(b"\n", 10)
        await world.until(lambda: not ann.app.sessions.live(), 10, "its end was seen")
