"""The printed form of a recovery key: read as people copy it, and never wrongly."""

import random
import string

import pytest

from mesh_protocol.keys import SigningKey
from mesh_protocol.pae import BadEncoding
from meshd.recovery import parse_recovery, print_recovery, read_printed

SEED = bytes(range(32))
PRINTED = "AAAQ-EAYE-AUDA-OCAJ-BIFQ-YDIO-B4IB-CEQT-CQKR-MFYY-DENB-WHA5-DYPQ-HIIH"


def test_the_form_stays_as_it_is() -> None:
    assert print_recovery(SEED) == PRINTED
    assert parse_recovery(PRINTED).public == SigningKey.from_seed(SEED).public


@pytest.mark.parametrize(
    "typed",
    [
        PRINTED.lower(),
        PRINTED.replace("-", " "),
        PRINTED.replace("-", ""),
        f"  {PRINTED[:35]}\n {PRINTED[35:]}\r\n",
        PRINTED.replace("O", "0").replace("I", "1").replace("B", "8"),
    ],
)
def test_it_is_read_as_people_write_it(typed: str) -> None:
    assert read_printed(typed) == SEED


def test_every_single_slip_is_found() -> None:
    letters = string.ascii_uppercase + "234567"
    for place, letter in enumerate(PRINTED):
        if letter != "-":
            for other in letters.replace(letter, ""):
                with pytest.raises(BadEncoding):
                    read_printed(PRINTED[:place] + other + PRINTED[place + 1 :])


def test_two_letters_changed_places_are_found() -> None:
    plain = PRINTED.replace("-", "")
    for place in range(len(plain) - 1):
        if plain[place] != plain[place + 1]:
            with pytest.raises(BadEncoding):
                read_printed(plain[:place] + plain[place + 1] + plain[place] + plain[place + 2 :])


@pytest.mark.parametrize(
    "typed", ["", PRINTED[:-1], PRINTED + "A", "x" * 10_000, "é" * 56, "9" * 56, PRINTED[:-1] + "!"]
)
def test_what_is_none_is_refused_and_not_repeated(typed: str) -> None:
    with pytest.raises(BadEncoding) as caught:
        read_printed(typed)
    assert PRINTED[:20] not in str(caught.value)


def test_any_seed_comes_back() -> None:
    chance = random.Random(7)
    for _ in range(200):
        seed = chance.randbytes(32)
        assert read_printed(print_recovery(seed)) == seed
