"""What `mesh doctor` says of the proxy."""

import socket
from collections.abc import AsyncIterator

import pytest
from trio.testing import MockClock

from mesh_protocol.io.sqlite import InlineWorker
from world.machine import Machine
from world.seeds import seeded_scheduler
from world.world import World, open_world


@pytest.fixture
async def world(autojump_clock: MockClock) -> AsyncIterator[World]:
    with seeded_scheduler(20_262):
        async with open_world(20_262) as world:
            yield world


async def machine(world: World) -> Machine:
    """A machine whose proxy has a disk of its own."""
    ann = await world.machine("ann")
    await ann.stop()
    ann.worker = lambda name: ann.disk if name == "mesh.db" else InlineWorker()
    return await ann.start()


async def checks(ann: Machine, name: str) -> list[tuple[str, str]]:
    found = (await ann.call("daemon.doctor"))["checks"]
    return [(each["ok"], each["text"]) for each in found if each["name"] == name]


async def test_a_proxy_that_is_not_used_is_not_spoken_of(world: World) -> None:
    ann = await machine(world)
    assert await checks(ann, "proxy") == []
    await ann.call("proxy.on")
    ((ok, text),) = await checks(ann, "proxy")
    assert ok == "ok"
    assert "all recorded" in text
    await ann.call("proxy.off")
    assert await checks(ann, "proxy") == []


async def test_requests_that_passed_unrecorded_are_said(world: World) -> None:
    ann = await machine(world)
    await ann.call("proxy.on")
    counts = ann.app.proxy.service().recorder.counts
    counts.requests, counts.lost, counts.trouble = 7, 2, "the disk is full"
    assert await checks(ann, "proxy") == [("warn", "2 of 7 requests passed unrecorded: the disk is full")]
    (fix,) = [each["fix"] for each in (await ann.call("daemon.doctor"))["checks"] if each["name"] == "proxy"]
    assert "mesh usage import" in fix
    counts.trouble = "requests came faster than they could be recorded"
    (fix,) = [each["fix"] for each in (await ann.call("daemon.doctor"))["checks"] if each["name"] == "proxy"]
    assert "space" not in fix, "the disk has nothing to do with it"
    assert "2 requests were not recorded" in (await ann.call("usage.show"))["trouble"]


async def test_a_port_that_was_taken_meanwhile_is_said_and_tried_again(world: World) -> None:
    ann = await machine(world)
    port = (await ann.call("proxy.on"))["port"]
    await ann.stop()
    with socket.create_server(("127.0.0.1", port)):
        await ann.start()
        await world.until(lambda: ann.app.proxy.service().trouble, what="the trouble")
        ((ok, text),) = await checks(ann, "proxy")
        assert ok == "bad"
        assert str(port) in text
        assert (await ann.call("proxy.status"))["state"] == "failed"
    await world.until(lambda: not ann.app.proxy.service().trouble, what="another try")
    assert (await checks(ann, "proxy"))[0][0] == "ok"


async def test_a_table_of_prices_that_is_not_right_is_said(world: World) -> None:
    ann = await machine(world)
    await ann.call("proxy.on")
    path = ann.paths.data / "prices.toml"
    path.write_text("no prices")
    path.chmod(0o600)
    ann.app.proxy.service().prices.current()
    ((ok, text),) = await checks(ann, "prices")
    assert ok == "warn"
    assert "prices.toml" in text
