"""A start that is cut off, however often and wherever, leaves one identity that starts again (FP-19)."""

import os
from pathlib import Path

import pytest

from mesh_protocol.ids import DeviceId
from mesh_protocol.io.sqlite import InlineWorker
from meshd.app import open_database, remember_identity
from meshd.keys.argon2 import stretch
from meshd.keys.keyring_backend import KeyringBackend
from meshd.keys.store import KeyStore
from meshd.paths import Paths, prepare, resolve
from meshd.seams import Seams
from meshd.serving import take_identity


@pytest.fixture
def where(tmp_path: Path) -> Paths:
    found = resolve({"MESH_HOME": str(tmp_path / "home")}, "linux", os.geteuid())
    prepare(found)
    return found


async def _start(where: Paths, *, cut_off: bool) -> tuple[DeviceId, int]:
    """A start as far as the identity; cut off, the database never hears of it."""
    keystore = KeyStore(where.keys, "file", KeyringBackend({}, os.geteuid(), "linux"), stretch, os.urandom)
    db = open_database(where.database, Seams(lambda: 0, os.urandom, None, lambda _: InlineWorker()))  # type: ignore[arg-type]
    try:
        identity = await take_identity(where, keystore, db, keystore.load())
        if not cut_off:
            remember_identity(db, identity)
        return identity.device_id, identity.generation
    finally:
        db.close()
        keystore.close()


async def test_many_starts_cut_off_between_keys_and_database_are_no_restored_backup(where: Paths) -> None:
    device, first = await _start(where, cut_off=False)
    generations = [first]
    for _ in range(4):
        again, generation = await _start(where, cut_off=True)
        assert again == device
        generations.append(generation)
    again, generation = await _start(where, cut_off=False)
    assert again == device
    assert [*generations, generation] == sorted({*generations, generation}), "a generation must rise at each start"


async def test_a_first_start_cut_off_before_the_database_heard_of_it_is_taken_up(where: Paths) -> None:
    device, _ = await _start(where, cut_off=True)
    again, _ = await _start(where, cut_off=False)
    assert again == device
