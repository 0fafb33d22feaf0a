"""Small Python functions that a model wrote, run without running Python: a reader of a few kinds of nodes.

Arithmetic, comparisons, conditions, look-ups in literals and `def` with assignments, `if`, `for` over a range and
`return`. Anything else (imports, attributes, other calls) is not supported and fails the check. Steps, sizes and powers
are bounded, so that no answer can hang or exhaust the machine.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

_FENCE: Final = re.compile(r"```[a-zA-Z]*\s*\n(.*?)(?:\n?```|\Z)", re.DOTALL)
_LARGEST: Final = 10**12
_STEPS: Final = 10_000
_BINARY: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
_COMPARE: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
_CALLS: Final[Mapping[str, Callable[..., Any]]] = {"abs": abs, "int": int, "min": min, "max": max, "pow": operator.pow}


class Unsupported(Exception):
    """The program does something that this reader does not do, or does it too often."""


class _Return(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


def code_of(text: str) -> str:
    """The first fenced block, or else the whole text."""
    found = _FENCE.search(text)
    return (found.group(1) if found else text).strip()


def statements(text: str) -> list[ast.stmt]:
    """The statements of the code in a text, as many from its start as can be read; empty when it is no Python."""
    lines = code_of(text).splitlines()
    for end in range(len(lines), 0, -1):
        try:
            return ast.parse("\n".join(lines[:end])).body
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
    return []


def function_in(body: Sequence[ast.stmt], name: str) -> ast.FunctionDef | None:
    """The last definition of that name with one argument."""
    found = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == name]
    return found[-1] if found and len(found[-1].args.args) == 1 else None


def value_at(function: ast.FunctionDef, x: int) -> Any:
    """What the function returns for x. Raises Unsupported for anything that is not plain arithmetic on it."""
    run = _Run({function.args.args[0].arg: x})
    try:
        for statement in function.body:
            run.do(statement)
    except _Return as found:
        return found.value
    except (ArithmeticError, TypeError, ValueError, LookupError, RecursionError) as error:
        raise Unsupported(str(error)) from None
    return None


def meets(function: ast.FunctionDef, cases: Sequence[Sequence[int]]) -> bool:
    """Whether the function gives the second number of every case for the first."""
    try:
        return all(value_at(function, x) == y for x, y in cases)
    except Unsupported:
        return False


def asserted(body: Sequence[ast.stmt], name: str) -> list[list[int]]:
    """The cases in `assert name(3) == 7` statements; others are left out."""
    cases = []
    for node in body:
        test = node.test if isinstance(node, ast.Assert) else None
        if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq)):
            continue
        call = test.left
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id == name
            and len(call.args) == 1
        ):
            try:
                cases.append([ast.literal_eval(call.args[0]), ast.literal_eval(test.comparators[0])])
            except (ValueError, TypeError, SyntaxError):
                continue
    return cases


class _Run:
    """One call: the variables and how many steps are left."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names
        self._left = _STEPS

    def do(self, node: ast.stmt) -> None:
        self._step()
        match node:
            case ast.Return(value=value):
                raise _Return(None if value is None else self.value(value))
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.names[name] = self.value(value)
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                self.names[name] = self._binary(op, self.names[name], self.value(value))
            case ast.If(test=test, body=body, orelse=orelse):
                for statement in body if self.value(test) else orelse:
                    self.do(statement)
            case ast.For(target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range"), args=args), body=body):
                for self.names[name] in range(*(int(self.value(a)) for a in args)):
                    for statement in body:
                        self.do(statement)
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case _:
                raise Unsupported(type(node).__name__)

    def value(self, node: ast.expr) -> Any:
        self._step()
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name) if name in self.names:
                return self.names[name]
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(op, self.value(left), self.value(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.value(operand)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self.value(operand)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
                return _COMPARE[type(op)](self.value(left), self.value(right))
            case ast.BoolOp(op=op, values=values):
                test = all if isinstance(op, ast.And) else any
                return test(self.value(one) for one in values)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.value(body if self.value(test) else orelse)
            case ast.Dict(keys=keys, values=values) if None not in keys:
                return {self.value(k): self.value(v) for k, v in zip(keys, values, strict=True) if k is not None}
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return [self.value(part) for part in parts]
            case ast.Subscript(value=value, slice=place):
                return self.value(value)[self.value(place)]
            case ast.Call(func=ast.Attribute(value=ast.Dict() as table, attr="get"), args=args, keywords=[]):
                return self.value(table).get(*(self.value(a) for a in args))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _CALLS:
                values = [self._bounded(self.value(a)) for a in args]
                return self._binary(ast.Pow(), *values) if name == "pow" else _CALLS[name](*values)
            case _:
                raise Unsupported(type(node).__name__)

    def _binary(self, op: ast.operator, left: Any, right: Any) -> Any:
        if type(op) not in _BINARY:
            raise Unsupported(type(op).__name__)
        left, right = self._bounded(left), self._bounded(right)
        if isinstance(op, ast.Pow) and abs(right) > 20:
            raise Unsupported("a large power")
        return self._bounded(_BINARY[type(op)](left, right))

    def _bounded(self, value: Any) -> Any:
        if isinstance(value, bool | int | float) and abs(value) <= _LARGEST:
            return value
        raise Unsupported("not a number, or a huge one")

    def _step(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Unsupported("too many steps")
