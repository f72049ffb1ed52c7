"""Every signed or sealed object, altered in every field and at every byte: none of the alterations is accepted.

The number of random alterations on top of the systematic ones is set by MESH_MUTANTS (per object).
"""

import os
import random

import pytest

from member_targets import all_targets
from mesh_mutations import cross_mutants, mutants, nested_messages, random_mutant
from mesh_protocol.keys import CryptoError
from mesh_targets import contents

RANDOM_MUTANTS = int(os.environ.get("MESH_MUTANTS", "150"))
TARGETS = all_targets()


def refused(check, data, what):
    try:
        check(data)
    except CryptoError:
        return
    pytest.fail(f"accepted: {what}: {data.hex()[:200]}")


@pytest.mark.parametrize("name", TARGETS)
def test_the_unaltered_object_is_accepted(name):
    TARGETS[name].check(TARGETS[name].good)


@pytest.mark.parametrize("name", TARGETS)
def test_no_alteration_of_a_field_is_accepted(name):
    target = TARGETS[name]
    count = 0
    for what, data in mutants(target):
        if data != target.good:
            refused(target.check, data, what)
            count += 1
    assert count >= 90


@pytest.mark.parametrize("name", TARGETS)
def test_no_single_flipped_bit_is_accepted(name):
    target = TARGETS[name]
    for index in range(len(target.good)):
        data = bytearray(target.good)
        data[index] ^= 1 << (index % 8)
        refused(target.check, bytes(data), f"bit {index % 8} of byte {index}")


@pytest.mark.parametrize("name", TARGETS)
def test_no_cut_or_continued_object_is_accepted(name):
    target = TARGETS[name]
    for size in range(0, len(target.good), max(1, len(target.good) // 200)):
        refused(target.check, target.good[:size], f"cut to {size} bytes")
    for tail in (b"\0", bytes(64), target.good):
        refused(target.check, target.good + tail, f"{len(tail)} bytes appended")


@pytest.mark.parametrize("name", TARGETS)
def test_no_other_object_and_no_part_of_one_is_accepted_in_its_place(name):
    target = TARGETS[name]
    count = 0
    for what, data in cross_mutants(target, TARGETS):
        refused(target.check, data, what)
        count += 1
    assert count >= len(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_no_random_alteration_is_accepted(name):
    target = TARGETS[name]
    source = random.Random(name)
    for number in range(RANDOM_MUTANTS):
        data = random_mutant(source, target)
        if data != target.good:
            refused(target.check, data, f"random alteration {number}")


@pytest.mark.parametrize(
    "name",
    ["epoch 2", "add_member 4", "tip", "prekey", "envelope", "epoch seal", "live frame", "group envelope", "fan-out"],
)
def test_another_meshs_and_another_authors_object_is_refused(name):
    target = TARGETS[name]
    refused(target.check, target.foreign, "another mesh's object")
    if name not in ("envelope", "live frame"):  # there, `other` is as valid as `good`
        refused(target.check, target.other, "another author's object")


@pytest.mark.parametrize("layer", ["message", "live frame", "message to many"])
def test_a_recipient_refuses_altered_inner_bytes_sealed_by_someone_who_holds_the_keys(layer):
    count = 0
    for what, check, data in nested_messages(layer):
        refused(check, data, what)
        count += 1
    assert count >= 300


@pytest.mark.parametrize("name", contents())
def test_an_altered_content_is_read_differently_or_refused(name):
    good, decode = contents()[name]
    seen = decode(good)
    for index in range(len(good)):
        data = bytearray(good)
        data[index] ^= 1 << (index % 8)
        try:
            assert decode(bytes(data)) != seen
        except CryptoError:
            continue
    for size in range(len(good)):
        with pytest.raises(CryptoError):
            decode(good[:size])
