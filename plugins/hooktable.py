"""The hooks as data, for the command line, the docs and the check for misspelt ones."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from backtest.plugins import hookspecs


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook: its name, the arguments it may ask for, and what it is for."""

    name: str
    arguments: tuple[str, ...]
    doc: str


def hooks() -> list[Hook]:
    """Every hook, in the order of ``hookspecs``."""
    return [
        Hook(name, tuple(inspect.signature(spec).parameters), inspect.getdoc(spec) or "")
        for name, spec in vars(hookspecs).items()
        if hasattr(spec, "backtest_spec")
    ]


def markdown() -> str:
    """The hooks as a table for the docs."""
    rows = [
        f"| `{hook.name}` | {', '.join(f'`{a}`' for a in hook.arguments)} | {hook.doc} |"
        for hook in hooks()
    ]
    return "\n".join(["| hook | arguments | what for |", "|---|---|---|", *rows])
