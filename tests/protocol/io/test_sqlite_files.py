"""Opening a database: migrations, and files that are not ours."""

import apsw
import pytest
import trio

from mesh_protocol.io.sqlite import Database, InlineWorker, StorageFailed, WrongDatabase

APPLICATION = 0x6D657368
FIRST = "CREATE TABLE one(a TEXT) STRICT"
SECOND = (
    "INSERT INTO one VALUES('second') RETURNING a; CREATE TABLE two(b TEXT) STRICT; SELECT 1; CREATE INDEX i ON two(b)"
)


def open_database(path, migrations, application_id=APPLICATION):
    return Database(path, application_id=application_id, migrations=migrations, worker=InlineWorker())


def looks(path):
    """(user_version, application_id, names of what is in it)"""
    connection = apsw.Connection(str(path))
    try:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema ORDER BY name")]
        return connection.pragma("user_version"), connection.pragma("application_id"), names
    finally:
        connection.close()


async def test_a_new_file_gets_every_migration(tmp_path):
    open_database(tmp_path / "x.db", [FIRST, SECOND]).close()
    assert looks(tmp_path / "x.db") == (2, APPLICATION, ["i", "one", "two"])


async def test_an_older_file_gets_those_it_lacks_and_each_once(tmp_path):
    open_database(tmp_path / "x.db", [FIRST]).close()
    assert looks(tmp_path / "x.db") == (1, APPLICATION, ["one"])
    for _ in range(2):
        database = open_database(tmp_path / "x.db", [FIRST, SECOND])
        assert database.reader.execute("SELECT count(*) FROM one").get == 1
        database.close()
    assert looks(tmp_path / "x.db") == (2, APPLICATION, ["i", "one", "two"])


async def test_a_statement_that_returns_rows_does_not_hide_those_after_it(tmp_path):
    open_database(tmp_path / "x.db", [FIRST, SECOND]).close()
    assert "i" in looks(tmp_path / "x.db")[2]


async def test_a_migration_that_fails_leaves_the_file_at_the_one_before(tmp_path):
    with pytest.raises(apsw.SQLError):
        open_database(tmp_path / "x.db", [FIRST, "CREATE TABLE two(b); INSERT INTO nowhere VALUES(1)"])
    assert looks(tmp_path / "x.db") == (1, APPLICATION, ["one"])
    open_database(tmp_path / "x.db", [FIRST, SECOND]).close()
    assert looks(tmp_path / "x.db")[0] == 2


def make(path, script, **pragmas):
    connection = apsw.Connection(str(path))
    for _ in connection.execute(script):
        pass
    for name, value in pragmas.items():
        connection.pragma(name, value)
    connection.close()


async def test_another_programs_file_is_refused_and_stays_as_it_is(tmp_path):
    for number, pragmas in enumerate(({"application_id": 7}, {"user_version": 1}, {})):
        path = tmp_path / f"{number}.db"
        make(path, "CREATE TABLE theirs(a)", **pragmas)
        before = path.read_bytes()
        with pytest.raises(WrongDatabase, match="another program"):
            open_database(path, [FIRST])
        assert path.read_bytes() == before
        assert [*tmp_path.glob(f"{number}.db*")] == [path]


async def test_a_file_of_our_other_database_is_refused(tmp_path):
    open_database(tmp_path / "x.db", [FIRST]).close()
    with pytest.raises(WrongDatabase, match="another program"):
        open_database(tmp_path / "x.db", [FIRST], application_id=APPLICATION + 1)


async def test_a_newer_versions_file_is_refused(tmp_path):
    open_database(tmp_path / "x.db", [FIRST, SECOND]).close()
    with pytest.raises(WrongDatabase, match=r"version 2, this program knows up to 1: update"):
        open_database(tmp_path / "x.db", [FIRST])


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4080])
async def test_a_file_that_is_no_database_is_refused(tmp_path, content):
    (tmp_path / "x.db").write_bytes(content)
    with pytest.raises(WrongDatabase):
        open_database(tmp_path / "x.db", [FIRST])
    assert (tmp_path / "x.db").read_bytes() == content


async def test_an_empty_file_is_a_new_one(tmp_path):
    (tmp_path / "x.db").touch()
    open_database(tmp_path / "x.db", [FIRST]).close()
    assert looks(tmp_path / "x.db") == (1, APPLICATION, ["one"])


async def test_a_file_left_in_the_middle_of_its_first_migration_is_a_new_one(tmp_path):
    connection = apsw.Connection(str(tmp_path / "x.db"))
    connection.pragma("journal_mode", "wal")
    connection.execute("BEGIN; CREATE TABLE one(a)")
    connection.close()
    open_database(tmp_path / "x.db", [FIRST]).close()
    assert looks(tmp_path / "x.db") == (1, APPLICATION, ["one"])


async def test_a_disk_that_cannot_hold_a_log_is_refused(tmp_path):
    with pytest.raises(StorageFailed, match="write-ahead log"):
        Database(tmp_path / "x.db", application_id=1, migrations=[FIRST], worker=InlineWorker(), vfs="memdb")


async def test_two_databases_do_not_mix(tmp_path):
    first, second = (open_database(tmp_path / f"{name}.db", [FIRST]) for name in "ab")
    await first.write(lambda connection: connection.execute("INSERT INTO one VALUES('first')"))
    with trio.fail_after(5):
        assert second.reader.execute("SELECT count(*) FROM one").get == 0
    first.close()
    second.close()
