"""The pages for machines: is the process alive, does it take writes, what has it counted."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import trio

from mesh_broker.http import Page
from mesh_broker.metrics import Metrics
from mesh_broker.store.interface import Store
from mesh_protocol.io.sqlite import StorageFailed
from mesh_protocol.wire.errors import MeshError

READY_SECONDS: Final = 2.0
READY_KEPT_SECONDS: Final = 1.0
"""An answer is good for this long, so that asking often costs no fsyncs."""


class StatusPages:
    """`full` says whether new writes are refused for want of space."""

    def __init__(self, store: Store, metrics: Metrics, full: Callable[[], bool]) -> None:
        self._store = store
        self._metrics = metrics
        self._full = full
        self._ready: tuple[float, Page] | None = None
        self._asking = trio.Lock()

    async def page(self, path: str) -> Page:
        """The page at `path`."""
        match path:
            case "/health":
                return Page(HTTPStatus.OK, '{"status":"ok"}\n', "application/json")
            case "/ready":
                return await self._readiness()
            case "/metrics":
                return Page(HTTPStatus.OK, self._metrics.text(), "text/plain; version=0.0.4; charset=utf-8")
            case _:
                return Page(HTTPStatus.NOT_FOUND, "there is no such page\n")

    async def _readiness(self) -> Page:
        async with self._asking:
            now = trio.current_time()
            if self._ready is None or now - self._ready[0] > READY_KEPT_SECONDS:
                self._ready = (now, await self._probe())
            return self._ready[1]

    async def _probe(self) -> Page:
        why = "storage-full" if self._full() else ""
        try:
            with trio.fail_after(READY_SECONDS):
                await self._store.probe().wait()
        except trio.TooSlowError:
            why = "storage-slow"
        except (MeshError, StorageFailed):
            why = "storage-failed"
        if why:
            return Page(HTTPStatus.SERVICE_UNAVAILABLE, f'{{"status":"{why}"}}\n', "application/json")
        return Page(HTTPStatus.OK, '{"status":"ready"}\n', "application/json")
