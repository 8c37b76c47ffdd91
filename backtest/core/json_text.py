"""JSON from outside, read with bounds on what it may hold."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from backtest.core.nesting import refuse_deep, too_deep
from backtest.errors import DataError


def loads(text: str | bytes) -> Any:
    """The value of a JSON text, whose numbers are finite and whose text is Unicode.

    Raises:
        ValueError: it is not JSON, has a number that is not finite or half of a surrogate pair, or
            nests deeper than 64 levels.
    """
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=_finite)
        refuse_deep(value)
        # The reader accepts "\ud800", which no file and no page can hold.
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise too_deep() from None
    return value


def read_json_table(path: Path, *, remedy: str | None = None) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    try:
        value = loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problem = error.strerror or str(error)
        raise DataError(f"it cannot be read: {problem}", place=str(path), remedy=remedy) from None
    except ValueError as error:
        raise DataError(f"it is not JSON: {error!s:.200}", place=str(path), remedy=remedy) from None
    if not isinstance(value, dict):
        raise DataError("it holds no table of values", place=str(path), remedy=remedy)
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is not a finite number")
    return value
