"""The broker's chores: signs of life, stalled messages, expired mail, free disk. One task for all connections."""

from collections.abc import Callable, Collection
from typing import Final

import trio

from mesh_broker.client import CLOSE_POLICY, Client
from mesh_broker.floor import Floor
from mesh_broker.limits import DAY_MS, Limits
from mesh_broker.log import Log
from mesh_broker.metrics import Metrics
from mesh_broker.store.interface import Store
from mesh_protocol.wire.errors import MeshError

LOOK_SECONDS: Final = 5.0
EXPIRE_SECONDS: Final = 60.0
EXPIRE_ROWS: Final = 500
"""Rows deleted in one transaction: others' writes wait no longer than that takes."""


class Sweeper:
    """`clients` are the live connections; `clock` gives epoch milliseconds that do not jump."""

    def __init__(
        self,
        clients: Collection[Client],
        store: Store,
        limits: Limits,
        metrics: Metrics,
        log: Log,
        clock: Callable[[], int],
        floor: Floor,
    ) -> None:
        self._clients = clients
        self._store = store
        self._limits = limits
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._floor = floor

    async def run(self) -> None:
        """Runs until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look)
            nursery.start_soon(self._expire)

    async def _look(self) -> None:
        while True:
            await trio.sleep(LOOK_SECONDS)
            was = self._floor.reached
            self._floor.look()
            if self._floor.reached != was:
                self._log.warn("disk-floor", reached=self._floor.reached)
            now = trio.current_time()
            for client in tuple(self._clients):
                self._judge(client, now)

    def _judge(self, client: Client, now: float) -> None:
        limits, link = self._limits, client.link
        silent = now - link.last_heard
        if silent > limits.dead_seconds:
            client.close_soon(CLOSE_POLICY, "no sign of life")
        elif link.partial_since is not None and now - link.partial_since > limits.stall_seconds:
            if link.partial_bytes < limits.stall_rate * (now - link.partial_since):
                client.close_soon(CLOSE_POLICY, "a message does not get finished")
        elif silent > limits.ping_seconds - LOOK_SECONDS:
            link.ping()

    async def _expire(self) -> None:
        while True:
            await trio.sleep(EXPIRE_SECONDS)
            await self.expire()

    async def expire(self) -> None:
        """Drop what is too old, a few rows at a time."""
        while True:
            now = self._clock()
            old = now - self._limits.dedupe_days * DAY_MS
            try:
                expired = await self._store.expire(now, old, EXPIRE_ROWS).wait()
            except MeshError:  # no room even to delete: the next round tries again
                return
            self._metrics.count("mail_expired_total", expired)
            if expired < EXPIRE_ROWS:
                return
