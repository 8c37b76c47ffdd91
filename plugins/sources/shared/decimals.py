"""Decimal text to whole numbers, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from backtest.core.arrays import Int64Array
from backtest.data.card import exact_decimal
from backtest.market.instruments import Instrument

_DECIMAL = r"^[0-9]{1,19}(\.[0-9]{1,18})?$"
_EXPONENT = r"^[0-9]{1,19}(\.[0-9]{1,18})?[eE][+-]?[0-9]{1,2}$"
_MAX = 2**63 - 1
_TOLERANCE = 1e-3
MOST_STEPS = 2**40
"""More of them than this are not told exactly from float64."""

Float64Array: TypeAlias = NDArray[np.float64]


def parse_decimals(text: pa.Array) -> tuple[Int64Array, int]:
    """Unsigned decimal numbers as whole numbers int64 [n] of 10^-scale, the fewest that do.

    Raises:
        ValueError: not a decimal number, or more than int64 holds.
    """
    good = pc.fill_null(pc.match_substring_regex(text, _DECIMAL), False)
    if not pc.all(good).as_py() and len(text):
        raise ValueError(f"{text[pc.index(good, False).as_py()].as_py()!r} is not a decimal number")
    point = pc.find_substring(text, ".")
    digits = pc.binary_length(pc.utf8_rtrim(text, "0"))
    decimals = pc.if_else(pc.less(point, 0), 0, pc.subtract(pc.subtract(digits, point), 1))
    scale = pc.max(decimals).as_py() or 0
    try:
        exact = text.cast(pa.decimal128(38, 18)).cast(pa.decimal128(38, scale))
    except pa.ArrowInvalid as error:
        raise ValueError(str(error)) from None
    words = np.frombuffer(exact.buffers()[1], dtype=np.int64).reshape(-1, 2)
    words = words[exact.offset : exact.offset + len(exact)]
    if words[:, 1].any() or (words[:, 0] < 0).any():
        wide = (words[:, 1] != 0) | (words[:, 0] < 0)
        bad = text[int(np.argmax(wide))].as_py()
        raise ValueError(f"{bad} has more digits than 64 bits can hold, with {scale} decimals")
    return words[:, 0].copy(), scale


def without_exponents(text: pa.Array) -> pa.Array:
    """The same numbers, those like ``1e-7`` written without an exponent; other text stays."""
    powers = pc.match_substring_regex(text, _EXPONENT)
    if not pc.any(powers).as_py():
        return text
    plain = [f"{Decimal(number):f}" for number in text.filter(powers).to_pylist()]
    return pc.replace_with_mask(text, powers, pa.array(plain, type=text.type))


def to_grid(values: Int64Array, unit: Decimal, step: Decimal) -> Int64Array:
    """How many steps each number is, int64 [n]; the numbers are ``values`` × ``unit``.

    Raises:
        ValueError: a number is not a whole number of steps, or is more of them than int64 can hold.
    """
    steps, rest = _divided(values, unit, step)
    if rest.any():
        bad = int(values[np.argmax(rest != 0)]) * unit
        raise ValueError(f"{bad} is not a multiple of {step}")
    return steps


def to_next_step(values: Int64Array, unit: Decimal, step: Decimal) -> tuple[Int64Array, int]:
    """The same where a number between two steps counts as the larger, and how many such are there.

    Raises:
        ValueError: a number is more steps than int64 can hold.
    """
    steps, rest = _divided(values, unit, step)
    return steps + (rest != 0), int(np.count_nonzero(rest))


def _divided(values: Int64Array, unit: Decimal, step: Decimal) -> tuple[Int64Array, Int64Array]:
    """Whole steps of each number, rounded down, and what is left, int64 [n]."""
    ratio = Fraction(unit) / Fraction(step)
    largest = max(abs(int(values.min())), abs(int(values.max()))) if len(values) else 0
    if not largest:
        return np.zeros(len(values), dtype=np.int64), np.zeros(len(values), dtype=np.int64)
    if largest * ratio.numerator > _MAX:
        bad = int(values[np.argmax(np.abs(values))]) * unit
        raise ValueError(f"{bad} is more steps of {step} than 64 bits can hold")
    if ratio.denominator > _MAX:
        bad = int(values[np.argmax(values != 0)]) * unit
        raise ValueError(f"{bad} is not a multiple of {step}")
    steps, rest = np.divmod(values * ratio.numerator, ratio.denominator)
    return steps, rest


def floats_to_grid(values: Float64Array, unit: Decimal, step: Decimal) -> Int64Array:
    """How many steps each binary fraction × ``unit`` is, int64 [n]: the nearest whole number.

    Raises:
        ValueError: a number is farther than a thousandth of a step from a whole number of steps,
            or has more than 2^40 of them, where float64 is no longer exact enough.
    """
    ratio = Fraction(unit) / Fraction(step)
    with np.errstate(over="ignore", invalid="ignore"):
        exact = values * ratio.numerator / ratio.denominator
        steps = np.rint(exact)
        bad = ~((np.abs(exact - steps) <= _TOLERANCE) & (np.abs(steps) <= MOST_STEPS))
    if bad.any():
        raise ValueError(
            f"{values[np.argmax(bad)]} × {unit} is not a multiple of {step}, or too many"
        )
    result: Int64Array = steps.astype(np.int64)
    return result


def common_step(values: Int64Array, step: int = 0) -> int:
    """The largest number that all values, and ``step``, are multiples of; 0 if all of them are 0.

    Args:
        values: whole numbers of some unit, int64 [n].
        step: that of earlier values, in the same unit.
    """
    if step and not (values % step).any():
        return step
    return int(np.gcd.reduce(values, initial=step))


def step_of(scale: int) -> Decimal:
    """The grid of numbers with a given number of decimals."""
    return Decimal(1).scaleb(-scale)


def money_unit(tick: Decimal, lot: Decimal, multiplier: Decimal) -> Decimal | None:
    """A power of ten that half a tick of a lot is a whole number of; ``None`` if the default is.

    The grid of what was seen may be finer than the contract's, and money must be counted exactly.
    Symbols without a unit of their own share one, so none is stated without need.
    """
    worth = Fraction(tick) * Fraction(lot) * Fraction(multiplier) / 2
    default = Instrument(tick_size=tick, lot_size=lot, multiplier=multiplier).unit
    if (worth / Fraction(default)).denominator == 1:
        return None
    return step_of(next(k for k in range(400) if (worth * 10**k).denominator == 1))


def decimal_parameter(text: str, name: str, *, above_zero: bool = True) -> Decimal:
    """A number that a source was given as text.

    Raises:
        ValueError: not a decimal number, below 0, or 0 where it may not be.
    """
    try:
        value = exact_decimal(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if value < 0 or (above_zero and not value):
        raise ValueError(f"{name} is {text!r}, not a number {'above' if above_zero else 'from'} 0")
    return value


def decimals_by_symbol(pairs: Sequence[str], name: str) -> dict[str, Decimal]:
    """What a source was given as ``SYMBOL=SIZE``, by symbol.

    Raises:
        ValueError: not in this form, or a size that is not above 0.
    """
    split = [text.rpartition("=") for text in pairs]
    return {symbol: decimal_parameter(size, f"{name} of {symbol!r}") for symbol, _, size in split}
