"""Decimal text and grids, exactly."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.plugins.sources.decimals import floats_to_grid, parse_decimals, step_of, to_grid

NUMBERS = st.decimals(min_value=0, max_value=10**9, places=8)


@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_text_is_parsed_exactly_with_the_fewest_decimals(numbers: list[Decimal]) -> None:
    values, scale = parse_decimals(pa.array([f"{n:f}" for n in numbers]))
    assert [int(v) * step_of(scale) for v in values] == numbers
    assert scale == max(max(-int(n.normalize().as_tuple().exponent), 0) for n in numbers)


def test_a_slice_is_parsed_as_a_slice() -> None:
    values, scale = parse_decimals(pa.array(["9.99", "1000", "0.50", "7"]).slice(1, 2))
    assert (values.tolist(), scale) == ([10_000, 5], 1)


@pytest.mark.parametrize("text", ["", "-1", "1e5", "NaN", "1.", ".5", " 1", "0x1", None])
def test_what_is_no_plain_decimal_is_refused(text: str | None) -> None:
    with pytest.raises(ValueError, match="is not a decimal number"):
        parse_decimals(pa.array(["1", text]))


def test_more_than_int64_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        parse_decimals(pa.array(["999999999999999999", "0.0000001"]))
    with pytest.raises(ValueError, match="64 bits"):
        to_grid(np.array([10**18]), Decimal(1), Decimal("0.01"))


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1), st.sampled_from(["0.3", "0.25", "7"]))
def test_whole_steps_are_found_again(steps: list[int], step: str) -> None:
    unit = Decimal("0.01")
    values = np.array([int(n * Decimal(step) / unit) for n in steps])
    assert to_grid(values, unit, Decimal(step)).tolist() == steps
    floats = np.array([float(n * Decimal(step)) for n in steps])
    assert floats_to_grid(floats, Decimal(1), Decimal(step)).tolist() == steps


@pytest.mark.parametrize("bad", [0.105, np.nan, np.inf, 1e300])
def test_floats_off_the_grid_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="is not a multiple of"):
        floats_to_grid(np.array([0.1, bad]), Decimal(1), Decimal("0.01"))
