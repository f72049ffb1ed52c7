"""SQL is constant text with `?` for every value.

What an f-string puts into it, what is joined to it and what reaches `execute` must itself be made of constants: literals,
module constants, names that are bound to such only. Everything else is listed with its reason.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from source_tree import Finding, Source, report, sample, sources

WHY = "SQL that is put together from values can be made to say something else: bind the value with ?"
SQL = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE|CREATE|DROP|ALTER|PRAGMA|WITH|BEGIN|SAVEPOINT|VACUUM|ATTACH)\s", re.ASCII
)

RUNNERS = {"execute": 0, "executemany": 0}
"""Methods that take SQL, and which argument it is."""

STORE = "broker/mesh_broker/store/sqlite.py"
ROWS = "broker/mesh_broker/store/mailrows.py"
OWN_RUNNERS = {STORE: {"_run": 0, "_rows": 1, "_row": 1}, ROWS: {"_rows": 1}}
"""The same for functions of one file."""

ALLOWED = {
    ("protocol/mesh_protocol/io/sqlite.py", "migrations[number]"): "the program's own scripts, given at start",
    (STORE, "sql"): "the parameter of _run, _rows and _row, whose callers are judged",
    (ROWS, "sql"): "the parameter of _rows, whose callers are judged",
}
"""What `execute` may be given although it is no constant: (path, expression) -> reason."""

CONSTANT_CALLS = {
    ("meshd/meshd/store/inbox.py", "_filters"): "returns conditions with ? alone, and beside them the values",
}
"""Functions of a file that make SQL of constants and placeholders: (path, name) -> reason."""


def findings(source: Source) -> list[Finding]:
    """Every place of `source` where SQL is made or run that is no constant and not excused."""
    return [finding for finding in found(source) if (finding.path, finding.what.removeprefix("runs ")) not in ALLOWED]


@cache
def found(source: Source) -> tuple[Finding, ...]:
    trusted = {name for path, name in CONSTANT_CALLS if path == source.path}
    return tuple(judged(source, source.tree, Names(source.tree, None, trusted), trusted))


def judged(source: Source, node: ast.AST, names: "Names", trusted: set[str]) -> Iterator[Finding]:
    for child in ast.iter_child_nodes(node):
        inner = names
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inner = Names(source.tree, child, trusted)
        said = None
        if isinstance(child, ast.JoinedStr | ast.BinOp | ast.Call) and starts_like_sql(child):
            said = None if inner.constant(child) else f"SQL made of {ast.unparse(child)[:80]}"
        elif isinstance(child, ast.Call):
            sql = taken(child, source.path)
            if sql is not None and not starts_like_sql(sql) and not inner.constant(sql):
                said = f"runs {ast.unparse(sql)[:80]}"
        if said is not None:
            yield Finding(source.path, child.lineno, said, WHY)
        yield from judged(source, child, inner, trusted)


def taken(call: ast.Call, path: str) -> ast.expr | None:
    """The SQL argument of a call that takes one."""
    runners = RUNNERS | OWN_RUNNERS.get(path, {})
    place = runners.get(ast.unparse(call.func).rpartition(".")[2])
    if place is None or len(call.args) <= place:
        return None
    return call.args[place]


def starts_like_sql(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=str() as text):
            return SQL.match(text) is not None
        case ast.JoinedStr(values=[first, *_]):
            return starts_like_sql(first)
        case ast.BinOp(left=left):
            return starts_like_sql(left)
        case ast.Call(func=ast.Attribute(value=value, attr="format" | "join")):
            return starts_like_sql(value)
        case _:
            return False


class Names:
    """What the names that a function sees are bound to."""

    def __init__(self, module: ast.Module, function: ast.AST | None, trusted: set[str]) -> None:
        self._trusted = trusted
        self._bound: dict[str, list[ast.expr | None]] = {}
        for statement in module.body:
            self._bind(statement)
        if function is None:
            return
        outer, self._bound = self._bound, {}
        for node in ast.walk(function):
            if isinstance(node, ast.arg):
                self._bound.setdefault(node.arg, []).append(None)
            self._bind(node)
        self._bound = outer | self._bound

    def _bind(self, node: ast.AST) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._note(target, value)
            case ast.AnnAssign(target=target, value=value) | ast.AugAssign(target=target, value=value):
                self._note(target, value)
            case ast.For(target=target, iter=values) | ast.comprehension(target=target, iter=values):
                self._note(target, values)
            case ast.NamedExpr(target=target, value=value):
                self._note(target, value)

    def _note(self, target: ast.expr, value: ast.expr | None) -> None:
        match target, value:
            case ast.Tuple(elts=targets), ast.Tuple(elts=values) if len(targets) == len(values):
                for each, bound in zip(targets, values, strict=True):
                    self._note(each, bound)
            case ast.Tuple(elts=targets), _:  # parts of a constant are constants
                for each in targets:
                    self._note(each, value)
            case ast.Starred(value=inner), _:
                self._note(inner, value)
            case ast.Name(id=name), _:
                self._bound.setdefault(name, []).append(value)

    def constant(self, node: ast.AST | None, depth: int = 0) -> bool:
        """Whether `node` can only be made of what stands in the source."""
        if node is None or depth > 8:
            return False
        deeper = depth + 1
        match node:
            case ast.Constant():
                return True
            case ast.Name(id=name):
                bound = self._bound.get(name)
                return bool(bound) and all(self.constant(value, deeper) for value in bound)
            case ast.JoinedStr(values=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
                return all(self.constant(part, deeper) for part in parts)
            case ast.FormattedValue(value=value) | ast.Starred(value=value):
                return self.constant(value, deeper)
            case ast.BinOp(left=left, right=right):
                return self.constant(left, deeper) and self.constant(right, deeper)
            case ast.IfExp(body=body, orelse=orelse):
                return self.constant(body, deeper) and self.constant(orelse, deeper)
            case ast.Subscript(value=value):
                return self.constant(value, deeper)
            case ast.Call(
                func=ast.Attribute(value=joiner, attr="join" | "format" | "split" | "partition"),
                args=args,
                keywords=keywords,
            ):
                given = [*args, *(keyword.value for keyword in keywords)]
                return all(self.constant(part, deeper) for part in [joiner, *given])
            case ast.Call(func=ast.Name(id=name)):
                return name in self._trusted
            case ast.GeneratorExp(elt=element, generators=generators):
                return all(self.constant(each.iter, deeper) for each in generators) and isinstance(
                    element, ast.Constant
                )
            case ast.Attribute(attr="_fields" | "__struct_fields__" | "__slots__"):
                return True  # the names of a record's own fields
            case _:
                return False


def test_sql_is_constant():
    broken = [finding for source in sources() for finding in findings(source)]
    assert not broken, report(broken)


def test_no_sql_is_excused_that_needs_no_excuse():
    said = {(finding.path, finding.what.removeprefix("runs ")) for source in sources() for finding in found(source)}
    assert not ALLOWED.keys() - said, "take these out of the list"
    called = {
        (source.path, node.func.id)
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not CONSTANT_CALLS.keys() - called, "take these out of the list"


def test_there_is_sql_to_judge():
    runs = [
        node
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and taken(node, source.path) is not None
    ]
    assert len(runs) > 50


@pytest.mark.parametrize(
    "text",
    [
        "def f(tx, table): tx.execute(f'DELETE FROM {table}')",
        "def f(tx, name): tx.execute('SELECT a FROM t WHERE b=' + name)",
        "def f(tx, name): tx.execute('SELECT a FROM t WHERE b=%s' % name)",
        "def f(tx, name): tx.execute('SELECT a FROM t WHERE b={}'.format(name))",
        "def f(tx, sql): tx.execute(sql)",
        "def f(tx, name):\n    query = f'SELECT {name} FROM t'\n    tx.execute(query)",
        "def f(tx, name):\n    query = 'SELECT a FROM t'\n    query += name\n    tx.execute(query)",
        "def f(tx, names): tx.execute(f\"SELECT {', '.join(names)} FROM t\")",
        "def f(tx, order):\n    where = 'a=1' if order else order\n    tx.execute(f'SELECT a FROM t WHERE {where}')",
        "def f(tx, n): tx.executemany(f'INSERT INTO t{n} VALUES(?)', [])",
        "def f(tx, name): return f'SELECT {name} FROM t'",
        "def f(tx, name):\n    one, *more = name.split()\n    tx.execute(f'SELECT {more} FROM t')",
        "T = load()\ndef f(tx): tx.execute(f'SELECT a FROM {T}')",
        "def f(tx):\n    for t in tables():\n        tx.execute(f'DROP TABLE {t}')",
    ],
)
def test_sql_made_of_values_is_caught(text):
    assert findings(sample("meshd/meshd/x.py", text))


@pytest.mark.parametrize(
    "text",
    [
        "def f(tx, a): tx.execute('SELECT a FROM t WHERE b=?', (a,))",
        "C = 'a, b'\ndef f(tx): tx.execute(f'SELECT {C} FROM t')",
        "C = ', '.join(('a', 'b'))\ndef f(tx): tx.execute(f'SELECT {C} FROM t')",
        "def f(tx): tx.execute(f\"INSERT INTO t VALUES({','.join('?' * 12)})\")",
        "def f(tx, a):\n    where = 'a=1' if a else 'b=2'\n    tx.execute(f'SELECT a FROM t WHERE {where}')",
        "def f(tx):\n    for t in ('a', 'b'):\n        tx.execute(f'DELETE FROM {t}')",
        "P = ('PRAGMA x', 'PRAGMA y')\ndef f(tx):\n    for p in P:\n        tx.execute(p)",
        "C = Row._fields\ndef f(tx): tx.execute(f\"SELECT {', '.join(C[1:])} FROM t\")",
        "C = 'a, b'\ndef f(tx):\n    _, *names = C.split(', ')\n    tx.execute(f\"SELECT {', '.join(names)} FROM t\")",
        "def f(log, name): log.info(f'selected {name}')\ndef g(name): return 'a ' + name",
    ],
)
def test_honest_sql_passes(text):
    assert not findings(sample("meshd/meshd/x.py", text))


@pytest.mark.parametrize(
    "call", ["self._run(name)", "_rows(connection, name)", "_row(connection, f'SELECT {name} FROM t')"]
)
def test_a_files_own_runners_are_judged(call):
    assert findings(sample(STORE, f"def f(self, connection, name): {call}"))
