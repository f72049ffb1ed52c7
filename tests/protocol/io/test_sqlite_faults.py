"""Disks that fail: what was acknowledged is there afterwards, and a database that cannot be trusted says so at once."""

import os
import random
import select
import signal
import subprocess
import sys
import threading

import apsw
import pytest
import trio

from mesh_protocol.io.sqlite import Database, InlineWorker, StorageFailed, ThreadWorker
from mesh_protocol.wire.errors import MeshError

SCHEMA = "CREATE TABLE t(n INTEGER PRIMARY KEY, b BLOB) STRICT"


class FaultyFile(apsw.VFSFile):
    def __init__(self, vfs, name, flags):
        self._vfs = vfs
        self._is_log = flags[0] & apsw.SQLITE_OPEN_WAL
        super().__init__(vfs.base, name, flags)

    def _meet(self, fault):
        code = self._vfs.faults.get((fault, "log" if self._is_log else "file"))
        if code is not None:
            raise apsw.exception_for(code)

    def xSync(self, flags):
        self._meet("sync")
        super().xSync(flags)

    def xWrite(self, data, offset):
        self._meet("write")
        super().xWrite(data, offset)


class FaultyDisk(apsw.VFS):
    """The real disk, until `faults` name an operation and where: then that fails with the code."""

    base = ""

    def __init__(self):
        self.faults = {}
        super().__init__("faulty", base=self.base)

    def xOpen(self, name, flags):
        return FaultyFile(self, name, flags)


@pytest.fixture
def disk():
    disk = FaultyDisk()
    yield disk
    disk.unregister()


def open_database(path, worker=None, **options):
    return Database(path, application_id=7, migrations=[SCHEMA], worker=worker or ThreadWorker("writer"), **options)


def insert(number, size=10):
    return lambda connection: connection.execute("INSERT INTO t VALUES(?, ?)", (number, bytes(size))) and None


def kept(path):
    """What a fresh process would find; the file's integrity is checked on the way."""
    database = open_database(path, InlineWorker())
    try:
        assert database.reader.execute("PRAGMA integrity_check").get == "ok"
        return {row[0] for row in database.reader.execute("SELECT n FROM t")}
    finally:
        database.close()


@pytest.mark.parametrize("worker", [lambda: ThreadWorker("writer"), InlineWorker], ids=["thread", "inline"])
@pytest.mark.parametrize("code", [apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR])
async def test_a_failed_fsync_is_fatal_and_nothing_is_tried_again(tmp_path, disk, worker, code):
    with trio.fail_after(20):
        database = open_database(tmp_path / "x.db", worker(), vfs="faulty")
        await database.write(insert(1))
        disk.faults["sync", "log"] = code
        with pytest.raises(StorageFailed, match=r"x\.db: IOError"):
            await database.write(insert(2))
        await database.failure.wait()
        disk.faults.clear()  # the disk says that it is well again: the kernel may have dropped the pages
        with pytest.raises(StorageFailed):
            await database.write(insert(3))
        database.close()
    assert 1 in kept(tmp_path / "x.db")
    assert 3 not in kept(tmp_path / "x.db")


async def test_a_failed_fsync_wakes_everybody(tmp_path, disk):
    woken = []
    started, release = threading.Event(), threading.Event()

    def hold(connection):
        started.set()
        assert release.wait(10)

    async def writer(database, number):
        with pytest.raises(StorageFailed):
            await database.write(insert(number))
        woken.append(number)

    with trio.fail_after(20):
        database = open_database(tmp_path / "x.db", vfs="faulty")
        held = database.submit(hold)
        assert started.wait(10)
        disk.faults["sync", "log"] = apsw.SQLITE_IOERR_FSYNC
        async with trio.open_nursery() as nursery:
            for number in range(600):
                nursery.start_soon(writer, database, number)
            await trio.testing.wait_all_tasks_blocked()
            release.set()
        with pytest.raises(StorageFailed):
            await database.write(insert(601))
        assert database.failure.is_set()
        await held.wait()  # it wrote nothing, so there was nothing to sync
        database.close()
    assert sorted(woken) == [*range(600)]
    assert database.commits == 1


async def test_a_failed_fsync_of_a_checkpoint_is_fatal_although_every_commit_is_kept(tmp_path, disk):
    with trio.fail_after(20):
        database = open_database(tmp_path / "x.db", vfs="faulty")
        disk.faults["sync", "file"] = apsw.SQLITE_IOERR_FSYNC
        number = 0
        while not database.failure.is_set():
            number += 1
            assert number < 100
            try:
                await database.write(insert(number, 2**20))
            except StorageFailed:
                number -= 1
                break
        await database.failure.wait()
        disk.faults.clear()
        database.close()
    assert kept(tmp_path / "x.db") == {*range(1, number + 1)}


