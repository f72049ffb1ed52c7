"""Fitting a line into the width it has: what is said shorter is said shorter, then the least important goes. Pure."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple
from unicodedata import category, combining, east_asian_width

GAP: Final = " · "
_STYLE: Final = re.compile(r"\x1b\[[0-9;]*m")
"""Select Graphic Rendition (ECMA-48 8.3.117), the only sequences that a line of ours holds."""
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class Part(NamedTuple):
    """One thing a line says. `forms`: the same, ever shorter. The part of the lowest `weight` is the first to go."""

    weight: int
    forms: tuple[str, ...]


def fit(parts: Sequence[Part], columns: int) -> str:
    """The parts in their order, at most `columns` wide (0: as long as it is). Not empty while there is a column."""
    forms = [list(part.forms) for part in parts]
    order = sorted(range(len(parts)), key=lambda place: parts[place].weight)
    shortenings = [place for place in order for _ in forms[place][1:]]
    for place in [*shortenings, *order[:-1]]:
        if not columns or width(_join(forms)) <= columns:
            break
        forms[place].pop(0)
    line = _join(forms)
    return line if not columns or width(line) <= columns else cut(line, columns)


def _join(forms: Sequence[Sequence[str]]) -> str:
    return GAP.join(left[0] for left in forms if left)


def width(text: str) -> int:
    """Columns of a terminal: letters of East Asia take two, combining marks and styles none."""
    plain = _STYLE.sub("", text)
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in plain)


def cut(text: str, columns: int) -> str:
    """`text` without its style, in at most `columns` columns, with an ellipsis for what is missing."""
    plain = _STYLE.sub("", text)
    while plain and width(plain) > columns - 1:
        plain = plain[:-1]
    return plain.rstrip() + "…"


def dim(text: str) -> str:
    """Faint on a terminal that can."""
    return f"\x1b[2m{text}\x1b[22m"


def clean(text: str, most: int) -> str:
    """One word of somebody else's for a line: nothing that moves a cursor or hides, at most `most` characters."""
    kept = "".join(char for char in text if category(char) not in _INVISIBLE).strip()
    return kept if len(kept) <= most else kept[: most - 1] + "…"
