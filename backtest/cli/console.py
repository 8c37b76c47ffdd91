"""Output for people: data on stdout, everything else on stderr.

Neither console interprets markup, so a symbol called ``[bold]`` is printed as it is spelt. Both
escape what would steer a terminal in the text that they print, newlines included.
"""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.text import Text

from backtest.cli.streams import check
from backtest.core.text import escape_lines, escape_text


class _Plain(Console):
    """A console that escapes text; other things, such as tables, are escaped by who makes them."""

    def print(self, *objects: Any, **how: Any) -> None:
        super().print(*(escape_text(o) if isinstance(o, str) else o for o in objects), **how)
        check(self.file)


out = _Plain(markup=False, highlight=False, emoji=False)
"""Data, on stdout."""

err = _Plain(stderr=True, markup=False, highlight=False, emoji=False)
"""Logs, progress and errors, on stderr."""

__all__ = ["err", "escape_text", "out", "print_error", "print_json", "write"]


def write(text: str) -> None:
    """Text on stdout as it is."""
    out.file.write(text)
    check(out.file)


def print_error(message: str) -> None:
    """An error on stderr, its lines kept and whatever it quotes escaped."""
    lines = escape_lines(message)
    err.print(Text.assemble(("Error:", "bold red"), f" {lines}"), soft_wrap=True)


def print_json(value: Any) -> None:
    """A JSON document on stdout.

    Raises:
        ValueError: it holds a number that is not finite, which JSON cannot express.
    """
    write(json.dumps(value, indent=2, allow_nan=False) + "\n")
