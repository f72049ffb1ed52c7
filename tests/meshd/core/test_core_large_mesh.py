"""A mesh of a thousand: no list of it is too long for an answer, and what is left out is said."""

from dataclasses import replace

import pytest

from mesh_protocol.chain_state import ChainState, Device, Invite, Member
from mesh_protocol.ids import DeviceId, InviteId, MemberId
from mesh_protocol.rights import PERMISSIONS
from world.machine import Machine
from world.world import World

MANY = 1_000


def crowd(state: ChainState) -> ChainState:
    """`state` with a thousand members of one device each, as many that were removed, and as many open invites."""
    first = next(iter(state.devices.values()))
    members, former, devices, invites = dict(state.members), dict(state.former), dict(state.devices), {}
    for number in range(MANY):
        for kind, people in (("in", members), ("out", former)):
            device = DeviceId(f"{kind} device {number}".encode().ljust(32, b"."))
            member = MemberId(f"{kind} member {number}".encode().ljust(32, b"."))
            gone = 2 + number if kind == "out" else 0
            people[member] = Member(
                member, "member", b"", (device,), 1, gone, policy=None if gone else frozenset(PERMISSIONS)
            )
            devices[device] = Device(device, member, not gone, 1, first.device, ended_seq=gone)
        invite = InviteId(f"invite {number}".encode().ljust(32, b"."))
        invites[invite] = Invite(invite, first.device, bytes(32), "member", 1, 0, 2**52, approve=False, open=True)
    return replace(state, members=members, former=former, devices=devices, invites=invites)


@pytest.fixture
async def ann(world: World) -> Machine:
    ann = await world.machine("ann")
    await ann.call("mesh.new", name="team", me="ann")
    mesh = ann.mesh()
    mesh.chain = crowd(mesh.state)
    return ann


@pytest.mark.parametrize(
    ("method", "rows", "more"),
    [
        ("member.list", "members", {}),
        ("member.rights", "members", {}),
        ("member.removals", "removals", {"limit": 100}),
        ("device.list", "devices", {}),
        ("invite.list", "invites", {}),
        ("grant.list", "peers", {}),
        ("peer.list", "peers", {}),
    ],
)
async def test_a_list_of_a_thousand_is_answered_as_far_as_it_fits(
    ann: Machine, method: str, rows: str, more: dict[str, int]
) -> None:
    answer = await ann.call(method, **more)
    assert len(answer[rows]) > 10
    assert answer["more"] is True
