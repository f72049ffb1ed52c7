"""Which conversation a request belongs to, on which branch, after which request. In the writer's transaction.

A history that begins with another request's whole history follows that request. The second answer to one request's history
makes a branch; the same request again after a failure does not. A history without a beginning that is known starts a
conversation, or, in a session that has one, a branch: `compact_HHMMSS` where it goes on after a compaction.
"""

import hashlib
from typing import Final, NamedTuple

import apsw

from meshd.services.proxy.asked import Kind, Source
from meshd.services.proxy.entries import Entry, guess_source, local_clock

MAIN: Final = "main"
MAX_BACK: Final = 4096
"""Prefixes of one history that are looked for."""
PROMPT_MS: Final = 30_000
"""How long after its prompt was written a sub-task without a name may begin."""


class Place(NamedTuple):
    """`parent` is the row of the request it follows; `linked` says how that is known."""

    conversation: str
    branch: str
    parent: int | None
    linked: str


class _Found(NamedTuple):
    row: int
    conversation: str
    branch: str
    answered: bool
    children: int
    parent: int | None


def place(tx: apsw.Connection, entry: Entry) -> tuple[Entry, Place]:
    """Where the request belongs; the entry comes back with what was guessed. Nothing is written."""
    entry = _guess_task(tx, entry)
    scope = scope_of(entry)
    by = entry.source or Source.CONTENT.value
    if entry.kind not in (Kind.TURN, Kind.SUMMARY):
        found = _longest(tx, scope, entry.chain) if entry.chain else None
        conversation = entry.session or (found.conversation if found is not None else "")
        branch = found.branch if found is not None else ""
        return entry, Place(conversation, branch, found.row if found is not None else None, by if conversation else "")
    if not entry.chain:
        branch = MAIN if entry.source == Source.TRANSCRIPT else ""
        return entry, Place(entry.session, branch, None, by if entry.session else "")
    same = _at(tx, scope, entry.chain[-1])
    if same is not None and not same.answered:
        return entry, Place(same.conversation, same.branch, same.parent, by)
    parent = _longest(tx, scope, entry.chain[:-1])
    if parent is None:
        return entry, _root(tx, entry, by)
    if parent.children and entry.kind == Kind.TURN:
        name = _free_name(tx, parent.conversation, entry, f"branch_{local_clock(entry.started_ms)}")
        return entry, Place(parent.conversation, name, parent.row, by)
    return entry, Place(parent.conversation, parent.branch, parent.row, by)


def note_place(tx: apsw.Connection, entry: Entry, placed: Place, row: int) -> None:
    """Remember the request for those that follow it."""
    if placed.conversation and placed.branch:
        tx.execute(
            "INSERT OR IGNORE INTO branch(conversation, name, agent, start, origin) VALUES(?,?,?,?,?)",
            (placed.conversation, placed.branch, entry.agent, row, placed.parent),
        )
    if entry.kind != Kind.TURN or not entry.chain:
        return
    known = _at(tx, scope_of(entry), entry.chain[-1])
    again = known is not None and not known.answered and known.parent == placed.parent
    if placed.parent is not None and not again:
        tx.execute("UPDATE request SET children = children + 1 WHERE row=?", (placed.parent,))
    tx.execute(
        "INSERT INTO history(scope, chain, request, seen_ms) VALUES(?,?,?,?) ON CONFLICT(scope, chain) DO UPDATE SET"
        " request=excluded.request, seen_ms=excluded.seen_ms",
        (scope_of(entry), entry.chain[-1], row, entry.started_ms),
    )
    written_ms = entry.started_ms + max(0, round(entry.total_ms))
    for mark in entry.started:
        tx.execute("INSERT OR REPLACE INTO prompt(mark, request, at_ms) VALUES(?,?,?)", (mark, row, written_ms))


def scope_of(entry: Entry) -> str:
    """Histories are compared within it alone: an agent of a session, else an account."""
    return f"{entry.session}|{entry.agent}" if entry.session else f"@{entry.account}"


