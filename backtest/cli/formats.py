"""Tables for other programs: CSV whose cells never start a formula, and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from backtest.cli.console import escape_text

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "|", "%")


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV (RFC 4180).

    A spreadsheet takes text that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, so such
    text, never a number, is given an apostrophe first.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(_cell(name) for name in rows[0])
    for row in rows:
        writer.writerow(_cell(value) for value in row.values())
    return out.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = escape_text(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def to_markdown(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown; what could be markup, HTML or a new cell in it is escaped."""
    lines = [headers, ["---"] * len(headers), *rows]
    shown = [lines[1] if k == 1 else [_inert(c) for c in line] for k, line in enumerate(lines)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in shown) + "\n"


def _inert(cell: object) -> str:
    text = escape_text(cell).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{c}" if c in "\\`*_[]|" else c for c in text)
