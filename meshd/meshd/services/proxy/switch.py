"""The proxy's switch, which is all of it that a daemon without a proxy loads."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from meshd.node import Node
from meshd.paths import Paths

if TYPE_CHECKING:
    from meshd.services.proxy.asking import Ask, Tell
    from meshd.services.proxy.reports import Glimpse
    from meshd.services.proxy.service import Service

NAME: Final = "proxy.db"


class ProxySwitch:
    """Loads the service when it is first asked for, or at the start where it was used before."""

    def __init__(self, node: Node, paths: Paths, failed: Callable[[str, BaseException], str], tell: "Tell") -> None:
        self._node = node
        self._tell = tell
        self._path = paths.data / NAME
        self._failed = failed
        self._service: Service | None = None
        self._wanted = trio.Event()

    async def run(self) -> None:
        """Serve once it was used; for ever."""
        if not self.used:
            await self._wanted.wait()
        try:
            await self.service().run()
        finally:
            self._service, self._wanted = None, trio.Event()

    @property
    def used(self) -> bool:
        """It was switched on at some time."""
        return self._service is not None or self._path.exists()

    def asks(self) -> "list[Ask]":
        """What waits for the person because a budget is used up."""
        return self._service.budgets.asks.open() if self._service is not None else []

    def glimpse(self, session: str, now_ms: int) -> "Glimpse | None":
        """What was spent today, and by that session (Claude Code's id); None while the proxy is off."""
        if self._service is None or not self._service.settings.on:
            return None
        return self._service.glimpse(session, now_ms)

    def service(self) -> "Service":
        """The service, loaded. Call it only from where `run` runs too."""
        if self._service is None:
            from meshd.services.proxy.service import Service

            seams, key = self._node.seams, self._node.store_key
            self._service = Service(self._path, seams, key, self._failed, tell=self._tell)
            self._wanted.set()
        return self._service
