"""TOML that people wrote, read with bounds on its nesting; and written, as dataset cards are."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

from backtest.core.nesting import DEEPEST, refuse_deep, too_deep
from backtest.core.text import quoted

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LINE = 96
# Possessive, and begun only where a part begins: linear in the text.
_PART = r"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?<![A-Za-z0-9_-])(?:{_PART}[ \t]*+\.[ \t]*+){{{DEEPEST}}}")


def loads(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        ValueError: it is not TOML, or its tables and lists nest deeper than 64 levels.
    """
    # The parser takes memory with the square of a dotted key's length, so that is bounded first.
    if _LONG_KEY.search(text):
        raise ValueError(f"a key has more than {DEEPEST} parts")
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise too_deep() from None
    refuse_deep(table)
    return table


def dumps(table: Mapping[str, Any]) -> str:
    """TOML text of nested tables of text, numbers, booleans, dates, times and lists of them.

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
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, Mapping):
        items = [f"{key(k)} = {_value(v)}" for k, v in value.items()]
        return f"{{ {', '.join(items)} }}" if items else "{}"
    if isinstance(value, (list, tuple)):
        items = [_value(item) for item in value]
        line = f"[{', '.join(items)}]"
        return line if len(line) <= _LINE else "[\n" + "".join(f"  {i},\n" for i in items) + "]"
    raise TypeError(f"a dataset card cannot hold {value!r}")
