"""Finding the one row that is wrong, where a library only reports that some row is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from backtest.core.arrays import Float32Array
from backtest.data.reading.matrices import nonfinite_cells
from backtest.errors import DataError


def first_failure(
    items: Any, attempt: Callable[[Any], object], failures: tuple[type[Exception], ...]
) -> tuple[int, Exception]:
    """The place of the first item with which ``attempt`` fails, and how it fails.

    Args:
        items: a sequence; ``attempt`` fails for all of it.
        attempt: raises one of ``failures`` if an item of those that it is given is wrong, or does
            not go with those before it.
    """
    low, high = 0, len(items)  # all before `low` are right, not all before `high`
    found: Exception | None = None
    while high - low > 1 or found is None:
        middle = (low + high + 1) // 2
        try:
            attempt(items[:middle])
            low = middle
        except failures as error:
            high, found = middle, error
    return low, found


def refuse_nonfinite(
    matrix: Float32Array, names: tuple[str, ...], first_row: int, *, place: str, noun: str
) -> None:
    """Refuse features or targets that are NaN, infinite or null, by their row.

    Raises:
        DataError: there are some.
    """
    bad = nonfinite_cells(matrix)
    if bad is not None:
        i = int(np.argmax(bad.any(axis=1)))
        k = int(np.argmax(bad[i]))
        _refuse(first_row + i, f"has {matrix[i, k]} in {names[k]!r}", place, noun)


def _refuse(row: int, problem: str, place: str, noun: str) -> NoReturn:
    raise DataError(
        f"row {row} {problem}",
        place=place,
        remedy="Mend the data, or ask for --set nonfinite=zero."
        if noun == "features"
        else "Mend or remove the row.",
    )
