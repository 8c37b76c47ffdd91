"""Small expressions over the fields of a row: ``strategy == "batched" and scale <= 1``.

The text is parsed as Python, and only comparisons, arithmetic, ``and``, ``or``, ``not``, literals,
field names and three functions are let through; nothing of it is ever executed as code.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from backtest.core.text import suggestion_or_list
from backtest.errors import UsageError

_MAX_LENGTH = 1000
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {"abs": abs, "min": min, "max": max}

BASELINE = "baseline"
"""The name under which expressions reach the row that others are measured against."""


class MissingValue(Exception):
    """An expression needs a figure that a row does not have."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked condition on a row.

    Attributes:
        text: as written.
        uses_baseline: whether it can only be judged against a baseline.
    """

    text: str
    uses_baseline: bool
    _tree: ast.expr
    _place: str
    _aliases: Mapping[str, str]

    @property
    def texts(self) -> tuple[str, ...]:
        """The quoted texts in it."""
        constants = (n.value for n in ast.walk(self._tree) if isinstance(n, ast.Constant))
        return tuple(value for value in constants if isinstance(value, str))

    def value(self, row: Mapping[str, Any]) -> float:
        """What the expression comes to for a row.

        Raises:
            MissingValue: a figure that it needs is ``None``.
            UsageError: its values do not fit together, or it is no number.
        """
        found = _Evaluation(self, row, None).of(self._tree)
        if found is None:
            raise MissingValue(self.text)
        if isinstance(found, str | list):
            raise UsageError(f"{self.text!r} is not a number", place=self._place)
        return float(found)

    def holds(self, row: Mapping[str, Any], baseline: Mapping[str, Any] | None = None) -> bool:
        """Whether the condition is true of a row.

        Raises:
            MissingValue: a figure that decides is ``None``, as where a run has no fills.
            UsageError: its values do not fit together, as text compared with a number.
        """
        return bool(_Evaluation(self, row, baseline).of(self._tree))


def parse_expression(
    text: str,
    fields: Collection[str],
    *,
    place: str,
    aliases: Mapping[str, str] | None = None,
) -> Expression:
    """A condition over ``fields``, which may also be written with their ``aliases``.

    ``baseline.FIELD`` is the baseline's figure; ``baseline`` alone is the baseline's figure of the
    one field that its comparison names.

    Raises:
        UsageError: no expression, or one with anything else in it.
    """
    if len(text) > _MAX_LENGTH:
        raise UsageError(
            f"the condition has {len(text):,} characters, more than the {_MAX_LENGTH:,} allowed",
            place=place,
        )
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UsageError(f"{text!r} is not a valid expression: {reason}", place=place) from None
    names = dict(aliases or {}) | {field: field for field in fields}
    for comparison in ast.walk(tree):
        _check(comparison, names, text, place)
    uses = any(isinstance(n, ast.Name) and n.id == BASELINE for n in ast.walk(tree))
    return Expression(text, uses, tree, place, names)


def _check(node: ast.AST, names: Mapping[str, str], text: str, place: str) -> None:
    if isinstance(node, ast.Constant):
        allowed = node.value is None or type(node.value) in (bool, int, float, str)
    elif isinstance(node, ast.Attribute):
        allowed = isinstance(node.value, ast.Name) and node.value.id == BASELINE
        if allowed:
            _check_field(node.attr, names, place)
    elif isinstance(node, ast.Call):
        named = isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
        allowed = named and not node.keywords and bool(node.args)
    elif isinstance(node, ast.Name):
        allowed = True
        if node.id != BASELINE and node.id not in _FUNCTIONS:
            _check_field(node.id, names, place)
    elif isinstance(node, ast.BinOp):
        allowed = type(node.op) in _ARITHMETIC
    elif isinstance(node, ast.Compare):
        allowed = all(type(op) in _COMPARISONS for op in node.ops)
    else:
        simple = (ast.BoolOp, ast.UnaryOp, ast.Tuple, ast.List, ast.expr_context)
        operators = (ast.operator, ast.cmpop, ast.boolop, ast.unaryop)
        allowed = isinstance(node, (*simple, *operators)) and not isinstance(node, ast.Invert)
    if not allowed:
        raise UsageError(
            f"{text!r} is not allowed in a condition",
            place=place,
            remedy="Use fields, numbers, strings, + - * /, comparisons, in, and, or, not, "
            "abs, min and max.",
        )


def _check_field(name: str, names: Mapping[str, str], place: str) -> None:
    if name not in names:
        known = sorted(names)
        raise UsageError(
            f"no field is called {name!r}",
            place=place,
            remedy=suggestion_or_list(name, known, "Fields"),
        )


class _Evaluation:
    def __init__(
        self, expression: Expression, row: Mapping[str, Any], baseline: Mapping[str, Any] | None
    ) -> None:
        self._expression = expression
        self._row = row
        self._baseline = baseline
        self._subject: str | None = None

    def of(self, node: ast.expr) -> Any:
        """The value of a node, which ``parse_expression`` let through."""
        try:
            return self._of(node)
        except (TypeError, ValueError, ZeroDivisionError, OverflowError, RecursionError) as error:
            raise UsageError(
                f"{self._expression.text!r} cannot be evaluated: {error}",
                place=self._expression._place,
            ) from None

    def _of(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant():
                return node.value
            case ast.Name(id=name):
                return self._name(name)
            case ast.Attribute(attr=name):
                return self._of_baseline(name)
            case ast.BoolOp(op=ast.And()):
                return all(self._of(value) for value in node.values)
            case ast.BoolOp():
                return any(self._of(value) for value in node.values)
            case ast.UnaryOp(op=ast.Not()):
                return not self._of(node.operand)
            case ast.UnaryOp():
                value = self._known(self._of(node.operand))
                return -value if isinstance(node.op, ast.USub) else value
            case ast.BinOp():
                left, right = self._of(node.left), self._of(node.right)
                if isinstance(left, str) or isinstance(right, str):
                    raise TypeError("text can be compared, but not calculated with")
                return _ARITHMETIC[type(node.op)](self._known(left), self._known(right))
            case ast.Tuple() | ast.List():
                return [self._of(item) for item in node.elts]
            case ast.Call(func=ast.Name(id=name)):
                return _FUNCTIONS[name](*(self._known(self._of(a)) for a in node.args))
            case ast.Compare():
                return self._compare(node)
        raise AssertionError(ast.dump(node))  # parse_expression lets nothing else through

    def _compare(self, node: ast.Compare) -> bool:
        fields = {
            n.id for n in ast.walk(node)
            if isinstance(n, ast.Name) and n.id != BASELINE and n.id not in _FUNCTIONS
        }  # fmt: skip
        self._subject = fields.pop() if len(fields) == 1 else None
        left = self._of(node.left)
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            right = self._of(right_node)
            if isinstance(op, (ast.Lt, ast.LtE, ast.Gt, ast.GtE)):
                self._known(left), self._known(right)
            if not _COMPARISONS[type(op)](left, right):
                return False
            left = right
        return True

    def _name(self, name: str) -> Any:
        if name != BASELINE:
            return self._row.get(self._expression._aliases[name])
        if self._subject is None:
            raise UsageError(
                "'baseline' alone needs a comparison with exactly one field",
                place=self._expression._place,
                remedy="Write baseline.FIELD, as in net < 0.95 * baseline.net.",
            )
        return self._of_baseline(self._subject)

    def _of_baseline(self, name: str) -> Any:
        if self._baseline is None:
            raise UsageError(
                "there is no baseline to compare with",
                place=self._expression._place,
                remedy="Name one with --baseline RUN.",
            )
        return self._baseline.get(self._expression._aliases[name])

    def _known(self, value: Any) -> Any:
        if value is None:
            raise MissingValue(self._expression.text)
        return value
