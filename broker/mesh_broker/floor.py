"""Keeps the disk from filling: below a floor of free space nothing new is taken, and what is there can be read."""

from collections.abc import Callable
from typing import NamedTuple

from mesh_broker.limits import Limits
from mesh_protocol.wire.errors import MeshError


class Space(NamedTuple):
    """Bytes of a file system."""

    free: int
    total: int


class Floor:
    """`measure` says how much space there is; it is asked by `look`, not for each write."""

    def __init__(self, limits: Limits, measure: Callable[[], Space] | None) -> None:
        self._limits = limits
        self._measure = measure
        self.reached = False
        self.look()

    def look(self) -> None:
        """Measure again."""
        if self._measure is None:
            return
        space = self._measure()
        floor = max(self._limits.disk_floor_bytes, int(space.total * self._limits.disk_floor_share))
        self.reached = space.free < floor

    def require(self) -> None:
        """Raises `storage_full` below the floor."""
        if self.reached:
            raise MeshError("storage_full")
