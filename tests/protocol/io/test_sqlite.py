"""Group commit: what a caller is told, what is kept, and in what order; the same with a thread and inline."""

import stat
import threading
from contextlib import asynccontextmanager

import apsw
import pytest
import trio

from mesh_protocol.io.sqlite import MAX_BATCH, Database, InlineWorker, StorageFailed, ThreadWorker
from mesh_protocol.wire.errors import MeshError

APPLICATION = 0x6D657368
SCHEMA = "CREATE TABLE t(n INTEGER PRIMARY KEY AUTOINCREMENT, a UNIQUE, b BLOB) STRICT".replace(
    "a UNIQUE", "a ANY UNIQUE"
)


@asynccontextmanager
async def opened(path, worker=None, migrations=(SCHEMA,), **options):
    database = Database(
        path, application_id=APPLICATION, migrations=migrations, worker=worker or ThreadWorker("writer"), **options
    )
    try:
        with trio.fail_after(30):
            yield database
    finally:
        database.close()


@pytest.fixture(params=[lambda: ThreadWorker("writer"), InlineWorker], ids=["thread", "inline"])
def open_database(request, tmp_path):
    return lambda: opened(tmp_path / "x.db", request.param())


def insert(value, blob=b""):
    def work(connection):
        connection.execute("INSERT INTO t(a, b) VALUES(?, ?)", (value, blob))
        return connection.last_insert_rowid()

    return work


def rows(database):
    return [row[0] for row in database.reader.execute("SELECT a FROM t ORDER BY n")]


class Held:
    """Work that holds the writer until it is let go, so that what follows gathers in one batch."""

    def __init__(self):
        self.started = trio.Event()
        self._release = threading.Event()
        self._token = trio.lowlevel.current_trio_token()

    def __call__(self, connection):
        self._token.run_sync_soon(self.started.set)
        assert self._release.wait(20)

    def let_go(self):
        self._release.set()


@asynccontextmanager
async def one_batch(database):
    """What is submitted inside is committed together."""
    held = Held()
    first = database.submit(held)
    await held.started.wait()
    try:
        yield
    finally:
        held.let_go()
    await first.wait()


# What a caller is told.


async def test_a_write_returns_its_result_and_the_reader_sees_it(open_database):
    async with open_database() as database:
        assert [await database.write(insert(value)) for value in ("a", "b")] == [1, 2]
        assert rows(database) == ["a", "b"]


async def test_a_write_raises_what_its_work_raised_and_keeps_nothing_of_it(open_database):
    def work(connection):
        insert("lost")(connection)
        raise ValueError("mine")

    async with open_database() as database:
        with pytest.raises(ValueError, match="mine"):
            await database.write(work)
        assert await database.write(insert("kept")) == 1
        assert rows(database) == ["kept"]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError()])
async def test_whatever_work_raises_belongs_to_its_caller_and_the_writer_lives(open_database, error):
    def work(connection):
        insert("lost")(connection)
        raise error

    async with open_database() as database:
        pending = database.submit(work)
        with pytest.raises(type(error)) as caught:
            await pending.wait()
        assert caught.value is error
        await database.write(insert("kept"))
        assert rows(database) == ["kept"]


async def test_an_sql_error_is_the_callers(open_database):
    async with open_database() as database:
        await database.write(insert("a"))
        with pytest.raises(apsw.ConstraintError):
            await database.write(insert("a"))
        with pytest.raises(apsw.SQLError):
            await database.write(lambda connection: connection.execute("SELECT nothing FROM nowhere"))
        assert not database.failure.is_set()
        assert rows(database) == ["a"]


async def test_work_may_use_savepoints_of_its_own(open_database):
    def work(connection):
        insert("outer")(connection)
        with pytest.raises(apsw.ConstraintError), connection:
            insert("inner")(connection)
            insert("outer")(connection)

    async with open_database() as database:
        await database.write(work)
        assert rows(database) == ["outer"]


