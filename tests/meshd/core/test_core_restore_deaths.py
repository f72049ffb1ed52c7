"""Deaths in the middle of a restore: what is restored is there afterwards, or can be restored once more; never two identities."""

import os
import random
import shutil

import pytest

from core_kit.backups import make, opened
from mesh_protocol.crashpoints import unnoticed
from mesh_protocol.ids import DeviceId
from mesh_protocol.io.sqlite import Database, InlineWorker
from meshd.app import open_database
from meshd.keys.file_backend import KeyDirectory
from meshd.keys.store import KeyStore
from meshd.paths import Paths, prepare, resolve
from meshd.seams import Seams
from meshd.serving import take_identity
from meshd.store.meshes import get_meta, list_meshes
from world.machine import Machine, NoKeyring, run_inline
from world.power import PowerDisk
from world.world import World


def die_at(machine: Machine, disk: PowerDisk, nth: int, *, lose: bool) -> list[str]:
    """The machine dies when it reaches the crash point of a restore for the `nth` time; filled when it has."""
    died: list[str] = []
    left = nth

    def reached(point: str) -> None:
        nonlocal left
        if point != "FP-25":
            return
        left -= 1
        if left == 0:
            machine.reached = unnoticed
            died.append(point)
            if lose:
                disk.cut()
            machine.kill()

    machine.reached = reached
    return died


async def on_a_disk(machine: Machine) -> PowerDisk:
    """The machine started anew on a disk whose power can fail."""
    await machine.stop()
    disk = machine.power = PowerDisk(random.Random(1))
    await machine.start()
    return disk


@pytest.mark.parametrize("lose", [False, True], ids=["kill", "power cut"])
@pytest.mark.parametrize("nth", [1, 2], ids=["before it is stored", "behind the append"])
async def test_a_death_while_the_recovery_key_lets_a_machine_in_is_made_good_by_a_second_restore(
    world: World, nth: int, lose: bool
) -> None:
    ann, bob = await world.mesh("ann", "bob")
    data = await make(ann, recovery=True)
    await ann.crash()
    new = await world.machine("new")
    disk = await on_a_disk(new)
    device = new.app.node.device
    died = die_at(new, disk, nth, lose=lose)
    with pytest.raises(Exception):  # noqa: B017 - whatever a client sees of a daemon that dies
        await opened(new, "backup.restore", data, lost=True)
    assert died
    await new.ended.wait()
    disk.restore()
    await new.start()
    assert new.app.node.device == device
    (row,) = (await opened(new, "backup.restore", data, lost=True))["meshes"]
    assert row["state"] in ("restored", "here")
    await new.until_online()
    await world.until(lambda: bob.mesh().state.is_active(device), what="bob knows the machine")
    state, keys = new.mesh().state, new.mesh().keys
    assert keys is not None
    await world.until(lambda: state.epoch in (new.mesh().keys or keys).epochs, what="it has the newest key")
    assert device in state.signers
    await new.crash()
    disk.close()


async def test_who_was_removed_and_dies_behind_the_append_is_the_new_member_after_a_second_restore(
    world: World,
) -> None:
    ann, bob = await world.mesh("ann", "bob")
    data = await make(ann, recovery=True)
    await ann.call("member.role", peer="bob", role="owner")
    await bob.call("member.remove", peer="ann")
    await ann.crash()
    new = await world.machine("new")
    disk = await on_a_disk(new)
    died = die_at(new, disk, 2, lose=False)
    with pytest.raises(Exception):  # noqa: B017 - whatever a client sees of a daemon that dies
        await opened(new, "backup.restore", data)
    assert died
    await new.ended.wait()
    disk.restore()
    await new.start()
    await new.until_online()
    (row,) = (await opened(new, "backup.restore", data))["meshes"]
    assert row["state"] == "here"
    member = new.mesh().state.member_of(new.app.node.device)
    assert member is not None
    assert new.mesh().row.member == member.member_id
    await new.crash()
    disk.close()


class Died(BaseException):
    """The process is gone."""


async def start(where: Paths) -> tuple[DeviceId, int]:
    """A start as far as the identity."""
    keystore = KeyStore(where.keys, "file", NoKeyring(), lambda passphrase, salt: bytes(32), random.Random(2).randbytes)  # type: ignore[arg-type]
    machine_seams = Seams(
        clock=lambda: 0, rng=random.Random(3).randbytes, threads=run_inline, worker=lambda _: InlineWorker()
    )
    db = open_database(where.database, machine_seams)
    try:
        identity = await take_identity(where, keystore, db, keystore.load())
        known = get_meta(db.reader, "device")
        assert known in (None, identity.device_id)
        assert len(list_meshes(db.reader)) == 1
        return identity.device_id, identity.generation
    finally:
        db.close()
        keystore.close()


async def test_a_death_between_any_two_writes_of_becoming_the_restored_machine_ends_as_that_machine(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, _ = await world.mesh("ann", "bob")
    wanted = ann.app.node.device
    generation = ann.app.node.generation
    data = await make(ann, include_device_key=True)
    await ann.crash()
    new = await world.machine("new")
    await opened(new, "backup.restore", data, same_device=True)
    await new.crash()
    deaths = 0
    for survived in range(20):
        home = world.folder / f"copy-{survived}"
        shutil.copytree(new.folder / "home", home, ignore=shutil.ignore_patterns("sock*"))
        home.chmod(0o700)
        where = resolve({"MESH_HOME": str(home)}, "linux", os.geteuid())
        prepare(where)
        with monkeypatch.context() as patched:
            _die_after(patched, survived)
            try:
                await start(where)
                finished = True
            except Died:
                finished = False
                deaths += 1
        first, reached = await start(where)
        assert first == wanted, f"after {survived} writes"
        assert reached > generation + 2**31
        again, higher = await start(where)
        assert (again, higher) == (wanted, reached + 1)
        if finished:
            break
    assert finished
    assert deaths == 6, "marker, identity, marker, the audit's copy, the database, and the start's own count"


def _die_after(patched: pytest.MonkeyPatch, survived: int) -> None:
    left = survived

    def count() -> None:
        nonlocal left
        if left == 0:
            raise Died
        left -= 1

    key_write, key_remove, db_write = KeyDirectory.write, KeyDirectory.remove, Database.write

    def dying_write(directory: KeyDirectory, name: str, content: bytes) -> None:
        count()
        key_write(directory, name, content)

    def dying_remove(directory: KeyDirectory, name: str) -> None:
        count()
        key_remove(directory, name)

    async def dying_commit(db: Database, work: object) -> object:
        count()
        return await db_write(db, work)  # type: ignore[arg-type]

    patched.setattr(KeyDirectory, "write", dying_write)
    patched.setattr(KeyDirectory, "remove", dying_remove)
    patched.setattr(Database, "write", dying_commit)
