"""Small faults put into a module's source, one at a time, each as a syntax tree of its own.

What no test of behaviour can see is left alone: docstrings, annotations, and texts with a blank or a place in braces, which are prose.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Final

COMPARISONS: Final[Mapping[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
ARITHMETIC: Final[Mapping[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}


FOR_READERS: Final = frozenset({"__all__", "TYPE_CHECKING"})
"""Names that matter to those who read the source, and to tools."""
SKIPPED_FIELDS: Final = frozenset({"annotation", "returns", "type_comment", "decorator_list", "bases", "type_params"})


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault. `function` is the qualified name of the outermost function it is in, "" outside of functions."""

    number: int
    line: int
    what: str
    function: str
    code: CodeType


@dataclass(frozen=True, slots=True)
class _Place:
    """A node, where it hangs, and the outermost function around it."""

    node: ast.AST
    parent: ast.AST
    field: str
    index: int | None
    function: str

    def put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


def make_mutants(source: str, path: str) -> Iterator[Mutant]:
    """Every fault of one module, numbered from 0 in the order of the source; `path` is the file that tracebacks name."""
    tree = ast.parse(source)
    number = 0
    for place in list(_walk(tree, "", "")):
        for what, made in _changes(place.node):
            place.put(ast.fix_missing_locations(ast.copy_location(made, place.node)))
            code = compile(tree, path, "exec", dont_inherit=True)
            place.put(place.node)
            yield Mutant(number, getattr(place.node, "lineno", 0), what, place.function, code)
            number += 1


def _walk(node: ast.AST, scope: str, function: str) -> Iterator[_Place]:
    """Depth first. `scope` is the class around `node`, with a dot behind it."""
    for field, value in ast.iter_fields(node):
        if field in SKIPPED_FIELDS:
            continue
        many = isinstance(value, list)
        for index, child in enumerate(value if many else [value]):
            if not isinstance(child, ast.AST) or _is_prose(child) or _names_a_field(node, child):
                continue
            yield _Place(child, node, field, index if many else None, function)
            if isinstance(child, ast.ClassDef):
                yield from _walk(child, f"{scope}{child.name}.", function)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _walk(child, scope, function or scope + child.name)
            else:
                yield from _walk(child, scope, function)


def _names_a_field(node: ast.AST, child: ast.AST) -> bool:
    """Whether `child` is what a check like `require_size(value, 32, "device")` calls its value in a message."""
    is_check = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.startswith("require_")
    return is_check and isinstance(child, ast.Constant) and isinstance(child.value, str)


def _is_prose(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.JoinedStr):
        return True
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id in FOR_READERS for target in node.targets)
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id in FOR_READERS
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and any(mark in node.value for mark in " {")


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What may stand in the place of `node`, and what that does."""
    match node:
        case ast.Compare(ops=ops):
            for index, operator in enumerate(ops):
                for other in COMPARISONS[type(operator)]:
                    yield (
                        f"{_name(operator)} becomes {other.__name__}",
                        _with(node, ops=[*ops[:index], other(), *ops[index + 1 :]]),
                    )
        case ast.BoolOp(op=operator):
            opposite = ast.Or if isinstance(operator, ast.And) else ast.And
            yield f"{_name(operator)} becomes {opposite.__name__}", _with(node, op=opposite())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "not taken away", operand
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator):
            if type(operator) in ARITHMETIC:
                arithmetic = ARITHMETIC[type(operator)]
                yield f"{_name(operator)} becomes {arithmetic.__name__}", _with(node, op=arithmetic())
        case ast.Constant(value=value):
            yield from _constants(value)
        case ast.Return(value=ast.expr() as value) if not _is_falsy(value):
            yield "returns None", _with(node, value=ast.Constant(None))
        case ast.Break():
            yield "break becomes continue", ast.Continue()
        case ast.Continue():
            yield "continue becomes break", ast.Break()
    if isinstance(node, ast.Raise | ast.AugAssign | ast.Delete) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        yield f"{_name(node)} taken away", ast.Pass()
    if isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(node.test, ast.Compare | ast.UnaryOp):
        yield "condition negated", _with(node, test=ast.UnaryOp(ast.Not(), node.test))


def _is_falsy(value: ast.expr) -> bool:
    """Whether None says the same to whoever asks only for true or false."""
    return isinstance(value, ast.Constant) and (value.value is None or value.value is False)


def _constants(value: object) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(value, bool):
        yield f"{value} becomes {not value}", ast.Constant(not value)
    elif isinstance(value, int):
        yield f"{value} becomes {value + 1}", ast.Constant(value + 1)
    elif isinstance(value, str):
        yield f"{value!r} changed", ast.Constant("X" + value)
    elif isinstance(value, bytes):
        yield f"{value!r} changed", ast.Constant(b"X" + value)


def _name(node: ast.AST) -> str:
    return type(node).__name__


def _with(node: ast.AST, **fields: object) -> ast.AST:
    """A copy of `node` with other fields."""
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})
