"""Output for people: data on stdout, everything else on stderr.

Neither console interprets markup, so a symbol called ``[bold]`` is printed as it is spelt. Both
escape what would steer a terminal in the text that they print, newlines included.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backtest.core.text import escape_lines, escape_text


class _Plain(Console):
    """A console that escapes text; other things, such as tables, are escaped by who makes them."""

    def print(self, *objects: Any, **how: Any) -> None:
        super().print(*(escape_text(o) if isinstance(o, str) else o for o in objects), **how)


out = _Plain(markup=False, highlight=False, emoji=False)
"""Data, on stdout."""

err = _Plain(stderr=True, markup=False, highlight=False, emoji=False)
"""Logs, progress and errors, on stderr."""

__all__ = [
    "err",
    "escape_text",
    "out",
    "print_error",
    "print_json",
    "print_table",
]


def print_error(message: str) -> None:
    """An error on stderr, its lines kept and whatever it quotes escaped."""
    lines = escape_lines(message)
    err.print(Text.assemble(("Error:", "bold red"), f" {lines}"), soft_wrap=True)


def print_json(value: Any) -> None:
    """A JSON document on stdout.

    Raises:
        ValueError: it holds a number that is not finite, which JSON cannot express.
    """
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def print_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    title: str | None = None,
    right: Collection[str] = (),
) -> None:
    """A table on stdout: drawn on a terminal, else plain aligned columns, never truncated.

    Args:
        headers: each different; they, the rows and the title are escaped here.
        rows: one cell a header.
        right: headers of the columns to align on the right.
    """
    cells = [[escape_text(cell) for cell in row] for row in rows]
    headers = [escape_text(header) for header in headers]
    right = {escape_text(header) for header in right}
    if title is not None:
        out.print(Text(escape_text(title), style="bold"))
    if not out.is_terminal:
        widths = [max(map(cell_len, column)) for column in zip(headers, *cells, strict=True)]
        for row in (headers, *cells):
            padded = [
                " " * (width - cell_len(cell)) + cell
                if header in right
                else cell + " " * (width - cell_len(cell))
                for header, cell, width in zip(headers, row, widths, strict=True)
            ]
            sys.stdout.write("  ".join(padded).rstrip() + "\n")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(Text(header), justify="right" if header in right else "left")
    for row in cells:
        table.add_row(*map(Text, row))
    out.print(table)
