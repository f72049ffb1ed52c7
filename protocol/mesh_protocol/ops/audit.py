"""What was changed on this machine, by whom, and whether that record is whole."""

from typing import Annotated

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op


class AuditRow(Answer, frozen=True):
    """One action. `who` is person or a session's name; `outcome` is done, an error's code, cancelled, "under way", or
    "unfinished" where the daemon died before it could say.

    `entry` is the number of its newest entry, `at_ms` when that was written (Unix epoch milliseconds).
    """

    entry: int
    at_ms: int
    who: str
    tier: str
    operation: str
    mesh: str
    target: str
    outcome: str


class AuditAnswer(Answer, frozen=True):
    """The newest first; `more` says that there are others."""

    rows: list[AuditRow]
    more: bool


@op(
    "audit.list",
    answer=AuditAnswer,
    tier=Tier.USER,
    drops_unknown=True,
    errors=("audit_broken",),
    command=Command("audit", rows="rows", columns=("at_ms", "who", "operation", "mesh", "target", "outcome")),
)
class ListAudit(Request, frozen=True):
    """List what was changed on this machine, and by whom; the newest first."""

    since: Annotated[
        str,
        msgspec.Meta(
            max_length=16, pattern="^([0-9]{1,5}[mhd])?$", description="only of the last 30m, 24h or 7d; default: all"
        ),
    ] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=200, description="how many at most")] = 50


class AuditVerified(Answer, frozen=True):
    """The audit is whole: `entries` were signed since `since_ms`, of which the newest has the hash `newest`. Those before
    `first` were dropped when it was full; a signed checkpoint stands for them.

    A hash that you noted elsewhere shows later that nobody, you included, has written the log anew.
    """

    entries: int
    since_ms: int
    newest: str
    first: int = 1


@op("audit.verify", answer=AuditVerified, tier=Tier.USER, errors=("audit_broken",), command=Command("audit verify"))
class VerifyAudit(Request, frozen=True):
    """Check every entry of the audit and its end; names the first one that is changed or missing."""
