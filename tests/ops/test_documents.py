"""What the documents claim, where a program can tell."""

import dataclasses
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh_broker.limits import _CAPS, Limits
from mesh_clients.cli import own
from mesh_clients.cli.table import VERBS
from mesh_protocol.wire.errors import CODES

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("broker/*.md"),
        *ROOT.glob("protocol/**/*.md"),
    ]
    if path.is_file()
)
COMMANDS = {*VERBS, *own.VERBS}
FIRST_WORDS = {verb.partition(" ")[0] for verb in COMMANDS}
UNITS = {
    "KiB": 1024,
    "MiB": 1024 * 1024,
    "bytes": 1,
    "characters": 1,
    "s": 1000,
    "min": 60_000,
    "days": 86_400_000,
}
"""Sizes in bytes, times in milliseconds."""


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+://", target):
            assert (document.parent / target.partition("#")[0]).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_is_mentioned_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    code = "\n".join([*re.findall(r"`([^`\n]+)`", text), *re.findall(r"^    (.+)$", text, re.MULTILINE)])
    for verb in re.findall(r"(?<![\w/-])mesh ([a-z]+)", code):
        assert verb in FIRST_WORDS, f"{document.name} says mesh {verb}"


def test_every_command_that_an_error_recommends_exists() -> None:
    for code, kind in CODES.items():
        for verb in re.findall(r"(?:run|see) mesh ([a-z]+)", kind.text):
            assert verb in FIRST_WORDS, f"{code} recommends mesh {verb}"


def test_every_command_is_documented() -> None:
    assert {name for _, names in own.ORDER for name in names} == COMMANDS
    assert {*re.findall(r"^### mesh ([a-z]+(?: [a-z]+)?)", read("docs/cli.md"), re.MULTILINE)} == COMMANDS


def test_every_error_code_is_documented() -> None:
    table = read("protocol/mesh_protocol/OPERATIONS.md").partition("## Error codes")[2]
    assert {*re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)} == CODES.keys()


def test_every_exit_status_is_documented() -> None:
    documented = {int(status) for status in re.findall(r"^\| (\d+) \|", read("docs/cli.md"), re.MULTILINE)}
    assert documented == {0, 130, *(kind.exit for kind in CODES.values())}


def rows(text: str, columns: int) -> Iterator[list[str]]:
    """The rows of the tables with so many columns, heads and rules left out."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if line.startswith("| ") and len(cells) == columns and not line.startswith("| ---"):
            yield cells


def test_every_dependency_has_its_line() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    text = read("docs/dependencies.md")
    runtime, _, development = text.partition("## For development")

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[\[<>=~! ]", each)[0] for each in requirements}

    assert {row[0] for row in rows(runtime, 4)} - {"package"} == names(project["dependencies"])
    assert {row[0] for row in rows(development, 3)} - {"package"} == names(project["optional-dependencies"]["dev"])


LIMITS = [row for row in rows(read("docs/limits.md"), 4) if row[0] != "what"]


@pytest.mark.parametrize("row", LIMITS, ids=lambda row: row[0])
def test_a_limit_is_the_one_in_the_code(row: list[str]) -> None:
    _, said, _, name = row
    number, unit = re.match(r"([\d,.]+) ?([A-Za-z]*)", said).groups()  # type: ignore[union-attr]
    value = float(number.replace(",", ""))
    found, name = constant(name.strip("`"))
    if unit in ("s", "min", "days"):
        scale = UNITS[unit] / (1 if name.lower().endswith("_ms") else 86_400_000 if name.endswith("_days") else 1000)
        assert value * scale == pytest.approx(found)
    else:
        assert value * UNITS.get(unit, 1) == found


def constant(path: str) -> tuple[float, str]:
    """The number at a dotted path: a module's constant, or the default of a record's field."""
    holder, _, name = path.rpartition(".")
    try:
        return float(getattr(importlib.import_module(holder), name)), name
    except ModuleNotFoundError:
        module, _, record = holder.rpartition(".")
        kind = getattr(importlib.import_module(module), record)
        if issubclass(kind, tuple):
            return float(kind._field_defaults[name]), name
        return float(next(field.default for field in dataclasses.fields(kind) if field.name == name)), name


def test_every_limit_of_the_broker_is_in_its_manual() -> None:
    manual = read("broker/OPERATING.md").partition("\n## Limits\n")[2].partition("\n## ")[0]
    said = {row[0].strip("`"): (row[1], row[2]) for row in rows(manual, 4) if row[0] != "name"}
    true = {
        field.name: (f"{round(field.default, 4):.10g}", f"{_CAPS[field.name]:.10g}" if field.name in _CAPS else "")
        for field in dataclasses.fields(Limits)
    }
    assert said == true


@pytest.mark.parametrize("document", ["docs/how-to-add-an-operation.md", "README.md"])
def test_the_places_that_are_named_exist(document: str) -> None:
    for place in re.findall(r"`((?:protocol|meshd|broker|clients|tests|tools|docs|bench)/[\w./:-]*)`", read(document)):
        path, _, test = place.partition("::")
        assert (ROOT / path).exists(), f"{document} names {path}"
        if test:
            assert f"def {test}(" in read(path), f"{document} names {place}"


def test_the_readme_names_what_make_can_do() -> None:
    targets = {*re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE)}
    assert {"demo", "test", "check", "bench", "fuzz", "generate", "clean"} <= targets
    assert {*re.findall(r"(?:`|^    )make ([a-z]+)", read("README.md"), re.MULTILINE)} <= targets
