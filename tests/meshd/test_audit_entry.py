"""Entries of the audit: every byte and every field counts, and the walk names the first one that is wrong."""

import random
from collections.abc import Callable
from hashlib import sha256

import apsw
import pytest

from mesh_protocol.keys import SigningKey
from mesh_protocol.pae import CryptoError, lst, pae, split_signed, u64
from meshd.audit_entry import (
    BEGUN,
    FIRST,
    NOTHING,
    Broken,
    Deed,
    Entry,
    Known,
    Walk,
    hash_entry,
    read_entry,
    write_checkpoint,
    write_entry,
)
from meshd.store import audit as store
from meshd.store.schema import MIGRATIONS

KEY = SigningKey.from_seed(bytes(range(32)))
OTHER = SigningKey.from_seed(bytes(32))
FIELDS = 11


def deed(number: int, *, outcome: str = "done", began: int = 0) -> Deed:
    target = (("peer", f"peer-{number}"), ("policy", "hold"))
    return Deed(1_000 + number, "person", "user", "trust.set", "team", target, outcome, began)


def write_log(count: int) -> list[tuple[int, bytes]]:
    last, entries = None, []
    for number in range(count):
        done = store.opening(FIRST, 1_000, 7, "") if number == 0 else deed(number)
        entry = write_entry(KEY, last, done)
        last = entry.known
        entries.append((entry.seq, entry.data))
    return entries


LOG = write_log(6)
NEWEST = read_entry(LOG[-1][1], KEY.public)


def first_wrong(rows: list[tuple[int, bytes]], kept: Entry | None = NEWEST) -> int:
    walk = Walk(KEY.public, kept)
    with pytest.raises(Broken) as caught:
        walk.take(rows)
        walk.finish()
    return caught.value.seq


def test_what_is_written_is_read() -> None:
    entry = write_entry(KEY, Known(4, bytes(range(32))), deed(5, outcome=BEGUN, began=3))
    assert read_entry(entry.data, KEY.public) == entry
    assert (entry.seq, entry.previous) == (5, bytes(range(32)))


def test_the_bytes_are_those_that_are_described() -> None:
    entry = write_entry(KEY, None, deed(1))
    told = [KEY.public, u64(1), NOTHING, u64(1_001), b"person", b"user", b"trust.set", b"team"]
    message = pae("audit-entry", *told, lst(b"peer", b"peer-1", b"policy", b"hold"), b"done", u64(0))
    assert entry.data == message + KEY.sign(message)
    assert entry.known == Known(1, sha256(entry.data).digest())


def test_a_whole_log_verifies_in_portions_of_any_size() -> None:
    for size in range(1, 7):
        walk = Walk(KEY.public, NEWEST)
        for start in range(0, len(LOG), size):
            walk.take(LOG[start : start + size])
        walk.finish()
        assert (walk.count, walk.since_ms) == (6, 1_000)
        assert walk.last == NEWEST.known


def test_a_log_that_grew_behind_its_copy_verifies() -> None:
    for _, data in LOG:
        walk = Walk(KEY.public, read_entry(data, KEY.public))
        walk.take(LOG)
        walk.finish()


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("field", range(FIELDS))
def test_a_changed_field_is_found_at_its_entry(place: int, field: int) -> None:
    number, data = LOG[place]
    fields, _, signature = split_signed(data, "audit-entry", FIELDS, 64)
    mutants = [bytes([fields[field][0] ^ 1]) + fields[field][1:]] if fields[field] else []
    mutants += [fields[field] + b"\0", fields[field][:-1], fields[(field + 1) % FIELDS]]
    tried = 0
    for mutant in mutants:
        if mutant == fields[field]:
            continue
        tried += 1
        changed = pae("audit-entry", *fields[:field], mutant, *fields[field + 1 :])
        for sig in (signature, OTHER.sign(changed), signature[:-1] + bytes([signature[-1] ^ 1])):
            assert first_wrong([*LOG[:place], (number, changed + sig), *LOG[place + 1 :]]) == number
    assert tried >= 2


