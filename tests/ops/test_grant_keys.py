"""The words that commands take are those that the chain and the daemon know."""

from typing import get_args

from mesh_protocol.ops.grants import Grant, Permission
from mesh_protocol.receipt import MAX_REASON
from mesh_protocol.rights import PERMISSIONS
from meshd.grants import GRANTS, MAY_NOT_SEND, NO_BROADCAST, NO_DIRECT, REFUSED


def test_every_permission_of_the_chain_can_be_given_and_taken() -> None:
    assert get_args(Permission) == PERMISSIONS


def test_every_grant_that_is_enforced_can_be_given_and_taken() -> None:
    assert get_args(Grant) == GRANTS


def test_what_a_sender_is_told_fits_a_receipt() -> None:
    for reason in (MAY_NOT_SEND, REFUSED, NO_DIRECT, NO_BROADCAST):
        assert len(reason.encode()) <= MAX_REASON
