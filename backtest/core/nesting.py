"""How deep tables and lists from outside may nest, which recursive code relies on."""

from __future__ import annotations

from typing import Any

DEEPEST = 64
"""Levels of tables and lists that a document may have."""


def refuse_deep(value: Any) -> None:
    """Refuse tables and lists that nest deeper than ``DEEPEST``; takes no recursion itself.

    Raises:
        ValueError: they do.
    """
    level = [value]
    for _ in range(DEEPEST):
        level = [child for above in level for child in _children(above)]
        if not level:
            return
    raise too_deep()


def too_deep() -> ValueError:
    """What to raise for a document that nests too deep."""
    return ValueError(f"it nests deeper than {DEEPEST} levels")


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.values()]
    return value if isinstance(value, list) else []
