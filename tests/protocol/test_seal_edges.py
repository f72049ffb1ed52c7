"""Seals at their edges: fields of other sizes, and the least numbers."""

from dataclasses import replace

import pytest

from mesh_protocol.keys import BadEncoding
from mesh_protocol.seals import MAX_SEAL, EpochSeal
from mesh_samples import HERE

LEAST = EpochSeal(HERE.key("bob").public, 1, 0, bytes(32), bytes(16))


def test_the_least_and_the_largest_seal_are_read_back():
    for seal in (LEAST, replace(LEAST, epoch=2**63 - 1, prekey_id=2**63 - 1, ct=bytes(MAX_SEAL))):
        assert EpochSeal.decode(seal.encode()) == seal


@pytest.mark.parametrize(
    "changed",
    [
        {"to_device": bytes(31)},
        {"epoch": 0},
        {"epoch": 2**63},
        {"prekey_id": -1},
        {"prekey_id": 2**63},
        {"enc": bytes(31)},
        {"enc": bytes(33)},
        {"ct": bytes(15)},
        {"ct": bytes(MAX_SEAL + 1)},
    ],
)
def test_a_seal_of_other_parts_is_not_made(changed):
    with pytest.raises(BadEncoding):
        replace(LEAST, **changed)
