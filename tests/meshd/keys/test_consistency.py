"""Keys and database agree on one identity, or the daemon stops and says what to do (FP-19)."""

import os
from pathlib import Path

import apsw
import pytest

from mesh_protocol.ids import DeviceId
from mesh_protocol.keys import SigningKey
from meshd.keys.argon2 import stretch
from meshd.keys.consistency import Consistent, Mismatch, check_consistency
from meshd.keys.identity import Identity, StoreKey
from meshd.keys.keyring_backend import KeyringBackend
from meshd.keys.store import KeyStore

HOME = "/home/ada/.local/share/meshd"


def identity(generation: int, seed: int = 1) -> Identity:
    return Identity(SigningKey.from_seed(bytes([seed]) * 32), StoreKey(bytes(32)), generation)


MINE = identity(1).device_id
OTHER = identity(1, 2).device_id


def test_a_first_start_may_make_an_identity() -> None:
    assert check_consistency(None, None, 0, HOME) == Consistent(None, 0, recovered=False)


def test_equal_sides_are_consistent() -> None:
    assert check_consistency(identity(5), MINE, 5, HOME) == Consistent(MINE, 5, recovered=False)


@pytest.mark.parametrize(
    ("keys", "db_device", "db_generation", "settled"),
    [(1, None, 0, 1), (6, MINE, 5, 6), (5, MINE, 6, 6)],
    ids=["keys written, database not", "keys bumped, database not", "database bumped, keys not"],
)
def test_one_step_apart_is_a_crash_and_recovers(
    keys: int, db_device: DeviceId | None, db_generation: int, settled: int
) -> None:
    assert check_consistency(identity(keys), db_device, db_generation, HOME) == Consistent(
        MINE, settled, recovered=True
    )


@pytest.mark.parametrize(
    ("found", "db_device", "db_generation", "problem", "says"),
    [
        (None, MINE, 3, "keys_missing", f"restore {HOME}/keys"),
        (identity(5), OTHER, 5, "other_device", f"move {HOME}/mesh.db away"),
        (identity(9), MINE, 7, "database_older", "it comes from a backup"),
        (identity(5), MINE, 7, "keys_older", "backup or another machine"),
    ],
)
def test_anything_else_stops_and_says_what_to_do(
    found: Identity | None, db_device: DeviceId, db_generation: int, problem: str, says: str
) -> None:
    verdict = check_consistency(found, db_device, db_generation, HOME)
    assert isinstance(verdict, Mismatch)
    assert verdict.problem == problem
    assert says in verdict.sentence
    assert "\n" not in verdict.sentence


class Crash(Exception):
    """The power went."""


def start(home: Path, crash_after: int) -> Identity:
    """One start as the daemon does it, with a real database; `crash_after` steps the power goes."""
    steps = iter(range(99))

    def step() -> None:
        if next(steps) == crash_after:
            raise Crash

    keys = home / "keys"
    keys.mkdir(mode=0o700, exist_ok=True)
    store = KeyStore(keys, "file", KeyringBackend({}, os.geteuid(), "linux"), stretch, os.urandom)
    db = apsw.Connection(str(home / "mesh.db"))
    try:
        db.execute("CREATE TABLE IF NOT EXISTS device (one INTEGER PRIMARY KEY, pub BLOB, generation INTEGER)")
        row = db.execute("SELECT pub, generation FROM device").fetchone()
        found = store.load()
        verdict = check_consistency(found, DeviceId(row[0]) if row else None, row[1] if row else 0, str(home))
        assert isinstance(verdict, Consistent), verdict
        step()
        if found is None:
            found = store.create()
            step()
        db.execute(
            "INSERT OR REPLACE INTO device VALUES (1, ?, ?)",
            (found.device_id, max(found.generation, verdict.generation)),
        )
        step()
        risen = store.bump_generation(verdict.generation)
        step()
        db.execute("UPDATE device SET generation = ?", (risen.generation,))
        step()
        return risen
    finally:
        db.close()


def test_crashes_at_every_step_of_many_starts_keep_one_identity_and_a_rising_generation(tmp_path: Path) -> None:
    device, last = None, 0
    for crash_after in [*range(5), 99, *range(4), *range(4), 99, 3, 3, 3, 2, 2, 3, 99]:
        try:
            risen = start(tmp_path, crash_after)
        except Crash:
            continue
        assert device in (None, risen.device_id)
        assert risen.generation > last
        device, last = risen.device_id, risen.generation
    assert last > 0
    assert start(tmp_path, 99).device_id == device
