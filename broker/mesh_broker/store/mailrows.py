"""Mailbox rows, inside the writer's transactions: accepting envelopes, and giving their room back."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import apsw

from mesh_broker.store.interface import Accepted, Mail, MailKey, Place, Quota
from mesh_protocol.crashpoints import Reached
from mesh_protocol.ids import MemberId, MeshId

_LANES: Final = "lane IN (0, 1, 2)"  # lets the (device, lane, mseq) index serve a range over all lanes
SELECT_ACCEPTED: Final = "SELECT seq, at_ms FROM dedupe WHERE sender = ? AND device = ? AND msg_id = ? AND attempt = ?"


class Tail:
    """What the envelopes of one message to many share: stored with the first that is accepted, counted with all."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self._data = data
        self._no: int | None = None
        self._uses = 0

    def use(self, connection: apsw.Connection) -> int | None:
        """The number of its row; None where there is nothing to share."""
        if not self._data:
            return None
        if self._no is None:
            connection.execute("INSERT INTO shared (uses, data) VALUES (0, ?)", (self._data,))
            self._no = connection.last_insert_rowid()
        self._uses += 1
        return self._no

    def count(self, connection: apsw.Connection) -> None:
        """Note how many use it; the last thing done with it."""
        if self._no is not None:
            connection.execute("UPDATE shared SET uses = ? WHERE no = ?", (self._uses, self._no))


def read_accepted(connection: apsw.Connection, key: MailKey) -> Accepted | None:
    """When this envelope was accepted, if it was."""
    rows = _rows(connection, SELECT_ACCEPTED, *key)
    return Accepted(*rows[0]) if rows else None


def accept_mail(
    connection: apsw.Connection,
    mesh: MeshId,
    mail: Mail,
    tail: Tail,
    quota: Quota,
    at_ms: int,
    place: Place | None,
    reached: Reached,
) -> Accepted | str:
    """Keep one envelope; or the code of its refusal, and then nothing is changed."""
    known = read_accepted(connection, mail.key)
    if known is not None:
        return known
    if place is not None and not place.begin():
        return "out_of_turn"
    key, envelope = mail.key, mail.envelope
    size = len(envelope) + tail.size
    mseq = _take_room(connection, mail, size, quota)
    if mseq is None:
        if place is not None:
            place.refuse()
        return "mailbox_full"
    rows = _rows(connection, "UPDATE mesh SET accepted = accepted + 1 WHERE id = ? RETURNING accepted", mesh)
    accepted = Accepted(int(rows[0][0]), at_ms)
    connection.execute(
        "INSERT INTO dedupe (sender, device, msg_id, attempt, seq, at_ms) VALUES (?, ?, ?, ?, ?, ?)",
        (*key, *accepted),
    )
    reached("FP-08")
    shared = tail.use(connection)
    connection.execute(
        "INSERT INTO mail (device, lane, mseq, sender, member, expires_ms, size, envelope, shared)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (key.box, mail.lane, mseq, key.sender, mail.member, mail.expires_ms, size, envelope, shared),
    )
    return accepted


def _take_room(connection: apsw.Connection, mail: Mail, size: int, quota: Quota) -> int | None:
    """The mailbox's next number, with rows and bytes counted; None when it is full, or the sender's part of it."""
    box, member = mail.key.box, mail.member
    connection.execute(
        "INSERT INTO share SELECT ?1, ?2, 1, ?3 WHERE ?4 > 0 AND ?3 <= ?5 ON CONFLICT DO UPDATE"
        " SET mail_rows = mail_rows + 1, mail_bytes = mail_bytes + ?3 WHERE mail_rows < ?4 AND mail_bytes + ?3 <= ?5",
        (box, member, size, quota.member_rows, quota.member_bytes),
    )
    if not connection.changes():
        return None
    rows = _rows(
        connection,
        "UPDATE device SET next_mseq = next_mseq + 1, mail_rows = mail_rows + 1, mail_bytes = mail_bytes + ?1"
        " WHERE no = ?2 AND mail_rows < ?3 AND mail_bytes + ?1 <= ?4 RETURNING next_mseq - 1",
        size,
        box,
        quota.rows,
        quota.bytes,
    )
    if rows:
        return int(rows[0][0])
    _give_back(connection, box, {member: (1, size)})
    return None


def release_mail(connection: apsw.Connection, box: int, low: int, high: int) -> int:
    """Delete the envelopes numbered `low` to `high` and give their room back; the number that was there."""
    sql = f"DELETE FROM mail WHERE device = ? AND {_LANES} AND mseq BETWEEN ? AND ? RETURNING member, size, shared"  # noqa: S608
    gone = _rows(connection, sql, box, low, high)
    if not gone:
        return 0
    shares: dict[MemberId, tuple[int, int]] = {}
    tails: Counter[int] = Counter()
    for member, size, shared in gone:
        rows, total = shares.get(member, (0, 0))
        shares[member] = (rows + 1, total + size)
        if shared is not None:
            tails[shared] += 1
    _give_back(connection, box, shares)
    _drop_tails(connection, list(tails.items()))
    connection.execute(
        "UPDATE device SET mail_rows = mail_rows - ?, mail_bytes = mail_bytes - ? WHERE no = ?",
        (len(gone), sum(size for _, size, _ in gone), box),
    )
    return len(gone)


def _give_back(connection: apsw.Connection, box: int, shares: Mapping[MemberId, tuple[int, int]]) -> None:
    """Rows and bytes of members' parts of a mailbox."""
    connection.executemany(
        "UPDATE share SET mail_rows = mail_rows - ?, mail_bytes = mail_bytes - ? WHERE device = ? AND member = ?",
        [(rows, size, box, member) for member, (rows, size) in shares.items()],
    )
    connection.execute("DELETE FROM share WHERE device = ? AND mail_rows = 0", (box,))


def _drop_tails(connection: apsw.Connection, uses: Sequence[tuple[int, int]]) -> None:
    """Fewer envelopes use these: one that none uses is deleted."""
    for no, count in uses:
        connection.execute("UPDATE shared SET uses = uses - ? WHERE no = ?", (count, no))
        connection.execute("DELETE FROM shared WHERE no = ? AND uses <= 0", (no,))


def _rows(connection: apsw.Connection, sql: str, *values: int | bytes) -> list[tuple[Any, ...]]:
    return connection.execute(sql, values).fetchall()
