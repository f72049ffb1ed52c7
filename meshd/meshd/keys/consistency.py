"""The key store and the database both say which device this is and how often it started. Do they agree? (FP-19)

At each start: check, write what `check_consistency` settled into the database, bump the key store, write the new
generation into the database. A crash between two of these steps leaves them one apart, never more.
"""

from dataclasses import dataclass
from typing import Literal

from mesh_protocol.ids import DeviceId
from meshd.keys.identity import Identity

Problem = Literal["keys_missing", "other_device", "database_older", "keys_older"]


@dataclass(frozen=True, slots=True)
class Consistent:
    """One identity. `device` is None on a first start: only then may `KeyStore.create` be called."""

    device: DeviceId | None
    generation: int
    """The higher of both sides; the next one must be above it."""
    recovered: bool
    """A crash had left one side behind; the database row must be written from these values."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Two identities, or an old copy of one. The daemon stops; `sentence` says what to do."""

    problem: Problem
    sentence: str


def check_consistency(
    identity: Identity | None, db_device: DeviceId | None, db_generation: int, home: str
) -> Consistent | Mismatch:
    """Compares the opened identity (None: the store is empty) with the database's row (None, 0: no row)."""
    if identity is None:
        if db_device is None:
            return Consistent(None, 0, recovered=False)
        return Mismatch(
            "keys_missing",
            f"the database in {home} belongs to device {_short(db_device)}, but its keys are gone; restore"
            f" {home}/keys from a backup, or move {home}/mesh.db away to begin as a new device",
        )
    if db_device is None:
        return Consistent(identity.device_id, identity.generation, recovered=True)
    if db_device != identity.device_id:
        return Mismatch(
            "other_device",
            f"the keys in {home} are device {_short(identity.device_id)}, the database is device"
            f" {_short(db_device)}; put back the files that belong together, or move {home}/mesh.db away",
        )
    apart = identity.generation - db_generation
    if apart > 1:
        return Mismatch(
            "database_older",
            f"the database in {home} is older than the keys ({db_generation} starts against {identity.generation});"
            f" it comes from a backup: put back the newest {home}/mesh.db, or move it away and join again",
        )
    if apart < -1:
        return Mismatch(
            "keys_older",
            f"the keys in {home} are older than the database ({identity.generation} starts against"
            f" {db_generation}); they come from a backup or another machine: put back the newest {home}/keys",
        )
    return Consistent(identity.device_id, max(identity.generation, db_generation), recovered=apart != 0)


def _short(device: DeviceId) -> str:
    return device.hex()[:16]
