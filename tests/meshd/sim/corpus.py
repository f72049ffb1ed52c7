"""Seeds that once failed, and what was wrong. A seed's history changes with the simulator and with what it simulates, so an
old one may not meet its bug again; each bug has a test of its own beside this, named here."""

from typing import Final, NamedTuple


class Bug(NamedTuple):
    """`faults` none: the seed's own. `test` is where the bug is held down for good."""

    seed: int
    faults: frozenset[str] | None
    what: str
    test: str


CORPUS: Final = (
    Bug(
        17,
        None,
        "a session that was resumed before the daemon had noticed the end of its old process came in as a second session,"
        " with another name and an empty inbox",
        "tests/meshd/simulator/test_sim_found.py",
    ),
)
