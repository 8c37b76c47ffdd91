"""What the cases of depth are made of: rows of both tables in one list, and their replay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from tests.depth_records import Depth, DepthRow
from tests.order_cases import Case, Run
from tests.order_markets import Simulate
from tests.order_records import Message, Row

CASES: dict[str, Case] = {}
"""Every case by name; all hold for the mirrored market too."""


def case(f: Case) -> Case:
    """Put a case on the list."""
    CASES[f.__name__] = f
    return f


Steps = Sequence[Any]
"""Rows of both tables in bus order: each a ``Row`` or a ``DepthRow``."""


def level(ts: int, price: int, size: int, side: int = 1, **more: Any) -> DepthRow:
    """A level, a bid unless told otherwise."""
    return DepthRow(0, ts, 0, side, price, size, **more)


def clear(ts: int, side: int = 0, **more: Any) -> DepthRow:
    """All levels are gone."""
    return DepthRow(0, ts, 0, side, clear=True, **more)


def split(steps: Steps, *, orders: bool = False) -> tuple[list[Row], Depth]:
    """The two tables of one list in bus order."""
    rows: list[Row] = []
    depth: list[DepthRow] = []
    for step in steps:
        if isinstance(step, Row):
            rows.append(step)
        else:
            depth.append(replace(step, follows=len(rows)))
    return rows, Depth(tuple(depth), orders)


def play(
    simulate: Simulate,
    steps: Steps,
    messages: list[Message],
    *,
    orders: bool = False,
    **rules: Any,
) -> Run:
    """Replay rows of both tables, given in bus order."""
    rows, depth = split(steps, orders=orders)
    with_depth: Callable[..., Any] = partial(simulate, depth=depth)  # type: ignore[call-arg]
    return Run(with_depth, rows, messages, **rules)
