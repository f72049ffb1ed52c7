"""From a held home to a serving daemon: keys, database, parts, signals."""

import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import apsw
import trio

from mesh_protocol.ids import DeviceId
from mesh_protocol.io.sqlite import Database, ThreadWorker, WrongDatabase
from mesh_protocol.io.wal import found_no_room
from mesh_protocol.keys import CryptoError
from mesh_protocol.wire.errors import MeshError
from meshd.app import App, open_database, remember_identity
from meshd.config import Config
from meshd.hardening import Hardening
from meshd.keys.argon2 import TIMEOUT_S, Stretching
from meshd.keys.consistency import Mismatch, check_consistency
from meshd.keys.identity import Identity
from meshd.keys.keyring_backend import KeyringBackend
from meshd.keys.passphrase import STRETCH_S, Given
from meshd.keys.record import wipe
from meshd.keys.states import KeysNotReady, WrongPassphrase
from meshd.keys.store import KeyStore
from meshd.log import get_logger
from meshd.paths import Paths
from meshd.processes import ProcTable
from meshd.refusal import DiskFull, StartRefused
from meshd.restoring import finish_restore, restored_identity
from meshd.seams import Clock, Seams
from meshd.store.meshes import get_meta

log = get_logger("serving")

T = TypeVar("T")


async def serve(
    where: Paths,
    config: Config,
    hardening: Hardening,
    listener: socket.socket,
    version: str,
    clock: Clock,
    told: Callable[[], None],
    given: Given,
) -> int:
    """Run the daemon of a home whose lock is held. Returns the exit status. Raises `StartRefused`.

    `given` is the passphrase that the start was given; it is wiped.
    """
    seams = Seams(clock=clock, rng=os.urandom, threads=_in_thread, worker=ThreadWorker)
    stretch = Stretching(STRETCH_S)
    keystore = KeyStore(
        where.keys, config.keys, KeyringBackend(os.environ, os.geteuid(), sys.platform), stretch, os.urandom
    )
    try:
        db = open_database(where.database, seams)
    except WrongDatabase as error:
        raise StartRefused(f"{where.database}: {error}") from None
    except apsw.Error as error:
        if found_no_room(error):
            raise DiskFull(where.data) from None
        raise StartRefused(f"{where.database} cannot be used ({error}): put back a backup of the whole home") from None
    try:
        identity = await _open_identity(where, keystore, db, given)
        stretch.timeout_s = TIMEOUT_S
        app = App(
            seams=seams,
            paths=where,
            config=config,
            version=version,
            hardening=hardening,
            keystore=keystore,
            processes=ProcTable(),
            started_ms=clock(),
        )
        app.take_identity = partial(take_identity, where, keystore, db)
        try:
            app.build(db, identity)
        except CryptoError as error:  # a chain that does not verify, a column that does not open
            raise StartRefused(f"{where.database} is damaged ({error}): put back a backup of the whole home") from None
        async with trio.open_nursery() as nursery:
            await nursery.start(_stop_on_signal, app)  # who is told that we serve may stop us the next moment
            told()
            await app.run(listener)
            nursery.cancel_scope.cancel()
        return app.exit_status
    finally:
        keystore.close()
        db.close()


async def _open_identity(where: Paths, keystore: KeyStore, db: Database, given: Given) -> Identity | None:
    """The identity with its generation risen, or None while the keys are locked. Never a second identity."""
    if given.note:
        log.warning("no passphrase at the start")
        keystore.note(given.note)
    try:
        return await take_identity(where, keystore, db, keystore.load(given.passphrase))
    except KeysNotReady as error:  # also a keyring that locks between being read and written
        log.warning("starting locked", error=error)
        if isinstance(error, WrongPassphrase):
            keystore.note("the passphrase that the daemon was started with does not open the keys")
        return None
    finally:
        if given.passphrase is not None:
            wipe(given.passphrase)


async def take_identity(where: Paths, keystore: KeyStore, db: Database, identity: Identity | None) -> Identity:
    """Hold the keys against the database (FP-19), and count this start. Raises `StartRefused`."""
    if identity is not None:
        identity = await _take_restored(where, keystore, db, identity)
    device = get_meta(db.reader, "device")
    generation = int.from_bytes(get_meta(db.reader, "generation") or b"", "little")
    judged = check_consistency(identity, DeviceId(device) if device else None, generation, str(where.data))
    if isinstance(judged, Mismatch):
        raise StartRefused(judged.sentence)
    if identity is None:
        return keystore.create()
    if judged.recovered:
        # The last start was cut off between the two. They must agree before one of them rises again: a second start
        # cut off here would leave them two apart, which looks like a restored backup.
        try:
            await remember_identity(db, identity, judged.generation).wait()
        except MeshError:
            raise DiskFull(where.data) from None
    return keystore.bump_generation(judged.generation)


async def _take_restored(where: Paths, keystore: KeyStore, db: Database, identity: Identity) -> Identity:
    """The device of a backup in place of this one, if a restore asked for that. Raises `StartRefused`."""
    identity, generation = restored_identity(keystore, db, identity)
    if generation:
        try:
            await finish_restore(db, where.keys, identity)
        except MeshError:
            raise DiskFull(where.data) from None
    return identity


async def _stop_on_signal(app: App, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            app.stop_soon()


async def _in_thread(work: Callable[[], T]) -> T:
    return await trio.to_thread.run_sync(work)
