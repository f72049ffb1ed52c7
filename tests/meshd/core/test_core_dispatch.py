"""From a request to its handler: unknown things, versions, tiers, guarded verbs, locked keys, bugs of one call."""

import pytest
import trio

from mesh_protocol.io.connection import Connection
from mesh_protocol.io.stream import StreamLink
from mesh_protocol.op import Tier
from mesh_protocol.wire.errors import MeshError, RemoteError
from mesh_protocol.wire.rpc import PROTOCOL
from meshd.families import meshes
from meshd.local.dispatch import LOCKED_METHODS, Dispatch, handlers_in, load_handlers
from world.machine import Machine
from world.talk import OPERATIONS, Talk
from world.world import World

GUARDED = sorted(operation.method for operation in OPERATIONS.values() if operation.guarded)
PARAMS = {
    "mesh.new": {"name": "x"},
    "mesh.join": {"url": "x"},
    "message.send": {"to": "x", "message": "x"},
    "message.status": {"id": "ab" * 16},
    "inbox.ack": {"ids": ["ab" * 16]},
    "presence.summary": {"summary": "x"},
    "presence.status": {"status": "idle"},
    "presence.visible": {"visible": True},
    "hello": {"proto": list(PROTOCOL), "build": "1"},
}


async def alone(world: World) -> Machine:
    ann = await world.machine("ann")
    await ann.call("mesh.new", name="team", me="ann")
    return ann


async def outcome(talk: Talk, method: str) -> str:
    """How a call ends: the code of its refusal, or nothing."""
    try:
        await talk.call(method, **PARAMS.get(method, {}))
    except MeshError as error:
        return error.code
    return ""


async def test_an_unknown_method_and_an_unknown_field_are_refused_by_name(world: World) -> None:
    ann = await alone(world)
    talk = await ann.talk_of(ann.processes.shell)
    error = await talk.refusal("mesh.explode")
    assert (error.code, error.data["method"]) == ("unknown_method", "mesh.explode")
    error = await talk.refusal("peer.list", meshes="team")
    assert (error.code, error.data["field"]) == ("unknown_field", "meshes")
    assert await ann.refusal("peer.list", mesh=5) == "bad_request"
    assert await ann.refusal("message.status") == "bad_request"
    assert await ann.refusal("message.send", to="x", body=b"\xff\xfe") == "bad_request"


async def test_versions_of_one_major_number_get_on(world: World) -> None:
    ann = await alone(world)
    hello = await ann.call("hello", proto=list(PROTOCOL), build="0.9")
    assert (hello["proto"], hello["build"], hello["tier"], hello["session"]) == (list(PROTOCOL), "1.2.3", "user", "")
    assert await ann.refusal("hello", proto=[PROTOCOL[0] + 1, 0], build="9") == "version_mismatch"


async def test_a_newer_clients_unknown_field_is_dropped_only_where_it_may_be(world: World) -> None:
    ann = await alone(world)
    talk = await ann.talk(ann.processes.shell)
    await talk.call("hello", proto=[PROTOCOL[0], PROTOCOL[1] + 1], build="9", shiny=True)
    assert (await talk.call("mesh.list", shiny=True))["meshes"]
    assert (await talk.refusal("message.send", to="x", message="x", shiny=True)).code == "newer_client"
    again = await ann.talk(ann.processes.shell)
    assert (await again.refusal("mesh.list", shiny=True)).code == "unknown_field", (
        "who does not say that it is newer is wrong"
    )


@pytest.mark.parametrize("method", GUARDED)
async def test_guarded_verbs_are_refused_to_an_agent_with_what_the_person_must_run(world: World, method: str) -> None:
    ann = await alone(world)
    web = await ann.claude("web")
    error = await (await web.shell()).refusal(method, **PARAMS.get(method, {}))
    assert error.code in ("guarded", "not_allowed")
    if error.code == "guarded":
        assert "mesh " in str(error.data["command"])


async def test_a_caller_whose_origin_is_cut_is_guarded_while_a_session_lives(world: World) -> None:
    ann = await alone(world)
    web = await ann.claude("web")
    orphan = await ann.talk(ann.processes.orphan("python3"))
    assert (await orphan.refusal("mesh.invite")).code == "guarded"
    assert (await orphan.call("message.send", to="ann", message="a script"))["id"]
    await web.end()
    await world.until(lambda: not ann.app.sessions.live(), what="its end was seen")
    late = await ann.talk(ann.processes.orphan("python3"))
    assert (await late.refusal("mesh.invite")).code == "mesh_local_only", "with no session alive it is a person's"


async def test_everything_an_agent_may_do_and_nothing_more(world: World) -> None:
    ann = await alone(world)
    web = await ann.claude("web")
    shell = await web.shell()
    for operation in OPERATIONS.values():
        if operation.method in ("events.subscribe", "mcp.open", "daemon.stop") or operation.guarded:
            continue
        code = await outcome(shell, operation.method)
        assert (code == "not_allowed") == (operation.tier > Tier.AGENT), operation.method
    assert (await shell.refusal("daemon.stop")).code == "not_allowed"


