"""Keys, nonces, salts and times come from outside: nothing in the ground makes its own."""

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "protocol" / "mesh_protocol"
# HPKE's ephemeral key is the one exception: the library makes it inside `Suite.encrypt`, out of sight of this test.
FORBIDDEN = re.compile(
    r"os\.urandom|\brandom\.|import random|\bsecrets\b\.|import secrets|\.generate\(|uuid\.?[14]"
    r"|nacl\.utils|randombytes|SystemRandom|getrandom|time\.time|datetime\.now|monotonic\("
)
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "io" not in path.relative_to(PACKAGE).parts)


def test_the_pattern_finds_what_it_forbids():
    for line in ("os.urandom(32)", "random.choice(x)", "X25519PrivateKey.generate()", "secrets.token_bytes()"):
        assert FORBIDDEN.search(line)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_module_of_the_ground_makes_no_randomness_and_reads_no_clock(path):
    hits = [line for line in path.read_text().splitlines() if FORBIDDEN.search(line)]
    assert hits == []
