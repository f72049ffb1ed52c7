"""Counts the test vectors and prints how many there are of what. Ends with 1 when there are fewer of our own than promised."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
OWN: Final = ROOT / "protocol/mesh_protocol/vectors"
PUBLIC: Final = ROOT / "tests/vectors/rfc.json"
EDGES: Final = ROOT / "tests/vectors/edges.json"
LEAST_OWN: Final = 200
PARTS: Final = frozenset({("membership", "pool"), ("forks", "records"), ("verifying", "words")})
"""Lists that cases are put together from."""
SINGLE: Final = frozenset({("hello", "client"), ("hello", "broker"), ("hello", "admission"), ("invite", "request")})
"""Vectors that stand alone."""


def count_rows(path: Path) -> int:
    """The vectors of one file."""
    content: Mapping[str, object] = json.loads(path.read_text(encoding="utf-8"))
    rows = 0
    for name, value in content.items():
        if isinstance(value, list) and (path.stem, name) not in PARTS:
            rows += len(value)
        elif (path.stem, name) in SINGLE:
            rows += 1
        elif isinstance(value, dict):  # a section of rfc.json, with its source beside the lists
            rows += sum(len(each) for each in value.values() if isinstance(each, list))
    return rows


def count_own() -> dict[str, int]:
    """Of each file of frozen vectors but the frames', which the second implementation does not read."""
    return {path.stem: count_rows(path) for path in sorted(OWN.glob("*.json")) if path.stem != "wire"}


def main() -> int:
    own = count_own()
    for name, rows in own.items():
        print(f"{rows:6} {name}")
    print(f"{sum(own.values()):6} of our own, read by both implementations")
    print(f"{count_rows(OWN / 'wire.json'):6} of frames and calls")
    print(f"{count_rows(PUBLIC):6} of RFC 8032, 7748, 5869, 4231, 8439 and 9180")
    print(f"{count_rows(EDGES):6} at the edges of the primitives")
    return 0 if sum(own.values()) >= LEAST_OWN else 1


if __name__ == "__main__":
    sys.exit(main())
