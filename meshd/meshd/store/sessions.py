"""Rows of agent sessions: what must survive a restart of the daemon, or come back with `--resume`."""

from typing import NamedTuple

import apsw


class SessionRow(NamedTuple):
    """`profile` is JSON. `start` is the process's start time in the system's own unit. `wish`: the mesh it was started for."""

    key: str
    pid: int
    start: int
    session_id: str
    name: str
    cwd: str
    config_dir: str
    summary: str
    visible: int
    profile: str
    wish: str
    started_ms: int
    ended_ms: int
    mode: str = "push"


def read_sessions(db: apsw.Connection, since_ms: int) -> list[SessionRow]:
    """Sessions that live or ended after `since_ms`, newest last."""
    query = (
        "SELECT key, pid, start, session_id, name, cwd, config_dir, summary, visible, profile, wish, started_ms,"
        " ended_ms, mode"
        " FROM session WHERE ended_ms=0 OR ended_ms>? ORDER BY started_ms LIMIT 1000"
    )
    return [SessionRow(*row) for row in db.execute(query, (since_ms,))]


def put_session(tx: apsw.Connection, row: SessionRow) -> None:
    tx.execute("INSERT OR REPLACE INTO session VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)", row)


def count_unshown(db: apsw.Connection, key: str) -> int:
    """Messages of a session that it was not shown, and that none of its commands printed."""
    row = db.execute("SELECT count(*) FROM inbox WHERE session_key=? AND shown_ms=0 AND read_ms=0", (key,)).fetchone()
    return int(row[0]) if row else 0