async def test_an_agent_is_told_apart_from_the_person_on_one_socket(world: World) -> None:
    ann = await alone(world)
    web = await ann.claude("web")
    agent = await web.shell()
    proto = {"proto": list(PROTOCOL), "build": "1"}
    hello = await agent.call("hello", **proto)
    assert (hello["tier"], hello["session"]) == ("agent", "web")
    person = await (await ann.talk_of(ann.processes.shell)).call("hello", **proto)
    assert (person["tier"], person["session"]) == ("user", "")
    terminal = ann.processes.spawn("vim", web.pid)
    assert (await (await ann.talk(terminal)).call("hello", **proto))["session"] == "web"


async def test_a_connection_is_judged_anew_when_a_session_registers_or_ends(world: World) -> None:
    ann = await alone(world)
    web = await ann.claude("web")
    pid = ann.processes.spawn("node", web.pid)
    talk = await ann.talk(pid)
    assert (await talk.refusal("mesh.invite")).code == "guarded"
    await web.end()
    await world.until(lambda: not ann.app.sessions.live(), what="its end was seen")
    assert (await talk.refusal("mesh.invite")).code == "mesh_local_only"


async def test_a_program_that_speaks_mcp_is_never_a_person(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    talk = await ann.talk(ann.processes.shell)
    await talk.call("mcp.open")
    await talk.send_line(
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send_message","arguments":'
        b'{"to":"bob","message":"not a person"}}}'
    )
    assert b'"isError":false' in await talk.next_line()
    (row,) = (await bob.call("inbox.read", wait_s=5))["messages"]
    assert (row["origin"], row["sender"]) == ("agent", "ann/session")


async def test_locked_keys_answer_status_and_refuse_the_rest(world: World) -> None:
    ann = await alone(world)
    await ann.crash()
    await ann.start(locked=True)
    status = await ann.call("daemon.status")
    assert (status["state"], status["meshes"], status["device"]) == ("locked", [], "")
    checks = {check["name"]: check for check in (await ann.call("daemon.doctor"))["checks"]}
    assert (checks["keys"]["ok"], checks["keys"]["fix"]) == ("bad", "mesh unlock")
    assert await ann.call("hello", **PARAMS["hello"])
    assert (await ann.call("hook", body=b'{"hook_event_name":"Stop"}'))["exit"] == 0
    for method in sorted(OPERATIONS.keys() - LOCKED_METHODS):
        assert await ann.refusal(method, **PARAMS.get(method, {})) == "keys_locked", method


async def test_unlocking_takes_up_everything_without_a_restart(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.crash()
    await ann.start(locked=True)
    sent = await bob.send("ann", "while locked", wait="accepted")
    answer = await ann.call("keys.unlock")
    assert answer["state"] == "ready"
    ann.connect_surroundings()
    await ann.until_online()
    await bob.until_state(sent, "stored")
    assert await ann.read() == ["while locked"]
    assert (await ann.call("keys.unlock"))["state"] == "ready"


async def test_a_bug_in_one_call_is_told_with_a_reference_and_ends_nothing(world: World) -> None:
    ann = await alone(world)
    board = ann.app.board
    del ann.app.board  # whatever touches it now is a bug
    talk = await ann.talk_of(ann.processes.shell)
    with pytest.raises(RemoteError) as caught:
        await talk.connection.call("peer.list", {}, seconds=30)
    assert caught.value.code == "internal"
    assert str(caught.value.data["reference"]).endswith("-1")
    assert [method for method, _ in world.bugs] == ["peer.list"]
    world.bugs.clear()
    assert world.take_errors() == ["a call failed"]
    ann.app.board = board
    assert (await talk.call("peer.list"))["peers"], "the connection goes on"


async def test_stop_answers_and_then_ends_in_good_order(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    answer = await ann.call("daemon.stop")
    assert answer == {"pid": 1}
    await world.until(lambda: not ann.running, what="it ended")
    await world.settle(1)
    assert not bob.app.board.is_online(bob.mesh().id, ann.app.node.device)


async def test_a_client_that_asks_nothing_is_left(world: World) -> None:
    ann = await alone(world)
    talk = await ann.talk(ann.processes.shell)
    await trio.sleep(15)
    assert talk.connection.closed is not None
    asked = await ann.talk(ann.processes.shell)
    await asked.call("mesh.list")
    await trio.sleep(600)
    assert asked.connection.closed is None


async def test_real_sockets_are_served_the_same(world: World) -> None:
    """Through the listening socket: the caller is this very process, which no table of the world knows."""
    ann = await alone(world)
    stream = await trio.open_unix_socket(str(ann.paths.run / "sock"))
    connection = Connection(StreamLink(stream), failed=lambda method, error: "x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        reply = await connection.call("mesh.list", {}, seconds=30)
        assert isinstance(reply.result, dict)
        nursery.cancel_scope.cancel()


def test_operations_and_handlers_must_match() -> None:
    handlers = load_handlers()
    assert handlers.keys() == OPERATIONS.keys()
    Dispatch(OPERATIONS, handlers)
    missing = {method: handler for method, handler in handlers.items() if method != "mesh.list"}
    with pytest.raises(ValueError, match=r"mesh\.list"):
        Dispatch(OPERATIONS, missing)


def test_two_handlers_for_one_operation_stop_the_program() -> None:
    with pytest.raises(ValueError, match="two handlers"):
        handlers_in([meshes, meshes])