def test_every_flipped_bit_and_every_cut_of_an_entry_is_found() -> None:
    number, data = LOG[2]
    rng = random.Random(1)
    for _ in range(400):
        place = rng.randrange(len(data))
        flipped = data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
        assert first_wrong([*LOG[:2], (number, flipped), *LOG[3:]]) == number
    for end in range(len(data)):
        with pytest.raises(CryptoError):
            read_entry(data[:end], KEY.public)
    with pytest.raises(CryptoError):
        read_entry(data + b"\0", KEY.public)


@pytest.mark.parametrize("place", range(6))
def test_a_dropped_entry_is_found_where_it_is_missing(place: int) -> None:
    rows = [*LOG[:place], *LOG[place + 1 :]]
    assert first_wrong(rows) == place + 1
    renumbered = [(number, data) for number, (_, data) in enumerate(rows, 1)]
    assert first_wrong(renumbered) == place + 1


@pytest.mark.parametrize("place", range(5))
def test_swapped_entries_are_found(place: int) -> None:
    (one, first), (two, second) = LOG[place : place + 2]
    assert first_wrong([*LOG[:place], (one, second), (two, first), *LOG[place + 2 :]]) == place + 1
    assert first_wrong([*LOG[:place], (two, second), (one, first), *LOG[place + 2 :]]) == place + 1


@pytest.mark.parametrize("count", range(6))
def test_a_log_without_its_end_is_found(count: int) -> None:
    assert first_wrong(LOG[:count]) == count + 1


def test_a_log_without_its_copy_is_found() -> None:
    assert first_wrong(LOG, None) == 7


def test_a_doubled_entry_is_found() -> None:
    assert first_wrong([*LOG[:3], LOG[2], *LOG[3:]]) == 4
    assert first_wrong([*LOG[:3], (4, LOG[2][1]), *LOG[3:]]) == 4


def test_another_history_by_the_same_key_is_not_the_one_that_was_kept() -> None:
    """Whoever has the key can write a log anew; then the copy beside the keys tells."""
    first = write_entry(KEY, None, store.opening(FIRST, 1_000, 7, ""))
    rows, last = [(1, first.data)], first.known
    for number in range(1, 6):
        entry = write_entry(KEY, last, deed(number + 10))
        rows.append((entry.seq, entry.data))
        last = entry.known
    assert first_wrong(rows) == 6


def test_a_log_must_begin_with_its_first_entry() -> None:
    entry = write_entry(KEY, None, deed(1))
    assert first_wrong([(1, entry.data)], entry) == 1
    again = write_entry(KEY, NEWEST.known, store.opening(FIRST, 1_000, 7, ""))
    assert first_wrong([*LOG, (7, again.data)], again) == 7


def test_another_devices_log_is_refused() -> None:
    entry = write_entry(OTHER, None, store.opening(FIRST, 1_000, 7, ""))
    with pytest.raises(CryptoError, match="another device"):
        read_entry(entry.data, KEY.public)


def test_an_entry_is_bounded_whatever_was_asked_for() -> None:
    wide = Deed(
        1, "x" * 64, "agent", "a" * 64, "m" * 64, tuple((f"field{n}", "\U0001f600" * 5_000) for n in range(4)), "done"
    )
    assert read_entry(write_entry(KEY, None, wide).data, KEY.public).deed.target[0][1] == "\U0001f600" * 200
    huge = write_entry(KEY, None, Deed(1, "x" * 20_000, "agent", "op", "", (), "done"))
    with pytest.raises(CryptoError, match="longer"):
        read_entry(huge.data, KEY.public)


@pytest.fixture
def db() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    for script in MIGRATIONS:
        connection.execute(script)
    return connection


def read_all(db: apsw.Connection) -> list[tuple[int, bytes]]:
    return store.read_after(db, 0, 100)


def test_the_log_opens_with_its_first_entry(db: apsw.Connection) -> None:
    entry = store.append(db, KEY, deed(1), None, 7)
    assert entry.seq == 2
    walk = Walk(KEY.public, entry)
    walk.take(read_all(db))
    walk.finish()


