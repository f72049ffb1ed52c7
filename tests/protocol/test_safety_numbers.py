"""Safety numbers: the same from both sides, another for every other key set, mesh or pair."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh_protocol.keys import BadEncoding
from mesh_protocol.safety import NUMBER_SIZE, SafetyNumber, parse_code, safety_number
from mesh_samples import ELSEWHERE, HERE

ALICE, BOB = HERE.member("alice"), HERE.member("bob")
KEYS = {name: HERE.key(name).public for name in ("alice", "alice phone", "bob", "bob laptop", "carol")}
NUMBER = safety_number(HERE.mesh_id, ALICE, [KEYS["alice"]], BOB, [KEYS["bob"], KEYS["bob laptop"]])


def test_both_sides_see_the_same_digits_in_whatever_order_the_devices_stand():
    other = safety_number(HERE.mesh_id, BOB, {KEYS["bob laptop"], KEYS["bob"]}, ALICE, (KEYS["alice"],))
    assert other == NUMBER
    assert other.matches(NUMBER)
    assert other.digits == NUMBER.digits


def test_it_is_sixty_digits_in_twelve_groups():
    assert re.fullmatch(r"\d{5}( \d{5}){11}", NUMBER.digits)
    assert SafetyNumber(bytes(60)).digits == " ".join(["00000"] * 12)
    assert SafetyNumber(b"\xff" * 60).digits == " ".join([f"{(2**40 - 1) % 100_000:05d}"] * 12)
    assert SafetyNumber(bytes(4) + b"\x07" + bytes(55)).digits.startswith("00007 00000")


def test_every_other_mesh_member_or_device_gives_another_number():
    bobs = [KEYS["bob"], KEYS["bob laptop"]]
    numbers = {
        safety_number(*arguments).data
        for arguments in (
            (HERE.mesh_id, ALICE, [KEYS["alice"]], BOB, bobs),
            (ELSEWHERE.mesh_id, ALICE, [KEYS["alice"]], BOB, bobs),
            (HERE.mesh_id, HERE.member("carol"), [KEYS["alice"]], BOB, bobs),
            (HERE.mesh_id, ALICE, [KEYS["carol"]], BOB, bobs),
            (HERE.mesh_id, ALICE, [KEYS["alice"], KEYS["alice phone"]], BOB, bobs),
            (HERE.mesh_id, ALICE, [KEYS["alice"]], BOB, bobs[:1]),
            # The same keys, shared out differently.
            (HERE.mesh_id, ALICE, [KEYS["alice"], KEYS["bob"]], BOB, bobs[1:]),
            (HERE.mesh_id, BOB, [KEYS["alice"]], ALICE, bobs),
        )
    }
    assert len(numbers) == 8


def test_a_code_holds_the_whole_number():
    assert parse_code(NUMBER.code) == NUMBER
    changed = SafetyNumber(bytes([NUMBER.data[0] ^ 1]) + NUMBER.data[1:])
    assert not parse_code(changed.code).matches(NUMBER)


@given(st.binary(min_size=NUMBER_SIZE, max_size=NUMBER_SIZE))
@settings(deadline=None)
def test_any_number_goes_through_its_code(data):
    assert parse_code(SafetyNumber(data).code).data == data


@pytest.mark.parametrize(
    "change",
    [
        lambda code: "",
        lambda code: code[:-1],
        lambda code: code + "A",
        lambda code: code + "\n",
        lambda code: " " + code,
        lambda code: code.replace("/1#", "/2#"),
        lambda code: code.upper(),
        lambda code: code[:-1] + "=",
        lambda code: code[:-1] + "+",
        lambda code: code[:-1] + "ä",
    ],
)
def test_what_is_no_code_is_refused(change):
    with pytest.raises(BadEncoding, match="mesh verify"):
        parse_code(change(NUMBER.code))


def test_what_has_no_number():
    for arguments in (
        (HERE.mesh_id, ALICE, [KEYS["alice"]], ALICE, [KEYS["alice"]]),
        (HERE.mesh_id, ALICE, [], BOB, [KEYS["bob"]]),
        (HERE.mesh_id, ALICE, [KEYS["alice"]], BOB, []),
        (HERE.mesh_id, ALICE, [KEYS["alice"], KEYS["alice"]], BOB, [KEYS["bob"]]),
        (HERE.mesh_id, ALICE, [bytes(31)], BOB, [KEYS["bob"]]),
        (HERE.mesh_id, ALICE[:15], [KEYS["alice"]], BOB, [KEYS["bob"]]),
        (bytes(31), ALICE, [KEYS["alice"]], BOB, [KEYS["bob"]]),
    ):
        with pytest.raises(BadEncoding):
            safety_number(*arguments)
    for size in (0, 59, 61):
        with pytest.raises(BadEncoding):
            SafetyNumber(bytes(size))
