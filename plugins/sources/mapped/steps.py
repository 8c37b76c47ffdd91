"""Mapped prices and sizes: from numbers of any type, and from text, to whole ticks and lots."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backtest.core.arrays import Int64Array
from backtest.plugins.sources.mapped.mapping_tables import CsvFormat
from backtest.plugins.sources.shared.decimals import (
    MOST_STEPS,
    Float64Array,
    floats_to_grid,
    parse_decimals,
    step_of,
    to_grid,
)

_NOT_ONE = re.compile(r"Failed to parse string: ('.*') as a scalar of type .*", re.DOTALL)
_BLANKS = ("\u00a0", "\u202f")
"""What stands for a blank between digits as well."""

_GROUPED = r"^\s*[+-]?[0-9]{{1,3}}({mark}[0-9]{{3}})*({point}[0-9]*)?([eE][+-]?[0-9]+)?\s*$"


def plain_numbers(text: pa.Array, written: CsvFormat) -> pa.Array:
    """Numbers as text with a decimal point and without marks of thousands.

    Raises:
        ValueError: a mark of thousands that does not part groups of three digits.
    """
    if written.thousands is not None:
        mark = written.thousands
        for blank in _BLANKS if mark == " " else ():
            text = pc.replace_substring(text, blank, mark)
        marked = pc.fill_null(pc.match_substring(text, mark), False)
        if pc.any(marked).as_py():
            grouped = _GROUPED.format(mark=re.escape(mark), point=re.escape(written.decimal))
            wrong = pc.and_(marked, pc.invert(pc.match_substring_regex(text, grouped)))
            if pc.any(pc.fill_null(wrong, False)).as_py():
                bad = text[pc.index(pc.fill_null(wrong, False), True).as_py()].as_py()
                raise ValueError(f"{bad!r} is not written in groups of three digits")
            text = pc.replace_substring(text, mark, "")
    if written.decimal != ".":
        if pc.any(pc.match_substring(text, ".")).as_py():
            wrong = pc.fill_null(pc.match_substring(text, "."), False)
            bad = text[pc.index(wrong, True).as_py()].as_py()
            raise ValueError(f"{bad!r} has a decimal point, not {written.decimal!r}")
        text = pc.replace_substring(text, written.decimal, ".")
    return text


def numbers_of(column: pa.Array) -> Any:
    """A column without nulls as int64 or float64 [n], or as it is where it is text.

    Whole numbers beyond int64 become float64; decimals and dictionaries become text.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_integer(column.type):
        numbers = column.to_numpy(zero_copy_only=False)
        if numbers.dtype != np.uint64 or not len(numbers) or numbers.max() < 2**63:
            return numbers.astype(np.int64)
        return numbers.astype(np.float64)
    if pa.types.is_floating(column.type):
        return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return column.cast(pa.string())


def as_floats(numbers: Any) -> Float64Array:
    """The same as float64 [n]: the nearest ones.

    Raises:
        ValueError: text that is no number.
    """
    if isinstance(numbers, pa.Array):
        trimmed = pc.utf8_trim_whitespace(numbers)
        try:
            found: Float64Array = trimmed.cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid as error:
            raise ValueError(_NOT_ONE.sub(r"\1 is not a number", str(error), count=1)) from None
        return found
    return np.asarray(numbers, dtype=np.float64)


def steps_of(numbers: Any, unit: Decimal, step: Decimal) -> Int64Array:
    """How many steps each number × ``unit`` is, int64 [n].

    Args:
        numbers: int64 or float64 [n], or text of decimal numbers, whose digits all count.

    Raises:
        ValueError: a number lies farther than a thousandth of a step from a whole number of steps,
            or is more of them than can be told exactly.
    """
    if not isinstance(numbers, pa.Array):
        return (floats_to_grid if numbers.dtype.kind == "f" else to_grid)(numbers, unit, step)
    floats = as_floats(numbers)
    endless = np.flatnonzero(~np.isfinite(floats))
    if len(endless):
        raise ValueError(f"{numbers[int(endless[0])].as_py()!r} is more than can be told exactly")
    many = np.abs(floats) * (float(unit) / float(step)) > MOST_STEPS
    if not many.any():
        return floats_to_grid(floats, unit, step)
    found = np.empty(len(floats), dtype=np.int64)
    found[~many] = floats_to_grid(floats[~many], unit, step)
    found[many] = _exact(numbers.filter(pa.array(many)), unit, step)
    return found


def _exact(text: pa.Array, unit: Decimal, step: Decimal) -> Int64Array:
    """The same from all digits of the text, however many steps they are."""
    plain = pc.utf8_ltrim(pc.utf8_trim_whitespace(text), "+")
    negative = pc.starts_with(plain, "-")
    try:
        values, scale = parse_decimals(pc.utf8_ltrim(plain, "-"))
    except ValueError:
        return np.array([_one(number, unit, step) for number in plain.to_pylist()], dtype=np.int64)
    values[negative.to_numpy(zero_copy_only=False)] *= -1
    return to_grid(values, step_of(scale) * unit, step)


def _one(text: str, unit: Decimal, step: Decimal) -> int:
    """One number of any form that decimals have."""
    try:
        number = Fraction(text)  # refuses infinity and NaN
    except ValueError:
        raise ValueError(f"{text!r} is not a decimal number") from None
    steps = number * Fraction(unit) / Fraction(step)
    if steps.denominator != 1:
        raise ValueError(f"{text} × {unit} is not a multiple of {step}")
    if abs(steps) >= 2**63:
        raise ValueError(f"{text} is more steps of {step} than 64 bits can hold")
    return int(steps)
