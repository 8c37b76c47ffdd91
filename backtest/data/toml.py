"""Writes TOML, of the few shapes that a dataset card has; ``tomllib`` reads it back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from backtest.core.text import quoted

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LINE = 96


def dumps(table: Mapping[str, Any]) -> str:
    """TOML text of nested tables of text, numbers, booleans and lists of them.

    Raises:
        TypeError: a value of another kind, such as ``None``.
    """
    return "\n".join(_table(table, ())).lstrip("\n") + "\n"


def key(name: str) -> str:
    """A key as TOML writes it: bare where allowed, else quoted."""
    return name if _BARE_KEY.fullmatch(name) else quoted(name)


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    plain = {k: v for k, v in table.items() if not isinstance(v, Mapping)}
    nested = {k: v for k, v in table.items() if isinstance(v, Mapping)}
    lines = [f"{key(k)} = {_value(v)}" for k, v in plain.items()]
    if path and (plain or not nested):
        lines = ["", f"[{'.'.join(map(key, path))}]", *lines]
    for k, v in nested.items():
        lines += _table(v, (*path, k))
    return lines


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        items = [_value(item) for item in value]
        line = f"[{', '.join(items)}]"
        return line if len(line) <= _LINE else "[\n" + "".join(f"  {i},\n" for i in items) + "]"
    raise TypeError(f"a dataset card cannot hold {value!r}")
