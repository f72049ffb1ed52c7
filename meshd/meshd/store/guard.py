"""Rows of the guard: its one passphrase, the tries at it, and the tokens."""

from typing import NamedTuple

import apsw


class GuardRow(NamedTuple):
    """`sealed`: salt and stretched passphrase, under the store key. `tries` failed one after another, the last at
    `last_ms`. Times are epoch milliseconds."""

    sealed: bytes
    since_ms: int
    tries: int = 0
    last_ms: int = 0


class TokenRecord(NamedTuple):
    """A token by its SHA-256; `used_ms` is 0 for one that never was."""

    id: str
    name: str
    hash: bytes
    made_ms: int
    expires_ms: int
    used_ms: int = 0


def read_guard(db: apsw.Connection) -> GuardRow | None:
    """None: the guard is off."""
    row = db.execute("SELECT sealed, since_ms, tries, last_ms FROM guard").fetchone()
    return None if row is None else GuardRow(*row)


def put_guard(tx: apsw.Connection, row: GuardRow) -> None:
    tx.execute("INSERT OR REPLACE INTO guard(one, sealed, since_ms, tries, last_ms) VALUES(1,?,?,?,?)", row)


def drop_guard(tx: apsw.Connection) -> None:
    """With all tokens."""
    tx.execute("DELETE FROM guard")
    tx.execute("DELETE FROM guard_token")


def set_tries(tx: apsw.Connection, tries: int, last_ms: int) -> None:
    tx.execute("UPDATE guard SET tries=?, last_ms=?", (tries, last_ms))


def read_tokens(db: apsw.Connection) -> list[TokenRecord]:
    """The oldest first."""
    query = "SELECT id, name, hash, made_ms, expires_ms, used_ms FROM guard_token ORDER BY made_ms, id"
    return [TokenRecord(*row) for row in db.execute(query)]


def put_token(tx: apsw.Connection, token: TokenRecord) -> None:
    tx.execute("INSERT INTO guard_token(id, name, hash, made_ms, expires_ms, used_ms) VALUES(?,?,?,?,?,?)", token)


def set_used(tx: apsw.Connection, token: str, at_ms: int) -> None:
    tx.execute("UPDATE guard_token SET used_ms=? WHERE id=?", (at_ms, token))


def drop_token(tx: apsw.Connection, token: str) -> None:
    tx.execute("DELETE FROM guard_token WHERE id=?", (token,))