async def test_a_caller_that_left_does_not_undo_its_work(open_database):
    async with open_database() as database:
        with trio.CancelScope() as scope:
            scope.cancel()
            await database.write(insert("a"))
        await database.write(insert("b"))
        assert rows(database) == ["a", "b"]


async def test_settled_calls_back_once_whether_it_was_kept_or_failed(open_database):
    def refuse(connection):
        raise ValueError("mine")

    async with open_database() as database:
        seen = []
        kept, failed = database.submit(insert("a")), database.submit(refuse)
        kept.settled(lambda: seen.append(("kept", kept.succeeded)))
        failed.settled(lambda: seen.append(("failed", failed.succeeded)))
        await kept.wait()
        with pytest.raises(ValueError, match="mine"):
            await failed.wait()
        assert sorted(seen) == [("failed", False), ("kept", True)]
        kept.settled(lambda: seen.append("at once"))
        assert seen[-1] == "at once"


# Groups.


async def test_what_arrives_during_a_commit_is_committed_together(tmp_path):
    async with opened(tmp_path / "x.db") as database:
        async with one_batch(database):
            pending = [database.submit(insert(number)) for number in range(MAX_BATCH)]
        for each in pending:
            await each.wait()
        assert database.commits == 2
        assert rows(database) == [*range(MAX_BATCH)]


async def test_a_batch_is_bounded(tmp_path):
    async with opened(tmp_path / "x.db") as database:
        async with one_batch(database):
            pending = [database.submit(insert(number)) for number in range(2 * MAX_BATCH + 1)]
        for each in pending:
            await each.wait()
        assert database.commits == 4


async def test_an_idle_writer_commits_at_once(open_database):
    async with open_database() as database:
        for number in range(20):
            await database.write(insert(number))
            assert database.commits == number + 1


async def test_work_runs_in_the_order_it_was_submitted(open_database):
    async with open_database() as database:
        pending = [database.submit(insert(number)) for number in range(300)]
        results = [await each.wait() for each in pending]
        assert results == [*range(1, 301)]
        assert rows(database) == [*range(300)]


async def test_many_tasks_at_once_all_return_and_commits_are_few(tmp_path):
    async with opened(tmp_path / "x.db") as database:
        results = {}

        async def writer(start):
            for number in range(start, start + 10):
                results[number] = await database.write(insert(number))

        async with trio.open_nursery() as nursery:
            for start in range(0, 1000, 10):
                nursery.start_soon(writer, start)
        assert len(results) == 1000
        assert len({*results.values()}) == 1000
        assert database.commits < 500


async def test_a_failure_in_a_batch_rolls_back_only_its_own_work(tmp_path):
    def fail_in_the_middle(connection):
        insert("half")(connection)
        raise ValueError("mine")

    async with opened(tmp_path / "x.db") as database:
        async with one_batch(database):
            before = database.submit(insert("before"))
            failing = database.submit(fail_in_the_middle)
            duplicate = database.submit(insert("before"))
            after = database.submit(insert("after"))
        await before.wait()
        await after.wait()
        with pytest.raises(ValueError, match="mine"):
            await failing.wait()
        with pytest.raises(apsw.ConstraintError):
            await duplicate.wait()
        assert database.commits == 2
        assert rows(database) == ["before", "after"]


def roll_back_everything(connection):
    connection.execute("INSERT OR ROLLBACK INTO t(a) VALUES('before')")


def end_the_transaction(connection):
    connection.execute("ROLLBACK")


def commit_early(connection):
    insert("early")(connection)
    connection.execute("COMMIT")


def begin_another(connection):
    connection.execute("ROLLBACK")
    connection.execute("BEGIN")
    insert("another")(connection)


UNDOERS = [roll_back_everything, end_the_transaction, commit_early, begin_another]