def _root(tx: apsw.Connection, entry: Entry, by: str) -> Place:
    if not entry.session:
        seed = entry.chain[-1] + entry.started_ms.to_bytes(8, "little")
        made = hashlib.blake2b(seed, digest_size=16, person=b"mesh-talk").hexdigest()
        while tx.execute("SELECT 1 FROM conversation WHERE id=?", (made,)).fetchone():
            made = hashlib.blake2b(made.encode(), digest_size=16, person=b"mesh-talk").hexdigest()
        return Place(made, MAIN, None, by)
    begun = tx.execute(
        "SELECT 1 FROM branch WHERE conversation=? AND agent=? LIMIT 1", (entry.session, entry.agent)
    ).fetchone()
    if not begun:
        return Place(entry.session, MAIN, None, by)
    if not entry.continued:
        return Place(
            entry.session, _free_name(tx, entry.session, entry, f"root_{local_clock(entry.started_ms)}"), None, by
        )
    name = _free_name(tx, entry.session, entry, f"compact_{local_clock(entry.started_ms)}")
    summary = tx.execute(
        "SELECT row FROM request WHERE conversation=? AND kind='summary' AND agent=? ORDER BY row DESC LIMIT 1",
        (entry.session, entry.agent),
    ).fetchone()
    return Place(entry.session, name, summary[0] if summary else None, by)


def _free_name(tx: apsw.Connection, conversation: str, entry: Entry, wanted: str) -> str:
    """`wanted`, or with a number behind it where branches begin in the same second."""
    found = tx.execute(
        "SELECT count(*) FROM branch WHERE conversation=? AND agent=? AND name >= ? AND name < ?",
        (conversation, entry.agent, wanted, f"{wanted}`"),  # a backtick follows the underscore before a number
    ).fetchone()
    return wanted if not found or not found[0] else f"{wanted}_{found[0] + 1}"


def _guess_task(tx: apsw.Connection, entry: Entry) -> Entry:
    """A request that names no session and begins with the prompt of a sub-task that was just started is that sub-task."""
    if entry.session or not entry.prompt or entry.kind != Kind.TURN:
        return entry
    found = tx.execute("SELECT request, at_ms FROM prompt WHERE mark=?", (entry.prompt,)).fetchone()
    of = tx.execute("SELECT session, conversation FROM request WHERE row=?", found[:1]).fetchone() if found else None
    if not found or not of:
        return entry
    guessed = guess_source(entry, of[0] or of[1], f"task-{entry.prompt.hex()[:8]}")
    if 0 <= entry.started_ms - found[1] <= PROMPT_MS or _longest(tx, scope_of(guessed), entry.chain[:-1]) is not None:
        return guessed
    return entry


def _longest(tx: apsw.Connection, scope: str, chain: list[bytes]) -> _Found | None:
    """The request with the longest history that `chain` begins with. The nearest are looked for first, many at once:
    each statement costs the writer a turn in the interpreter."""
    links = chain[-MAX_BACK:]
    end = len(links)
    while end > 0:
        near = end == len(links)
        sought = links[max(0, end - (NEAR if near else FAR)) : end]
        end -= len(sought)
        padded = (scope, *sought, *[b""] * ((NEAR if near else FAR) - len(sought)))
        known = {row[0]: row[1:] for row in tx.execute(_SOME_NEAR if near else _SOME_FAR, padded)}
        for link in reversed(sought):
            if link in known:
                return _found(known[link])
    return None


def _at(tx: apsw.Connection, scope: str, link: bytes) -> _Found | None:
    row = tx.execute(f"{_KNOWN} AND h.chain=?", (scope, link)).fetchone()
    return _found(row[1:]) if row else None


def _found(row: tuple[object, ...]) -> _Found:
    found = _Found(*row)  # type: ignore[arg-type]  # the columns of the statements below
    return found._replace(answered=bool(found.answered))


NEAR: Final = 4
"""A turn adds a few messages to the one that it follows."""
FAR: Final = 64
_KNOWN: Final = (
    "SELECT h.chain, r.row, r.conversation, r.branch, r.status BETWEEN 200 AND 299 AND NOT r.partial, r.children, r.parent"
    " FROM history h JOIN request r ON r.row = h.request WHERE h.scope=?"
)
_SOME_NEAR: Final = f"{_KNOWN} AND h.chain IN ({','.join('?' * 4)})"
_SOME_FAR: Final = f"{_KNOWN} AND h.chain IN ({','.join('?' * 64)})"
