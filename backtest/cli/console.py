"""Output for people: data on stdout, everything else on stderr.

Neither console interprets markup, so a symbol called ``[bold]`` is printed as it is spelt.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from backtest.core.text import escape_text

out = Console(markup=False, highlight=False, emoji=False)
"""Data, on stdout."""

err = Console(stderr=True, markup=False, highlight=False, emoji=False)
"""Logs, progress and errors, on stderr."""

__all__ = ["err", "escape_text", "out", "print_error", "print_json"]


def print_error(message: str) -> None:
    """An error on stderr, its lines kept and whatever it quotes escaped."""
    lines = "\n".join(escape_text(line) for line in message.split("\n"))
    err.print(Text.assemble(("Error:", "bold red"), f" {lines}"), soft_wrap=True)


def print_json(value: Any) -> None:
    """A JSON document on stdout.

    Raises:
        ValueError: it holds a number that is not finite, which JSON cannot express.
    """
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")
