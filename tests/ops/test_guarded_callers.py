"""Every guarded verb, called by processes of an agent's session: judged by where each process comes from."""

from collections.abc import Callable

import pytest

from mesh_protocol.registry import load_operations
from world.claude import Claude
from world.machine import Machine
from world.world import World

GUARDED = sorted(method for method, each in load_operations().items() if each.guarded)


def a_tool_of_the_session(machine: Machine, web: Claude) -> int:
    return machine.processes.spawn("python3", machine.processes.spawn("bash", web.pid))


def a_login_shell_below_the_session(machine: Machine, web: Claude) -> int:
    return machine.processes.spawn("mesh", machine.processes.spawn("bash", web.pid, argv0="-bash"))


def one_that_was_cut_off_from_it(machine: Machine, web: Claude) -> int:
    parent = machine.processes.spawn("setsid", web.pid)
    child = machine.processes.spawn("mesh", parent)
    machine.processes.end(parent)
    return child


def one_that_carries_its_variables(machine: Machine, web: Claude) -> int:
    shell = machine.processes.shell
    return machine.processes.spawn("mesh", shell, env={"CLAUDE_CODE_SESSION_ID": web.session_id})


@pytest.mark.parametrize(
    "origin",
    [
        a_tool_of_the_session,
        a_login_shell_below_the_session,
        one_that_was_cut_off_from_it,
        one_that_carries_its_variables,
    ],
)
async def test_no_process_of_an_agents_session_may_use_a_guarded_verb(
    world: World, origin: Callable[[Machine, Claude], int]
) -> None:
    ann = await world.machine("ann")
    web = await ann.claude("web")
    talk = await ann.talk(origin(ann, web))
    refused = {method: (await talk.refusal(method)).code for method in GUARDED}
    assert refused == dict.fromkeys(GUARDED, "guarded")


async def test_the_person_at_a_terminal_is_refused_none_of_them_as_guarded(world: World) -> None:
    ann = await world.machine("ann")
    await ann.claude("web")
    for method in GUARDED:
        assert await ann.refusal(method, no_such_field=1) == "unknown_field", method


async def test_without_a_session_a_process_whose_parent_is_gone_is_a_script_of_the_person(world: World) -> None:
    ann = await world.machine("ann")
    talk = await ann.talk(ann.processes.orphan("mesh"))
    for method in GUARDED:
        assert (await talk.refusal(method, no_such_field=1)).code == "unknown_field", method
