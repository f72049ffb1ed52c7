"""What changes something is audited, and nothing of it that must not be kept."""

import pytest

from mesh_protocol.op import Answer, Request, Tier, op
from mesh_protocol.registry import load_operations

OPERATIONS = load_operations()
GUARDED_READS = {
    "trust.held",
    "grant.list",
    "token.list",
    "backup.check",
    "proxy.env",
    "usage.body",
    "verify.show",
    "link.wait",
}
"""Guarded because of what they show."""
NOT_GUARDED = {
    "session.mode",
    "group.join",
    "group.leave",
    "outbox.cancel",
    "outbox.requeue",
    "usage.import",
    "usage.reprice",
}
"""What an agent, or a person without more ado, may change and what is audited all the same."""
NEVER = {"url", "passphrase", "message", "broker", "upstream", "token", "code"}
"""Fields that hold, or may hold, a secret or a text."""


def test_what_is_guarded_is_audited_unless_it_only_shows() -> None:
    missing = {each.method for each in OPERATIONS.values() if each.guarded and each.audited is None} - GUARDED_READS
    assert not missing, (
        f'say what the audit names of these, as in @op(…, audited=("peer",)): {", ".join(sorted(missing))}'
    )


def test_of_the_rest_exactly_these_are_audited() -> None:
    found = {each.method for each in OPERATIONS.values() if each.audited is not None and not each.guarded}
    assert found == NOT_GUARDED


def test_no_secret_is_named_by_the_audit() -> None:
    for operation in OPERATIONS.values():
        named = set(operation.audited or ())
        assert not named & (NEVER | {operation.payload}), operation.method
        assert len(named) <= 16, f"{operation.method}: an entry has room for 16 fields"


def test_an_operation_cannot_name_a_field_that_it_does_not_have() -> None:
    class Done(Answer, frozen=True):
        """Done."""

    with pytest.raises(ValueError, match="audits a field"):

        @op("test.change", answer=Done, tier=Tier.USER, audited=("peer",))
        class Change(Request, frozen=True):
            """Change something."""

            name: str = ""
