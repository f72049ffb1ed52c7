"""Who may call what, for every operation: rights are checked before anything else is looked at."""

import dataclasses

import pytest

from mesh_protocol.op import Operation, Tier
from mesh_protocol.registry import load_operations
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.rpc import RequestReceived
from meshd.local.dispatch import LOCKED_METHODS, Caller
from world.world import World

OPERATIONS = load_operations()
GUARDED = {
    "verify.show",
    "verify.confirm",
    "mesh.new",
    "resolve.choose",
    "mesh.join",
    "mesh.invite",
    "invite.close",
    "link.open",
    "link.join",
    "link.wait",
    "link.confirm",
    "link.end",
    "invite.approve",
    "invite.deny",
    "keys.unlock",
    "keys.protect",
    "keys.unprotect",
    "backup.make",
    "backup.check",
    "backup.confirm",
    "backup.restore",
    "backup.recovery",
    "device.restore",
    "trust.set",
    "trust.held",
    "trust.release",
} | {
    "proxy.on",
    "proxy.off",
    "proxy.env",
    "proxy.forget",
    "usage.body",
    "proxy.allow",
    "proxy.revoke",
    "proxy.account",
    "proxy.drop",
    "budget.set",
    "budget.remove",
    "budget.allow",
    "mesh.leave",
    "member.remove",
    "member.kick",
    "member.ban",
    "member.unban",
    "member.role",
    "member.allow",
    "member.deny",
    "grant.give",
    "grant.take",
    "grant.block",
    "grant.unblock",
    "grant.list",
    "guard.on",
    "guard.off",
    "guard.open",
    "token.create",
    "token.list",
    "token.revoke",
    "device.revoke",
}
"""What an agent must not do, of what there is."""
READ_ONLY = {"hello", "statusline", "daemon.status", "daemon.doctor", "events.subscribe", "mesh.list", "peer.list"}
"""All that a status line may call."""


def method_of(operation: Operation) -> str:
    return operation.method


def caller(tier: Tier, *, guarded_ok: bool = True) -> Caller:
    return Caller(tier, guarded_ok, None, 4711, "it runs below the agent session web")


async def refused(world: World, operation: Operation, who: Caller, *, locked: bool = False) -> MeshError:
    """The refusal of a call with parameters that no operation takes: whoever looks at them first says bad_request."""
    machine = await world.machine("ann")
    machine.app.locked = locked
    request = RequestReceived(1, operation.method, {"no such field": 1}, b"")
    with pytest.raises(MeshError) as caught:
        await machine.app.dispatch.call(machine.app, who, request, newer=False)
    return caught.value


@pytest.mark.parametrize("operation", [each for each in OPERATIONS.values() if each.tier > Tier.STATUS], ids=method_of)
async def test_a_lesser_caller_is_refused(world: World, operation: Operation) -> None:
    error = await refused(world, operation, caller(Tier(operation.tier - 1)))
    assert error.code == "not_allowed"
    assert operation.method in error.message
    assert "below the agent session web" in error.message


@pytest.mark.parametrize("operation", [each for each in OPERATIONS.values() if each.guarded], ids=method_of)
async def test_an_agent_is_refused_what_is_guarded_and_told_what_its_person_runs(
    world: World, operation: Operation
) -> None:
    error = await refused(world, operation, caller(Tier.USER, guarded_ok=False))
    assert error.code == "guarded"
    assert operation.command is None or f"mesh {operation.command.verb}" in error.message


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=method_of)
async def test_with_locked_keys_only_what_needs_none_is_answered(world: World, operation: Operation) -> None:
    error = await refused(world, operation, caller(Tier.USER), locked=True)
    assert (error.code == "keys_locked") is (operation.method not in LOCKED_METHODS)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=method_of)
async def test_whoever_may_call_is_then_told_of_an_unknown_field(world: World, operation: Operation) -> None:
    error = await refused(world, operation, caller(operation.tier))
    assert error.code == "unknown_field"


def test_what_an_agent_must_not_do_is_guarded() -> None:
    assert {method for method, each in OPERATIONS.items() if each.guarded} == GUARDED
    assert all(OPERATIONS[method].tier is Tier.USER for method in GUARDED)


def test_a_status_line_only_reads() -> None:
    assert {method for method, each in OPERATIONS.items() if each.tier is Tier.STATUS} == READ_ONLY


def test_a_caller_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        caller(Tier.AGENT).tier = Tier.USER  # type: ignore[misc]
