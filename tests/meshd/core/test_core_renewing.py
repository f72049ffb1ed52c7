"""How often a signer begins an epoch by itself: once after each change that made one, whatever others say."""

from types import SimpleNamespace
from typing import Any

import pytest

from meshd.link.turning import may_renew

ANN, BOB = b"ann", b"bob"


def chain(*words: str) -> list[Any]:
    """Records from the oldest on, each `signer type`; newest first as `may_renew` reads them."""
    return [
        SimpleNamespace(signer=name.encode(), type=kind) for name, _, kind in (word.partition(" ") for word in words)
    ][::-1]


@pytest.mark.parametrize(
    ("records", "may"),
    [
        (["ann genesis", "ann epoch"], True),
        (["bob remove_member", "bob epoch"], True),
        (["ann remove_member", "ann epoch"], True),
        (["bob add_device", "bob revoke_device", "bob epoch", "bob invite_open", "bob add_member"], True),
        (["bob remove_member", "bob epoch", "ann epoch"], False),
        (["bob remove_member", "bob epoch", "ann epoch", "ann invite_open", "bob add_member"], False),
        (["bob remove_member", "bob epoch", "bob epoch"], True),
        (["bob remove_member", "bob epoch", "bob epoch", "ann invite_open", "ann epoch"], False),
        (["ann epoch", "bob remove_member", "bob epoch"], True),
        (["ann invite_open", "bob invite_open"], False),
    ],
)
def test_a_signer_renews_once_after_each_change(records: list[str], may: bool) -> None:
    assert may_renew(chain(*records), ANN) is may  # type: ignore[arg-type]


def test_beyond_what_is_looked_at_nobody_renews() -> None:
    assert may_renew([], BOB) is False  # type: ignore[arg-type]
    assert may_renew(chain("bob epoch"), ANN) is False  # type: ignore[arg-type]
