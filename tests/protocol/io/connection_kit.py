"""Servers and readers for the connection's tests."""

import trio

from mesh_protocol.io.connection import Reply


async def echo(request):
    return Reply(request.params, request.body)


class Gate:
    """A server whose calls wait at a gate; `entered` and `left` say who came and how it went."""

    def __init__(self):
        self.gate = trio.Event()
        self.entered = []
        self.cancelled = []
        self._changed = trio.Event()

    async def __call__(self, request):
        self.entered.append(request.params.get("n"))
        self._notice()
        try:
            await self.gate.wait()
        except trio.Cancelled:
            self.cancelled.append(request.params.get("n"))
            self._notice()
            raise
        return Reply(request.params)

    def _notice(self):
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, condition):
        while not condition(self):
            await self._changed.wait()


async def settle(condition):
    """Let the other tasks run until `condition` holds; the join's own bound ends a wait in vain."""
    while not condition():
        await trio.sleep(0.001)


async def receive(link, peer):
    """The next events of a link that no connection reads."""
    while True:
        data = await link.receive()
        events = [peer.receive_message(data)] if link.whole else peer.receive(data)
        if events:
            return events
