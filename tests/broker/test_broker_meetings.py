"""Meetings of two devices: who may open one, who gets in, what passes, and what is left of it: nothing."""

from pathlib import Path

import pytest
import trio

from broker_kit.people import Device, Mesh, seeded
from broker_kit.side import Side
from broker_kit.stand import Stand, open_memory_stand
from mesh_broker.limits import Limits
from mesh_broker.meetings import FRAMES, MAX_FRAME
from mesh_protocol.broker_api import Done, JoinAsk, MailResume, Stats
from mesh_protocol.broker_chain import ChainAnswer, ChainRead
from mesh_protocol.broker_meeting import MeetOpen, MeetSay
from mesh_protocol.keys import SigningKey

KEY = SigningKey.from_seed(seeded("a meeting"))


async def opened(stand: Stand, key: SigningKey = KEY) -> tuple[Mesh, Side]:
    mesh, ann = await stand.create()
    await ann.call(MeetOpen(mesh=mesh.id, key=key.public), Done)
    return mesh, ann


async def entered(stand: Stand, mesh: Mesh, key: SigningKey = KEY) -> Side:
    side = await stand.connect()
    await side.hello(mesh.id, key, generation=0, meet=True)
    return side


async def refused(stand: Stand, mesh: Mesh, key: SigningKey = KEY) -> str:
    side = await stand.connect()
    request, _ = side.hello_request(mesh.id, key, generation=0, meet=True)
    return await side.refusal(request)


async def ended(side: Side) -> object:
    return (await side.heard("meet_ended")).params["why"]


async def test_what_one_side_says_the_other_hears(stand: Stand) -> None:
    mesh, _ = await opened(stand)
    host, guest = await entered(stand, mesh), await entered(stand, mesh)
    await guest.call(MeetSay(mesh=mesh.id), Done, b"hello")
    await host.call(MeetSay(mesh=mesh.id), Done, bytes(MAX_FRAME))
    said = await host.heard("meet")
    assert (said.params, said.body) == ({"mesh": mesh.id}, b"hello")
    assert (await guest.heard("meet")).body == bytes(MAX_FRAME)
    assert await guest.refusal(MeetSay(mesh=mesh.id), bytes(MAX_FRAME + 1)) == "too_large"


async def test_a_third_ends_the_meeting_for_all(memory_stand: Stand) -> None:
    mesh, _ = await opened(memory_stand)
    host, guest = await entered(memory_stand, mesh), await entered(memory_stand, mesh)
    assert await refused(memory_stand, mesh) == "link_used"
    assert [await ended(side) for side in (host, guest)] == ["second", "second"]
    assert await guest.refusal(MeetSay(mesh=mesh.id), b"x") == "not_allowed"
    assert await refused(memory_stand, mesh) == "link_unknown"


@pytest.mark.parametrize("who", [0, 1])
async def test_either_sides_leaving_ends_it(memory_stand: Stand, who: int) -> None:
    mesh, _ = await opened(memory_stand)
    sides = [await entered(memory_stand, mesh), await entered(memory_stand, mesh)]
    await sides[who].connection.aclose()
    assert await ended(sides[1 - who]) == "left"
    assert await refused(memory_stand, mesh) == "link_unknown"


async def test_its_key_does_nothing_but_speak_in_it(memory_stand: Stand) -> None:
    mesh, _ = await opened(memory_stand)
    side = await entered(memory_stand, mesh)
    for request in (
        ChainRead(mesh=mesh.id, after=0),
        Stats(mesh=mesh.id),
        MailResume(mesh=mesh.id, acked=0),
        JoinAsk(mesh=mesh.id, invite=bytes(32)),
        MeetOpen(mesh=mesh.id, key=seeded("another")),
    ):
        assert await side.refusal(request) == "not_allowed"


async def test_it_is_told_nothing_of_the_mesh(memory_stand: Stand) -> None:
    mesh, ann = await opened(memory_stand)
    side = await entered(memory_stand, mesh)
    await ann.append(mesh, mesh.add_member(Device("bob")))
    await ann.call(ChainRead(mesh=mesh.id, after=0), ChainAnswer)
    assert side.waiting("tip") == 0


