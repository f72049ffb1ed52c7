"""The repository's own Python files, as syntax trees."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("protocol/mesh_protocol", "meshd/meshd", "broker/mesh_broker", "clients/mesh_clients", "clients/bin")
AROUND = ("tests", "tools", "bench")


class Source(NamedTuple):
    """One file: its path from the repository's root, its text, its tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """The dotted name: `mesh_protocol.io.link` for protocol/mesh_protocol/io/link.py."""
        parts = list(Path(self.path).with_suffix("").parts[1:])
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class Finding(NamedTuple):
    """A broken rule: where, what, and why it is a rule."""

    path: str
    line: int
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}. {self.why}"


def sample(path: str, text: str) -> Source:
    """A file that is not there, for a checker's own test."""
    return Source(path, text, ast.parse(text))


@cache
def sources(*folders: str) -> tuple[Source, ...]:
    """The Python files below `folders` (the shipped packages by default)."""
    found = []
    for folder in folders or PACKAGES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and (path.suffix == ".py" or is_script(path)):
                found.append(sample(str(path.relative_to(ROOT)), path.read_text()))
    assert found, f"no files below {folders}"
    return tuple(found)


def is_script(path: Path) -> bool:
    return not path.suffix and path.parent.name == "bin" and path.read_bytes()[:2] == b"#!"


@cache
def imports(source: Source) -> tuple[tuple[int, str, bool], ...]:
    """(line, dotted name, only for types) of every import, wherever it stands; relative ones made absolute.

    `from a import b` counts as a.b, which may be a module. A literal handed to `import_module` counts too.
    """
    return tuple(found_imports(source))


def found_imports(source: Source) -> Iterator[tuple[int, str, bool]]:
    typing = {id(node) for node in only_for_types(source.tree)}
    for node in ast.walk(source.tree):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom():
                base = absolute(source, node)
                names = [f"{base}.{alias.name}" for alias in node.names]
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
                names = [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)]
            case _:
                continue
        for name in names:
            yield node.lineno, name, id(node) in typing


def absolute(source: Source, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = source.module.split(".")
    if not source.path.endswith("__init__.py"):
        package.pop()
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])


def only_for_types(tree: ast.Module) -> Iterator[ast.AST]:
    """Everything below `if TYPE_CHECKING:`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for statement in node.body:
                yield from ast.walk(statement)


def within(name: str, *roots: str) -> bool:
    """Whether `name` is one of `roots` or something in it."""
    return any(name == root or name.startswith(root + ".") for root in roots)


def report(findings: list[Finding]) -> str:
    return "\n".join(["", *map(str, findings)])
