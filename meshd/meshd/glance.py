"""What Claude Code tells a status line of its session, as far as we show it. Pure.

The document of 2.1.329 is an object: `model.display_name`, `context_window.used_percentage` (null before the first
answer), `cost.total_cost_usd`. What is missing or of another kind counts as not said.
"""

import json
import math
from typing import Final, NamedTuple

from meshd.fitting import clean

MAX_DOCUMENT: Final = 256 * 1024
"""Bytes beyond which a document is not decoded: it has 4 KiB, and more would hold up every other caller."""
MAX_MODEL: Final = 32
MAX_COST: Final = 1_000_000.0


class Glance(NamedTuple):
    """`context` is the part of the window that is used, in percent; `cost` in US dollars. None and empty: not said."""

    model: str = ""
    context: int | None = None
    cost: float | None = None


NOTHING: Final = Glance()


def read_glance(document: bytes) -> Glance:
    """The session as its standard input describes it; `NOTHING` for what is no such document."""
    if not document or len(document) > MAX_DOCUMENT:
        return NOTHING
    try:
        told: object = json.loads(document)
    except (ValueError, RecursionError):
        return NOTHING
    name = _under(told, "model", "display_name")
    used = _number(_under(told, "context_window", "used_percentage"), 100.0)
    cost = _number(_under(told, "cost", "total_cost_usd"), MAX_COST)
    model = clean(name, MAX_MODEL) if isinstance(name, str) else ""
    return Glance(model, None if used is None else round(used), cost)


def _under(told: object, outer: str, inner: str) -> object:
    found = told.get(outer) if isinstance(told, dict) else None
    return found.get(inner) if isinstance(found, dict) else None


def _number(value: object, most: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(min(value, most))
    return number if math.isfinite(number) and number >= 0 else None
