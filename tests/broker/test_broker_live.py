"""The live lane: to who listens now, never to oneself, never waiting, never kept."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from broker_kit.people import Device, Mesh, envelope, seeded
from broker_kit.side import Side
from broker_kit.stand import Stand, open_memory_stand
from mesh_broker.limits import Limits
from mesh_broker.link import NearLink
from mesh_broker.metrics import Metrics
from mesh_broker.outbound import LIVE_FRAMES, MUST_FRAMES, Outbound
from mesh_protocol.broker_api import AcceptAnswer, Done, LivePublish, LiveSubscribe, MailSend, Stats, StatsAnswer
from mesh_protocol.ids import MeshId
from mesh_protocol.invite import invite_key
from mesh_protocol.io.memory import link_pair

CHANNEL = bytes(range(16))
OTHER = bytes(16)


async def pair(stand: Stand) -> tuple[Mesh, Side, Device, Side]:
    mesh, ann = await stand.create()
    bob = Device("bob")
    await ann.append(mesh, mesh.add_member(bob))
    return mesh, ann, bob, await stand.enter(mesh, bob)


def subscribe(mesh: Mesh, *channels: bytes) -> LiveSubscribe:
    return LiveSubscribe(mesh=mesh.id, channels=list(channels))


def publish(mesh: Mesh, channel: bytes = CHANNEL) -> LivePublish:
    return LivePublish(mesh=mesh.id, channel=channel)


async def test_a_frame_reaches_the_other_listeners_of_its_channel_and_nobody_else(stand: Stand) -> None:
    mesh, ann, _, bob = await pair(stand)
    cid = Device("cid")
    await ann.append(mesh, mesh.add_member(cid))
    cid_side = await stand.enter(mesh, cid)
    for side, channel in ((ann, CHANNEL), (bob, CHANNEL), (cid_side, OTHER)):
        await side.call(subscribe(mesh, channel), Done)
    await ann.call(publish(mesh), Done, b"sealed")
    heard = await bob.heard("live")
    assert (heard.params, heard.body) == ({"mesh": mesh.id, "channel": CHANNEL}, b"sealed")
    for side in (ann, cid_side):
        await side.call(Stats(mesh=mesh.id), StatsAnswer)
        assert not side.waiting("live")


async def test_publishing_as_a_notification_does_the_same(memory_stand: Stand) -> None:
    mesh, ann, _, bob = await pair(memory_stand)
    await bob.call(subscribe(mesh, CHANNEL), Done)
    await ann.connection.notify("live.publish", {"mesh": mesh.id, "channel": CHANNEL}, b"sealed")
    assert (await bob.heard("live")).body == b"sealed"


async def test_subscribing_again_replaces_the_channels(memory_stand: Stand) -> None:
    mesh, ann, _, bob = await pair(memory_stand)
    await bob.call(subscribe(mesh, CHANNEL), Done)
    await bob.call(subscribe(mesh, OTHER), Done)
    await ann.call(publish(mesh), Done, b"lost")
    await ann.call(publish(mesh, OTHER), Done, b"found")
    assert (await bob.heard("live")).body == b"found"
    await bob.call(subscribe(mesh), Done)
    await ann.call(publish(mesh, OTHER), Done, b"lost")
    await bob.call(Stats(mesh=mesh.id), StatsAnswer)
    assert not bob.waiting("live")


async def test_the_same_channel_of_another_mesh_is_another_channel(memory_stand: Stand) -> None:
    mesh, _, _, bob = await pair(memory_stand)
    other, zoe = await memory_stand.create("zoe", "other")
    await bob.call(subscribe(mesh, CHANNEL), Done)
    await zoe.call(publish(other), Done, b"elsewhere")
    await bob.call(Stats(mesh=mesh.id), StatsAnswer)
    assert not bob.waiting("live")


async def test_a_large_frame_is_refused(memory_stand: Stand) -> None:
    mesh, ann, _, _ = await pair(memory_stand)
    await ann.call(publish(mesh), Done, bytes(4096))
    assert await ann.refusal(publish(mesh), bytes(4097)) == "too_large"


async def test_a_device_that_publishes_too_fast_is_refused(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(live_rate=0.001, live_burst=3)) as stand:
        mesh, ann, _, bob = await pair(stand)
        await bob.call(subscribe(mesh, CHANNEL), Done)
        for n in range(3):
            await ann.call(publish(mesh), Done, b"%d" % n)
        assert await ann.refusal(publish(mesh), b"too much") == "rate_limited"
        await ann.connection.notify("live.publish", {"mesh": mesh.id, "channel": CHANNEL}, b"too much")
        await ann.call(Stats(mesh=mesh.id), StatsAnswer)
        assert [(await bob.heard("live")).body for _ in range(3)] == [b"0", b"1", b"2"]
        assert not bob.waiting("live")


async def test_an_invites_key_neither_listens_nor_publishes(memory_stand: Stand) -> None:
    mesh, ann, _, _ = await pair(memory_stand)
    await ann.invite(mesh, seeded("secret"))
    side = await memory_stand.connect()
    await side.hello(mesh.id, invite_key(seeded("secret")), invite=True)
    assert await side.refusal(subscribe(mesh, CHANNEL)) == "not_allowed"
    assert await side.refusal(publish(mesh)) == "not_allowed"


async def test_a_channel_nobody_listens_to_any_more_is_forgotten(memory_stand: Stand) -> None:
    mesh, ann, _, bob = await pair(memory_stand)
    await bob.call(subscribe(mesh, CHANNEL), Done)
    await bob.connection.aclose()
    await ann.call(Stats(mesh=mesh.id), StatsAnswer)
    room = await memory_stand.broker.rooms.find(mesh.id)
    assert room is not None
    assert room.channels == {}


@pytest.mark.parametrize("extra", [1, 200])
async def test_a_slow_listener_misses_the_oldest_frames_and_none_of_its_mail(tmp_path: Path, extra: int) -> None:
    limits = Limits(live_rate=5000, live_burst=5000, member_burst=5000)
    async with open_memory_stand(tmp_path, limits) as stand:
        mesh, ann, bob, slow = await pair(stand)
        await slow.call(subscribe(mesh, CHANNEL), Done)
        await slow.resume(mesh)
        slow.stop_reading()
        sent = [b"%d" % n for n in range(2 * LIVE_FRAMES + 10 + extra)]
        for body in sent:
            await ann.connection.notify("live.publish", {"mesh": mesh.id, "channel": CHANNEL}, body)
        mail = envelope(mesh, mesh.owner, bob, 1)
        await ann.call(MailSend(mesh=mesh.id, again=True), AcceptAnswer, mail)
        slow.read_on()
        for n in range(len(sent), len(sent) + 20):
            sent.append(b"%d" % n)
            await ann.call(publish(mesh), Done, sent[-1])
        assert await slow.mail(1) == [(1, mail)]
        assert stand.broker.metrics.value("live_shed_total") > 0
        last = b""
        heard: list[bytes] = []
        while last != sent[-1]:
            last = (await slow.heard("live")).body
            heard.append(last)
        assert len(heard) < len(sent)
        assert heard == sorted(heard, key=int)


class ScriptedLink(NearLink):
    """A link that has room when the test says so."""

    def __init__(self) -> None:
        near, _ = link_pair()
        super().__init__(near)
        self.room = False
        self.sent: list[bytes] = []

    def send_now(self, frame: bytes) -> bool:
        if self.room:
            self.sent.append(frame)
        return self.room

    async def send(self, frame: bytes) -> None:
        self.sent.append(frame)


async def test_no_frame_overtakes_those_that_wait_and_tips_and_requests_go_before_live_frames() -> None:
    link, tasks = ScriptedLink(), list[Callable[[], Awaitable[None]]]()
    outbound = Outbound(link, tasks.append, pytest.fail, Metrics())
    outbound.live(b"live 1")
    link.room = True
    outbound.live(b"live 2")
    outbound.must(b"request")
    outbound.tip(MeshId(b"m"), b"tip 1")
    outbound.tip(MeshId(b"m"), b"tip 2")
    assert link.sent == []
    assert len(tasks) == 1
    await tasks[0]()
    assert link.sent == [b"tip 2", b"request", b"live 1", b"live 2"]
    outbound.live(b"live 3")
    assert link.sent[-1] == b"live 3"


async def test_a_connection_that_misses_requests_is_given_up() -> None:
    link, given_up = ScriptedLink(), list[bool]()
    outbound = Outbound(link, lambda work: None, lambda: given_up.append(True), Metrics())
    for n in range(MUST_FRAMES + 1):
        assert not given_up
        outbound.must(b"%d" % n)
    assert given_up
