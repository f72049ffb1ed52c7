"""One figure, its limit, the table that people read and the file that programs read."""

import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` and `baseline` are in `unit`; `against` names what the baseline is.

    `limit` bounds the value or its ratio to the baseline, as `bounds` says; None: no limit, only told.
    """

    name: str
    value: float
    unit: str
    baseline: float
    against: str
    limit: float | None = None
    bounds: Literal["ratio", "value"] = "ratio"
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.value / self.baseline if self.baseline else float("inf")

    @property
    def kept(self) -> bool:
        """Whether the figure is within its limit."""
        if self.limit is None:
            return True
        return (self.ratio if self.bounds == "ratio" else self.value) <= self.limit

    @property
    def limit_text(self) -> str:
        if self.limit is None:
            return ""
        return f"≤ {self.limit:.3g}×" if self.bounds == "ratio" else f"≤ {self.limit:.3g} {self.unit}"


def write_table(figures: Iterable[Figure]) -> str:
    """The table that is printed."""
    heads = ("figure", "value", "baseline", "ratio", "limit", "baseline is")
    rows = [
        (
            ("" if each.kept else "! ") + each.name,
            f"{each.value:.3g} {each.unit}",
            f"{each.baseline:.3g}",
            f"{each.ratio:.2f}",
            each.limit_text,
            each.against,
        )
        for each in figures
    ]
    widths = [max(len(row[place]) for row in (heads, *rows)) for place in range(len(heads))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (heads, *rows)
    ]
    return "\n".join((lines[0], "-" * max(map(len, lines)), *lines[1:]))


def write_results(path: Path, machine: Mapping[str, object], figures: Iterable[Figure]) -> None:
    """The document: machine, and a row for each figure."""
    rows = [
        {
            "name": each.name,
            "value": round(each.value, 6),
            "unit": each.unit,
            "baseline": round(each.baseline, 6),
            "ratio": round(each.ratio, 4) if each.baseline else None,
            "against": each.against,
            "limit": each.limit,
            "bounds": each.bounds if each.limit is not None else None,
            "kept": each.kept,
            "note": each.note,
        }
        for each in figures
    ]
    path.write_text(
        json.dumps({"machine": machine, "results": rows}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def describe_machine(folder: Path, python: str) -> dict[str, object]:
    """Where this was measured; `folder` is where the databases lay, `python` the measured interpreter's version."""
    return {
        "system": platform.platform(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": python,
        "filesystem": _filesystem(folder),
        "load_at_start": [round(each, 2) for each in os.getloadavg()],
    }


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _filesystem(folder: Path) -> str:
    """The type of the file system of `folder`: a commit costs nothing on tmpfs, so a reader has to know."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    mounts = [line.split()[1:3] for line in lines]
    inside = [(len(place), kind) for place, kind in mounts if folder.resolve().is_relative_to(place)]
    return max(inside)[1] if inside else ""