async def test_only_an_active_device_opens_one_and_with_it_goes_what_it_opened(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    bob = Device("bob")
    await ann.append(mesh, mesh.add_member(bob))
    member = await memory_stand.enter(mesh, bob)
    await member.call(MeetOpen(mesh=mesh.id, key=KEY.public), Done)
    host, guest = await entered(memory_stand, mesh), await entered(memory_stand, mesh)
    assert await guest.refusal(MeetOpen(mesh=mesh.id, key=seeded("x"))) == "not_allowed"
    await ann.append(mesh, *mesh.remove(bob))
    assert await guest.refusal(MeetSay(mesh=mesh.id), b"x") == "not_allowed"
    assert await host.refusal(MeetSay(mesh=mesh.id), b"x") == "not_allowed"


async def test_a_device_says_nothing_in_a_meeting_that_it_did_not_enter(memory_stand: Stand) -> None:
    mesh, ann = await opened(memory_stand)
    assert await ann.refusal(MeetSay(mesh=mesh.id), b"x") == "not_allowed"
    alone = await entered(memory_stand, mesh)
    assert await alone.refusal(MeetSay(mesh=mesh.id), b"x") == "not_allowed"


async def test_a_second_one_of_a_device_takes_the_place_of_the_first(memory_stand: Stand) -> None:
    mesh, ann = await opened(memory_stand)
    host = await entered(memory_stand, mesh)
    other = SigningKey.from_seed(seeded("the second"))
    await ann.call(MeetOpen(mesh=mesh.id, key=other.public), Done)
    assert await ended(host) == "over"
    assert await refused(memory_stand, mesh) == "link_unknown"
    await entered(memory_stand, mesh, other)


async def test_a_key_in_use_opens_none(memory_stand: Stand) -> None:
    mesh, ann = await opened(memory_stand)
    bob = Device("bob")
    await ann.append(mesh, mesh.add_member(bob))
    member = await memory_stand.enter(mesh, bob)
    for key in (KEY.public, bob.id):
        assert await member.refusal(MeetOpen(mesh=mesh.id, key=key)) == "not_allowed"


async def test_a_side_says_only_so_much(memory_stand: Stand) -> None:
    mesh, _ = await opened(memory_stand)
    host, guest = await entered(memory_stand, mesh), await entered(memory_stand, mesh)
    for _ in range(FRAMES):
        await guest.call(MeetSay(mesh=mesh.id), Done, b"again")
    assert await guest.refusal(MeetSay(mesh=mesh.id), b"again") == "not_allowed"
    assert await ended(host) == "over"


async def test_it_ends_after_its_time(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_memory_stand(tmp_path, Limits(meet_seconds=60.0)) as stand:
        mesh, _ = await opened(stand)
        host, guest = await entered(stand, mesh), await entered(stand, mesh)
        await trio.sleep(50)
        await guest.call(MeetSay(mesh=mesh.id), Done, b"in time")
        await trio.sleep(11)
        assert await guest.refusal(MeetSay(mesh=mesh.id), b"late") == "not_allowed"
        assert await ended(host) == "over"


async def test_meetings_are_bounded_altogether_by_device_and_by_address(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(meetings=1, meet_burst=1, meet_rate=0.0)) as stand:
        mesh, ann = await opened(stand)
        elsewhere, zoe = await stand.create("zoe", "other")
        assert await zoe.refusal(MeetOpen(mesh=elsewhere.id, key=seeded("zoe's"))) == "rate_limited"
        for code in ("", "rate_limited"):
            side = await stand.connect(loopback=False, address="192.0.2.1")
            request, _ = side.hello_request(mesh.id, KEY, generation=0, meet=True)
            if code:
                assert await side.refusal(request) == code
            else:
                await side.hello(mesh.id, KEY, generation=0, meet=True)
        codes = {await _open(ann, mesh, n) for n in range(20)}
        assert codes == {"", "rate_limited"}


async def _open(side: Side, mesh: Mesh, n: int) -> str:
    try:
        await side.call(MeetOpen(mesh=mesh.id, key=seeded("n", n)), Done)
    except Exception as error:
        return str(getattr(error, "code", error))
    return ""


async def test_a_broker_that_was_restarted_knows_of_no_meeting(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path) as stand:
        mesh, _ = await opened(stand)
    async with open_memory_stand(tmp_path) as stand:
        assert await refused(stand, mesh) == "link_unknown"
