"""SQL is constant text with `?` for every value.

What an f-string puts into it, what is joined to it and what reaches `execute` must itself be made of constants: literals,
module constants, names that are bound to such only. Everything else is listed with its reason.
"""

import ast
import re
from collections.abc import Iterator

import pytest
from source_tree import PACKAGES, Finding, Source, report, sample, sources

WHY = "SQL that is put together from values can be made to say something else: bind the value with ?"
SQL = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE|CREATE|DROP|ALTER|PRAGMA|WITH|BEGIN|SAVEPOINT|VACUUM|ATTACH)\s", re.ASCII
)

RUNNERS = {"execute": 0, "executemany": 0, "_run": 0, "_rows": 1, "_row": 1}
"""Methods and functions that take SQL, and which argument it is."""

ALLOWED = {
    ("protocol/mesh_protocol/io/sqlite.py", "migrations[number]"): "the program's own scripts, given at start",
    ("broker/mesh_broker/store/sqlite.py", "sql"): "the parameter of _run, _rows and _row, whose callers are judged",
}


def findings(source: Source) -> Iterator[Finding]:
    for function, node in expressions(source.tree, source.tree):
        names = Names(source.tree, function)
        if (
            isinstance(node, ast.JoinedStr | ast.BinOp | ast.Call)
            and starts_like_sql(node)
            and not names.constant(node)
        ):
            yield Finding(source.path, node.lineno, f"SQL made of {ast.unparse(node)[:80]}", WHY)
        elif isinstance(node, ast.Call) and (sql := taken(node)) is not None:
            if not names.constant(sql) and not starts_like_sql(sql):
                yield Finding(source.path, node.lineno, f"runs {ast.unparse(sql)[:80]}", WHY)


def excused(source: Source, finding: Finding) -> bool:
    return any(finding.path == path and finding.what == f"runs {text}" for path, text in ALLOWED)


def expressions(node: ast.AST, function: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """(innermost function, node) of every node."""
    for child in ast.iter_child_nodes(node):
        inner = child if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
        yield inner, child
        yield from expressions(child, inner)


def taken(call: ast.Call) -> ast.expr | None:
    """The SQL argument of a call that takes one."""
    name = ast.unparse(call.func).rpartition(".")[2]
    place = RUNNERS.get(name)
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

    def __init__(self, module: ast.Module, function: ast.AST) -> None:
        self._bound: dict[str, list[ast.expr | None]] = {}
        for statement in module.body:
            self._bind(statement)
        self._local: dict[str, list[ast.expr | None]] = {}
        if function is not module:
            outer, self._bound = self._bound, self._local
            for argument in ast.walk(function.args):  # type: ignore[attr-defined]
                if isinstance(argument, ast.arg):
                    self._local.setdefault(argument.arg, []).append(None)
            for statement in ast.walk(function):
                self._bind(statement)
            self._bound = outer

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
            case ast.Tuple(elts=targets), _:
                for each in targets:
                    self._note(each, None)
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
                bound = self._local.get(name) or self._bound.get(name)
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
            case ast.Call(func=ast.Attribute(value=joiner, attr="join" | "format"), args=args, keywords=keywords):
                given = [*args, *(keyword.value for keyword in keywords)]
                return all(self.constant(part, deeper) for part in [joiner, *given])
            case ast.GeneratorExp(elt=element, generators=generators):
                return all(self.constant(each.iter, deeper) for each in generators) and isinstance(
                    element, ast.Constant
                )
            case ast.Attribute(attr="_fields" | "__struct_fields__" | "__slots__"):
                return True  # the names of a record's own fields
            case _:
                return False


def test_sql_is_constant():
    found = [finding for source in sources() for finding in findings(source) if not excused(source, finding)]
    assert not found, report(found)


def test_no_sql_is_excused_that_needs_no_excuse():
    found = {(finding.path, finding.what.removeprefix("runs ")) for source in sources() for finding in findings(source)}
    assert not ALLOWED.keys() - found, "take these out of the list"


def test_there_is_sql_to_judge():
    assert (
        sum(
            isinstance(node, ast.Call) and taken(node) is not None
            for source in sources(*PACKAGES)
            for node in ast.walk(source.tree)
        )
        > 50
    )


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
        "def f(tx, name): _rows(tx, name)",
        "T = load()\ndef f(tx): tx.execute(f'SELECT a FROM {T}')",
        "def f(tx):\n    for t in tables():\n        tx.execute(f'DROP TABLE {t}')",
    ],
)
def test_sql_made_of_values_is_caught(text):
    assert [*findings(sample("meshd/meshd/x.py", text))]


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
        "def f(log, name): log.info(f'selected {name}')\ndef g(name): return 'a ' + name",
    ],
)
def test_honest_sql_passes(text):
    assert not [*findings(sample("meshd/meshd/x.py", text))]
