"""Files and functions stay small. What is larger is listed with its size, and the list can only shrink."""

import ast
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from source_tree import AROUND, PACKAGES, Source, sample, sources

FILE_LINES = 400
FUNCTION_LINES = 60

LARGER: dict[str, int] = {}
"""path, or path::function -> lines it has now. Take a line out when it is stale; never put one in."""


class Size(NamedTuple):
    name: str
    lines: int
    limit: int


def sizes(source: Source) -> Iterator[Size]:
    """The file and each function, inner ones and methods by their qualified names."""
    yield Size(source.path, source.text.count("\n") + (not source.text.endswith("\n")), FILE_LINES)
    yield from functions(source.path, source.tree, "")


def functions(path: str, node: ast.AST, prefix: str) -> Iterator[Size]:
    for child in ast.iter_child_nodes(node):
        name = prefix
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = f"{prefix}{child.name}"
            if not isinstance(child, ast.ClassDef):
                assert child.end_lineno is not None
                yield Size(f"{path}::{name}", child.end_lineno - child.lineno + 1, FUNCTION_LINES)
            name += "."
        yield from functions(path, child, name)


def verdict(found: list[Size], larger: dict[str, int]) -> list[str]:
    """What is wrong: too large and not listed, grown beyond its entry, or an entry that is not needed any more."""
    said = []
    known = {size.name: size for size in found}
    for size in found:
        listed = larger.get(size.name)
        if listed is None and size.lines > size.limit:
            said.append(f"{size.name} has {size.lines} lines, the limit is {size.limit}: split it by concern")
        elif listed is not None and size.lines > listed:
            said.append(f"{size.name} grew from {listed} to {size.lines} lines: the list of exceptions only shrinks")
    for name, listed in larger.items():
        now = known.get(name)
        if now is None or now.lines <= now.limit:
            said.append(f"{name} is no exception any more: take it out of the list")
        elif now.lines < listed:
            said.append(f"{name} shrank to {now.lines} lines: write that into the list")
    return said


def test_files_and_functions_are_small():
    found = [size for source in sources(*PACKAGES, *AROUND) for size in sizes(source)]
    assert len(found) > 500
    said = verdict(found, LARGER)
    assert not said, "\n" + "\n".join(said)


# The checker itself.


def test_lines_are_counted_with_and_without_a_last_newline():
    assert [size.lines for size in sizes(sample("x.py", "a = 1\nb = 2\n"))] == [2]
    assert [size.lines for size in sizes(sample("x.py", "a = 1\nb = 2"))] == [2]


def test_inner_functions_and_methods_are_found_by_name():
    text = "class A:\n    def b(self):\n        async def c():\n            pass\n\ndef d(): pass\n"
    assert [(size.name, size.lines) for size in sizes(sample("x.py", text))][1:] == [
        ("x.py::A.b", 3),
        ("x.py::A.b.c", 2),
        ("x.py::d", 1),
    ]


@pytest.mark.parametrize(
    ("lines", "listed", "said"),
    [
        (60, {}, []),
        (61, {}, ["has 61 lines, the limit is 60"]),
        (70, {"x.py::f": 70}, []),
        (71, {"x.py::f": 70}, ["grew from 70 to 71"]),
        (69, {"x.py::f": 70}, ["shrank to 69"]),
        (60, {"x.py::f": 70}, ["no exception any more"]),
        (10, {"x.py::gone": 70}, ["no exception any more"]),
    ],
)
def test_the_list_of_exceptions_only_shrinks(lines, listed, said):
    source = sample("x.py", "def f():\n" + "    pass\n" * (lines - 1))
    found = verdict([*sizes(source)], listed)
    assert len(found) == len(said)
    assert all(expected in text for expected, text in zip(said, found, strict=True))


def test_a_file_that_is_too_long_is_said():
    [said] = verdict([*sizes(sample("x.py", "a = 1\n" * 401))], {})
    assert "x.py has 401 lines, the limit is 400" in said
