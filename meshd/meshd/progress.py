"""How far a message of this device got, at each of its recipients and as a whole."""

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple, cast

import apsw

from mesh_protocol.ops.fields import State
from mesh_protocol.ops.messages import Progress, SessionProgress
from meshd.mesh import Mesh
from meshd.store.outbox import DeliveryRow, SessionFact, read_deliveries, read_session_facts

RANK: Final = {"queued": 0, "accepted": 1, "stored": 2, "shown": 3, "turn_started": 4}
MAX_ROWS: Final = 60
"""Recipients in one answer: a header has at most 4,096 elements and 64 KiB, a row some 28 of them and 600 bytes."""
MAX_SESSIONS: Final = 200
"""Sessions of recipients in one answer."""


class HowFar(NamedTuple):
    """A message's progress. `counts`: recipient devices by state; `more`: `recipients` are not all."""

    state: State
    recipients: list[Progress]
    counts: dict[str, int]
    more: bool


def how_far(db: apsw.Connection, mesh: Mesh | None, msg_id: bytes, offset: int = 0) -> HowFar:
    """The progress of a message, its recipients from number `offset` on."""
    rows = read_deliveries(db, msg_id)
    shown = rows[offset : offset + MAX_ROWS]
    facts = read_session_facts(db, msg_id)[:MAX_SESSIONS]
    return HowFar(
        state=least([row.state for row in rows]),
        recipients=[_progress(mesh, row, [fact for fact in facts if fact.device == row.device]) for row in shown],
        counts=dict(Counter(row.state for row in rows)),
        more=offset + len(shown) < len(rows),
    )


def least(states: Sequence[str]) -> State:
    """The state of the whole: an end of any recipient first, else the least that all have reached."""
    ended = [state for state in states if state not in RANK]
    return cast(State, ended[0] if ended else min(states, key=lambda state: RANK[state], default="queued"))


def _progress(mesh: Mesh | None, row: DeliveryRow, facts: Sequence[SessionFact]) -> Progress:
    name = mesh.name_of(row.member) if mesh is not None else row.member.hex()[:8]
    return Progress(
        to=f"{name}/{row.to_session}" if row.to_session else name,
        device=row.device.hex()[:8],
        state=cast(State, row.state),
        path=row.path,
        queued_ms=row.queued_ms,
        accepted_ms=row.accepted_ms,
        stored_ms=row.stored_ms,
        shown_ms=row.shown_ms,
        turn_started_ms=row.turn_ms,
        session=row.session,
        evidence=row.evidence,
        reason=row.reason,
        sessions=[SessionProgress(fact.session, fact.shown_ms, fact.turn_ms, fact.evidence) for fact in facts],
    )
