"""Counters and gauges in Prometheus's text format 0.0.4, without its library (53 ms to import, measured).

No label ever holds an id, a name or an address: a scrape tells how much, never who.
"""

from collections.abc import Callable, Mapping
from typing import Final

COUNTERS: Final[Mapping[str, str]] = {
    "connections_total": "connections accepted",
    "connections_refused_total": "connections closed before a hello: bad HTTP, bad frames, deadlines",
    "hellos_total": "hellos answered",
    "hellos_refused_total": "hellos refused",
    "mail_accepted_total": "envelopes accepted",
    "mail_repeated_total": "envelopes that had been accepted before",
    "mail_refused_total": "envelopes refused",
    "mail_pushed_total": "envelopes handed to devices",
    "mail_acked_total": "envelopes acknowledged and deleted",
    "mail_expired_total": "envelopes dropped because they expired",
    "live_published_total": "live frames taken",
    "live_delivered_total": "live frames handed to subscribers",
    "live_shed_total": "live frames dropped because a subscriber was slow",
    "chain_appends_total": "appends to membership chains",
    "chain_conflicts_total": "appends that lost against another",
    "chain_branches_total": "other histories of a chain that were taken in",
    "chain_switches_total": "chains that a resolve replaced by another history",
    "joins_total": "join requests taken",
    "failures_total": "unexpected exceptions",
}

PREFIX: Final = "mesh_broker_"


class Metrics:
    """The counters of one broker, and gauges that are read when asked for."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(COUNTERS, 0)
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}

    def count(self, name: str, by: int = 1) -> None:
        self._counts[name] += by

    def value(self, name: str) -> int:
        return self._counts[name]

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a gauge; `read` is called for each scrape and must not wait."""
        self._gauges[name] = (text, read)

    def text(self) -> str:
        """The exposition."""
        lines: list[str] = []
        for name, count in self._counts.items():
            lines += (f"# HELP {PREFIX}{name} {COUNTERS[name]}", f"# TYPE {PREFIX}{name} counter")
            lines.append(f"{PREFIX}{name} {count}")
        for name, (text, read) in self._gauges.items():
            lines += (f"# HELP {PREFIX}{name} {text}", f"# TYPE {PREFIX}{name} gauge", f"{PREFIX}{name} {read():g}")
        return "\n".join(lines) + "\n"