CUTS: list[Callable[[apsw.Connection], object]] = [
    lambda db: db.execute("DELETE FROM audit WHERE seq=4"),
    lambda db: db.execute("DELETE FROM audit WHERE seq>2"),
    lambda db: db.execute("DELETE FROM audit"),
    lambda db: db.execute("UPDATE audit SET entry=(SELECT entry FROM audit WHERE seq=3) WHERE seq=4"),
]


@pytest.mark.parametrize("cut", CUTS)
def test_what_is_cut_off_while_the_daemon_runs_stays_visible_though_the_log_goes_on(
    db: apsw.Connection, cut: Callable[[apsw.Connection], object]
) -> None:
    entry = store.append(db, KEY, deed(1), None, 7)
    for number in range(2, 4):
        entry = store.append(db, KEY, deed(number), entry.known, 7)
    cut(db)
    known = entry.known
    for number in range(9, 15):
        entry = store.append(db, KEY, deed(number), known, 7)
        known = entry.known
    walk = Walk(KEY.public, entry)
    with pytest.raises(Broken) as caught:
        walk.take(read_all(db))
    assert caught.value.seq <= 4


def test_a_log_that_begins_anew_knows_of_no_gap_in_the_old_one(db: apsw.Connection) -> None:
    entry = store.append(db, KEY, deed(1), None, 7)
    db.execute("DELETE FROM audit")
    store.append(db, KEY, deed(2), entry.known, 7)
    assert store.read_gap(db)
    store.forget_all(db)
    assert (store.read_gap(db), read_all(db)) == (0, [])


def test_rows_are_read_from_both_ends(db: apsw.Connection) -> None:
    for number in range(1, 5):
        store.append(db, KEY, deed(number), None, 7)
    assert [number for number, _ in store.read_before(db, 5, 3)] == [4, 3, 2]
    assert [number for number, _ in store.read_after(db, 2, 2)] == [3, 4]
    last = store.read_last(db)
    assert last is not None
    assert (last[0].seq, last[0].hash) == (5, hash_entry(last[1]))


def log_from(checkpoint: Entry) -> list[tuple[int, bytes]]:
    """The end of LOG behind its third entry, for which a checkpoint stands."""
    return [(checkpoint.seq, checkpoint.data), *LOG[3:]]


REPLACED = Known(3, hash_entry(LOG[2][1]))


def test_a_checkpoint_stands_for_what_was_dropped() -> None:
    walk = Walk(KEY.public, NEWEST)
    walk.take(log_from(write_checkpoint(KEY, REPLACED, 2_000, 1_000)))
    walk.finish()
    assert (walk.count, walk.first, walk.since_ms) == (6, 4, 1_000)


def test_what_a_checkpoint_knows_to_be_wrong_is_named() -> None:
    found = Broken(2, "it was changed")
    for _ in range(3):  # each checkpoint hands it on to the next
        rows = log_from(write_checkpoint(KEY, REPLACED, 2_000, 1_000, found))
        with pytest.raises(Broken) as caught:
            Walk(KEY.public, NEWEST).take(rows)
        found = caught.value
        assert (found.seq, found.why) == (2, "it was changed (and was dropped since)")


def test_a_checkpoint_for_another_entry_or_by_another_key_or_elsewhere_is_refused() -> None:
    other = Known(3, bytes(32))
    assert first_wrong(log_from(write_checkpoint(KEY, other, 2_000, 1_000))) == 4
    assert first_wrong(log_from(write_checkpoint(OTHER, REPLACED, 2_000, 1_000))) == 1
    late = write_checkpoint(KEY, Known(7, hash_entry(LOG[5][1])), 2_000, 1_000)
    assert first_wrong([*LOG, (7, late.data)]) == 7
    at_once = write_checkpoint(KEY, Known(1, NOTHING), 2_000, 1_000)
    assert first_wrong([(1, at_once.data)]) == 1


def test_a_walk_may_begin_behind_an_entry_that_is_taken_to_be_right() -> None:
    walk = Walk(KEY.public, NEWEST, REPLACED)
    walk.take(LOG[3:])
    walk.finish()
    with pytest.raises(Broken):
        Walk(KEY.public, NEWEST, Known(3, bytes(32))).take(LOG[3:])
