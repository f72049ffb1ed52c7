"""The MCP connections that may speak first: by them a session that takes channels is reached."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import trio

from meshd.claude.channel import NOTIFICATION, channel_params, names_channel
from meshd.claude.frame import Framed, Sender
from meshd.claude.inbox import PUSH_SECONDS, NotPushed, Pushed
from meshd.claude.marks import PushId
from meshd.sessions import Session

MAX_ARGUMENTS: Final = 64 * 1024

Notify: TypeAlias = Callable[[str, Mapping[str, object]], Awaitable[None]]
"""Sends a notification (method, parameters) to the client of one connection."""


def read_arguments(pid: int) -> Sequence[str]:
    """What a process was started with; empty where that cannot be read (Linux: /proc)."""
    try:
        with Path(f"/proc/{pid}/cmdline").open("rb") as file:
            data = file.read(MAX_ARGUMENTS)
    except OSError:
        return ()
    return tuple(each.decode("utf-8", "replace") for each in data.split(b"\0"))


@dataclass(slots=True, eq=False)
class Channels:
    """By session. `opened` is told when one can be reached so from now on; `arguments` is there to be replaced in tests."""

    opened: Callable[[Session], None]
    arguments: Callable[[int], Sequence[str]] = read_arguments
    _open: dict[str, list[Notify]] = field(default_factory=dict)

    async def hold(self, session: Session, ready: trio.Event, notify: Notify) -> None:
        """Speak by this connection once its client is `ready` for it; for ever. Nothing where the session takes no channel."""
        if not names_channel(self.arguments(session.claude.pid)):
            return
        await ready.wait()
        held = self._open.setdefault(session.key, [])
        held.append(notify)
        session.channel = "open"
        self.opened(session)
        try:
            await trio.sleep_forever()
        finally:
            held.remove(notify)
            if not held:
                del self._open[session.key]
                session.channel = ""

    async def push(self, session: Session, push_id: PushId, sender: Sender, framed: Framed) -> Pushed | NotPushed:
        """Notify by the newest connection. That it was sent says nothing about its being read."""
        held = self._open.get(session.key)
        if not held:
            return NotPushed.NO_CHANNEL
        with trio.move_on_after(PUSH_SECONDS):
            await held[-1](NOTIFICATION, channel_params(push_id, sender, framed))
            return Pushed(push_id)
        return NotPushed.NO_CHANNEL  # nobody reads there: nothing was written

    def silence(self, session: Session) -> None:
        """Nothing proved that the session reads its channel: another way is used as long as this connection lasts."""
        session.channel = "silent"
