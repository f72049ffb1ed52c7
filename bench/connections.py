"""A thousand devices connected to a broker, each in a mesh of its own, that have said hello and then wait."""

import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

import trio

from mesh_protocol.chain import Epoch, Genesis, Record, epoch_kc, make_record, mesh_id_of
from mesh_protocol.ids import MemberId
from mesh_protocol.keys import SigningKey
from mesh_protocol.names import member_subject, seal_name
from meshd.link.driver import connect_url, open_greeting
from meshd.link.greeting import CALL_S, Greeting, say_hello

AT_ONCE: Final = 8
SETTLE_S: Final = 2.0


async def hold_devices(url: str, count: int, then: Callable[[], float]) -> tuple[float, float]:
    """What `then` gives before and while `count` devices are connected to the broker at `url`."""
    before = then()
    async with trio.open_nursery() as nursery:
        places = trio.Semaphore(AT_ONCE)
        entered = trio.Event()
        waiting = count

        def arrived() -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                entered.set()

        for _ in range(count):
            nursery.start_soon(_hold_one, url, places, arrived)
        with trio.fail_after(120):
            await entered.wait()
        await trio.sleep(SETTLE_S)
        after = then()
        nursery.cancel_scope.cancel()
    return before, after


async def _hold_one(url: str, places: trio.Semaphore, arrived: Callable[[], None]) -> None:
    async with AsyncExitStack() as stack:
        async with places:
            greeting = await stack.enter_async_context(open_greeting(connect_url, url, fail, lambda _: None))
            await _enter(url, greeting)
        arrived()
        await trio.sleep_forever()


async def _enter(url: str, greeting: Greeting) -> None:
    """Make a mesh there, and do what a daemon does before it waits."""
    key = SigningKey.from_seed(os.urandom(32))
    records = first_records(key, url, greeting.challenge.broker_key)
    mesh = mesh_id_of(records[0])
    await say_hello(greeting, mesh, key, generation=1, nonce=os.urandom(32), create=records)
    await greeting.connection.call("mail.resume", {"mesh": mesh, "acked": 0, "sacks": []}, seconds=CALL_S)
    await greeting.connection.call("live.subscribe", {"mesh": mesh, "channels": [mesh[:16]]}, seconds=CALL_S)


def first_records(key: SigningKey, url: str, broker_key: bytes) -> list[Record]:
    """Genesis and first epoch of a mesh with one device."""
    name_key, salt, member = os.urandom(32), os.urandom(16), MemberId(os.urandom(16))
    body = Genesis(
        salt=salt,
        member_id=member,
        device=key.public,
        recovery_pub=SigningKey.from_seed(os.urandom(32)).public,
        broker_key=broker_key,
        broker_urls=(url,),
        sealed_mesh_name=seal_name(name_key, salt, "team", os.urandom(24)),
        sealed_member_name=seal_name(name_key, member_subject(member, salt), "ann", os.urandom(24)),
    )
    genesis = make_record(None, "genesis", body.encode(), key, None)
    mesh = mesh_id_of(genesis)
    epoch = Epoch(1, epoch_kc(mesh, 1, os.urandom(32)))
    return [genesis, make_record(genesis, "epoch", epoch.encode(), key, mesh)]


def fail(method: str, error: BaseException) -> str:
    """What a connection calls on a bug."""
    raise RuntimeError(f"{method} failed") from error


async def hold_streams(port: int, count: int, then: Callable[[], float]) -> tuple[float, float]:
    """The same for bare TCP connections to `port`."""
    before = then()
    async with AsyncExitStack() as stack:
        for _ in range(count):
            stack.push_async_callback((await trio.open_tcp_stream("127.0.0.1", port)).aclose)
        await trio.sleep(SETTLE_S)
        return before, then()
