"""The connections that may speak first: which one is taken, and what a client that does not read costs."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from meshd.claude.formats import ClaudeSession
from meshd.claude.frame import Framed, Sender
from meshd.claude.inbox import NotPushed, Pushed
from meshd.claude.marks import PushId
from meshd.deliver.channels import Channels
from meshd.sessions import Session
from meshd.status import Source, Status

PUSH = PushId("11111111-1111-4111-9111-111111111111")
FRAMED = Framed("hello", whole=True)


def session() -> Session:
    claude = ClaudeSession(7, "1" * 8, "5", None, "/w", None, None, "idle", None, "2.1.329", None, 1)
    return Session("k", "web", claude, Path("/c"), Status("idle", Source.HOOK, 0, 0), 0)


class Client:
    """One connection's client."""

    def __init__(self, *, reads: bool = True) -> None:
        self.reads = reads
        self.heard: list[Mapping[str, object]] = []

    async def notify(self, method: str, params: Mapping[str, object]) -> None:
        if not self.reads:
            await trio.sleep_forever()
        self.heard.append(params)


def flagged(opened: list[str]) -> Channels:
    return Channels(lambda each: opened.append(each.name), lambda pid: ("claude", "--channels", "server:mesh"))


async def test_the_newest_connection_that_is_ready_is_spoken_to(nursery: trio.Nursery) -> None:
    opened: list[str] = []
    channels, web, one, two = flagged(opened), session(), Client(), Client()
    lives = [trio.CancelScope(), trio.CancelScope()]

    async def hold(client: Client, life: trio.CancelScope, ready: trio.Event) -> None:
        with life:
            await channels.hold(web, ready, client.notify)

    events = [trio.Event(), trio.Event()]
    for client, life, ready in zip((one, two), lives, events, strict=True):
        nursery.start_soon(hold, client, life, ready)
    await wait_all_tasks_blocked()
    assert (web.channel, opened) == ("", [])
    events[0].set()
    await wait_all_tasks_blocked()
    assert (web.channel, opened) == ("open", ["web"])
    events[1].set()
    await wait_all_tasks_blocked()
    push = partial(channels.push, web, PUSH, Sender("ann"), FRAMED)
    assert await push() == Pushed(PUSH)
    lives[1].cancel()
    await wait_all_tasks_blocked()
    assert await push() == Pushed(PUSH)
    assert (len(one.heard), len(two.heard)) == (1, 1)
    lives[0].cancel()
    await wait_all_tasks_blocked()
    assert web.channel == ""
    assert await push() is NotPushed.NO_CHANNEL


async def test_a_client_that_does_not_read_is_given_up(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    channels, web, deaf = flagged([]), session(), Client(reads=False)
    ready = trio.Event()
    ready.set()
    nursery.start_soon(channels.hold, web, ready, deaf.notify)
    await wait_all_tasks_blocked()
    assert await channels.push(web, PUSH, Sender("ann"), FRAMED) is NotPushed.NO_CHANNEL


async def test_a_session_without_the_flag_is_never_opened(nursery: trio.Nursery) -> None:
    channels, web = Channels(lambda _: None, lambda pid: ("claude",)), session()
    ready = trio.Event()
    ready.set()
    await channels.hold(web, ready, Client().notify)
    assert web.channel == ""