@pytest.mark.parametrize("undo", UNDOERS)
async def test_work_that_undoes_the_whole_batch_fails_alone_and_its_neighbours_are_kept_once(tmp_path, undo):
    async with opened(tmp_path / "x.db") as database:
        async with one_batch(database):
            before = database.submit(insert("before"))
            guilty = database.submit(undo)
            failing = database.submit(insert("before"))
            after = database.submit(insert("after"))
        assert (await before.wait(), await after.wait()) == (1, 2)
        with pytest.raises(apsw.Error):
            await guilty.wait()
        with pytest.raises(apsw.ConstraintError):
            await failing.wait()
        assert rows(database) == ["before", "after"]
        assert not database.failure.is_set()


@pytest.mark.parametrize("undo", UNDOERS)
async def test_work_that_undoes_itself_alone_fails_and_the_next_is_kept(open_database, undo):
    async with open_database() as database:
        await database.write(insert("before"))
        with pytest.raises(apsw.Error):
            await database.write(undo)
        await database.write(insert("after"))
        assert rows(database) == ["before", "after"]


# The file.


async def test_the_file_and_its_log_are_the_owners_alone(open_database, tmp_path):
    async with open_database() as database:
        await database.write(insert("a"))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"x.db": 0o600, "x.db-wal": 0o600, "x.db-shm": 0o600}


async def test_a_commit_that_returned_is_on_the_disk_by_the_settings(open_database):
    async with open_database() as database:
        found = await database.write(
            lambda connection: (connection.pragma("journal_mode"), connection.pragma("synchronous"))
        )
    assert found == ("wal", 2)


async def test_the_reader_cannot_write(open_database):
    async with open_database() as database:
        with pytest.raises(apsw.ReadOnlyError):
            database.reader.execute("INSERT INTO t(a) VALUES(1)")


async def test_the_log_is_folded_back_into_the_file(tmp_path):
    async with opened(tmp_path / "x.db") as database:
        for number in range(6):
            await database.write(insert(number, bytes(2**20)))
        await database.write(insert("last"))
        assert (tmp_path / "x.db").stat().st_size > 3 * 2**20
        assert (tmp_path / "x.db-wal").stat().st_size < 12 * 2**20


async def test_closing_finishes_what_is_queued(tmp_path):
    async with opened(tmp_path / "x.db") as database:
        pending = [database.submit(insert(number)) for number in range(500)]
        database.close()
        for each in pending:
            await each.wait()
    async with opened(tmp_path / "x.db") as database:
        assert len(rows(database)) == 500


async def test_what_is_submitted_after_the_close_fails_and_does_not_wait_for_ever(open_database):
    async with open_database() as database:
        database.close()
        with pytest.raises(StorageFailed, match="closed"):
            await database.write(insert("a"))


# No room.


async def test_a_full_database_is_told_and_nothing_is_lost(open_database):
    async with open_database() as database:
        await database.write(insert("kept"))
        limit = await database.write(lambda connection: connection.pragma("page_count") + 2)
        await database.write(lambda connection: connection.pragma("max_page_count", limit))
        with pytest.raises(MeshError) as caught:
            await database.write(insert("too much", bytes(100_000)))
        assert caught.value.code == "storage_full"
        assert not database.failure.is_set()
        assert rows(database) == ["kept"]
        await database.write(insert("small"))
        await database.write(lambda connection: connection.pragma("max_page_count", 10_000))
        await database.write(insert("now there is room", bytes(100_000)))
        assert rows(database) == ["kept", "small", "now there is room"]


async def test_no_room_for_one_is_told_to_its_whole_batch_and_the_next_batch_is_tried(tmp_path):
    async with opened(tmp_path / "x.db") as database:
        limit = await database.write(lambda connection: connection.pragma("page_count") + 2)
        await database.write(lambda connection: connection.pragma("max_page_count", limit))
        async with one_batch(database):
            batch = [database.submit(insert("a")), database.submit(insert("b", bytes(100_000)))]
        for each in batch:
            with pytest.raises(MeshError) as caught:
                await each.wait()
            assert caught.value.code == "storage_full"
        await database.write(insert("a"))
        assert rows(database) == ["a"]