async def test_no_room_for_a_checkpoint_is_no_failure(tmp_path, disk):
    with trio.fail_after(20):
        database = open_database(tmp_path / "x.db", vfs="faulty")
        disk.faults["write", "file"] = apsw.SQLITE_FULL
        for number in range(10):
            await database.write(insert(number, 2**20))
        assert not database.failure.is_set()
        disk.faults.clear()
        await database.write(insert(10))
        database.close()
    assert kept(tmp_path / "x.db") == {*range(11)}


@pytest.mark.parametrize("code", [apsw.SQLITE_FULL, apsw.SQLITE_IOERR_WRITE])
async def test_no_room_in_the_log_is_told_and_the_next_write_is_tried(tmp_path, disk, code):
    with trio.fail_after(20):
        database = open_database(tmp_path / "x.db", vfs="faulty")
        await database.write(insert(1))
        disk.faults["write", "log"] = code
        for _ in range(3):
            with pytest.raises(MeshError) as caught:
                await database.write(insert(2))
            assert caught.value.code == "storage_full"
        assert database.reader.execute("SELECT count(*) FROM t").get == 1
        disk.faults.clear()
        await database.write(insert(3))
        assert not database.failure.is_set()
        database.close()
    assert kept(tmp_path / "x.db") == {1, 3}


@pytest.mark.parametrize("error", [apsw.CorruptError("malformed"), apsw.NotADBError("no"), apsw.IOError("read")])
async def test_a_broken_file_is_fatal_whichever_work_met_it(tmp_path, error):
    def work(connection):
        raise error

    with trio.fail_after(20):
        database = open_database(tmp_path / "x.db")
        with pytest.raises(StorageFailed):
            await database.write(work)
        await database.failure.wait()
        database.close()


async def test_a_database_held_by_another_process_is_fatal_not_a_hang(tmp_path):
    with trio.fail_after(20):
        database = open_database(tmp_path / "x.db")
        await database.write(lambda connection: connection.pragma("busy_timeout", 10))
        other = apsw.Connection(str(tmp_path / "x.db"))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageFailed, match="BusyError"):
            await database.write(insert(1))
        other.close()
        database.close()


# Another process.

WRITER = """
import sys, resource, signal, trio
from pathlib import Path
from mesh_protocol.io.sqlite import Database, ThreadWorker
from mesh_protocol.wire.errors import MeshError

SCHEMA = "CREATE TABLE t(n INTEGER PRIMARY KEY, b BLOB) STRICT"

def insert(number, size):
    return lambda connection: connection.execute("INSERT INTO t VALUES(?, ?)", (number, bytes(size))) and None

async def main():
    database = Database(Path(sys.argv[1]), application_id=7, migrations=[SCHEMA], worker=ThreadWorker("writer"))
"""

ENDLESS = """
    numbers = iter(range(10**9))
    async def writer():
        for number in numbers:
            await database.write(insert(number, 500))
            print(number, flush=True)
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(writer)

trio.run(main)
"""

LIMITED = """
    await database.write(insert(0, 10))
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    number = 0
    try:
        while True:
            await database.write(insert(number + 1, 5000))
            number += 1
    except MeshError as error:
        assert error.code == "storage_full", error
    try:
        await database.write(insert(-1, 5000))
    except MeshError as error:
        assert error.code == "storage_full", error
    assert not database.failure.is_set()
    assert database.reader.execute("SELECT count(*) FROM t").get == number + 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await database.write(insert(number + 1, 5000))
    print(number + 1)
    database.close()

trio.run(main)
"""


def test_a_disk_without_room_is_told_and_later_writes_are_kept(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WRITER + LIMITED, str(tmp_path / "x.db")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    last = int(done.stdout)
    assert last > 3
    assert trio.run(read_back, tmp_path / "x.db") == {*range(last + 1)}


@pytest.mark.parametrize("seed", range(4))
def test_what_was_acknowledged_survives_kill_9(tmp_path, seed):
    rng = random.Random(seed)
    path = tmp_path / "x.db"
    acknowledged = set()
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER + ENDLESS, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        wanted = rng.randrange(1, 600)
        text = b""
        while text.count(b"\n") < wanted:
            ready, _, _ = select.select([process.stdout], [], [], 30)
            assert ready, "the writer is silent"
            piece = os.read(process.stdout.fileno(), 65536)
            assert piece, process.stderr.read()
            text += piece
        process.send_signal(signal.SIGKILL)
        text += process.stdout.read()
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
        process.stderr.close()
    acknowledged = {int(line) for line in text.split(b"\n")[:-1]}
    found = trio.run(read_back, path)
    assert acknowledged <= found
    assert len(found - acknowledged) <= 8  # what was committed and not yet said


async def read_back(path):
    return kept(path)
