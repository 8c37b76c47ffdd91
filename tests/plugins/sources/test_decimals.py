"""Decimal text and grids, exactly."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.data.card import Card, InstrumentTable
from backtest.plugins.sources.shared.decimals import (
    decimal_parameter,
    floats_to_grid,
    money_unit,
    parse_decimals,
    step_of,
    to_grid,
)
from backtest.plugins.sources.shared.rows import first_failure

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


@pytest.mark.parametrize("step", ["1e-30", "1e30"])
def test_grids_beyond_64_bits_are_refused_but_for_0(step: str) -> None:
    assert to_grid(np.array([0, 0]), Decimal(1), Decimal(step)).tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"64 bits|is not a multiple"):
        to_grid(np.array([0, 7]), Decimal(1), Decimal(step))


def test_the_least_number_of_64_bits_is_not_taken_for_its_opposite() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        to_grid(np.array([5, -(2**63)]), Decimal(1), Decimal("0.5"))


@pytest.mark.parametrize("text", ["1e999999999", "1e-999999999", "9" * 99, "x"])
def test_absurd_parameters_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="fee: "):
        decimal_parameter(text, "fee")


@pytest.mark.parametrize("bad", [[3], [0, 3], [499], [0], [250, 251]])
def test_the_first_item_that_fails_is_found(bad: list[int]) -> None:
    items = np.arange(500)

    def attempt(some: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        wrong = [i for i in some.tolist() if i in bad]
        if wrong:
            raise ValueError(f"{wrong[0]} is bad")

    row, error = first_failure(items, attempt, (ValueError,))
    assert row == bad[0]
    assert str(error) == f"{bad[0]} is bad"


def test_items_that_fail_only_together_are_told_by_the_last_of_them() -> None:
    text = pa.array(["1", "999999999999999999", "1", "0.001", "2"])
    row, error = first_failure(text, parse_decimals, (ValueError,))
    assert row == 3
    assert "64 bits" in str(error)


def test_symbols_of_different_grids_count_money_alike() -> None:
    def table(tick: str, lot: str) -> InstrumentTable:
        grid = Decimal(tick), Decimal(lot)
        unit = money_unit(*grid, Decimal(1))
        return InstrumentTable(tick_size=grid[0], lot_size=grid[1], money_unit=unit)

    tables = {"FINE": table("0.01", "0.00000001"), "COARSE": table("0.01", "0.001")}
    card = Card(name="grids", symbols=("FINE", "COARSE"), instruments=tables)
    assert {i.unit for i in card.resolved_instruments()} == {Decimal("1e-11")}
    assert table("1e-12", "1e-8").money_unit == Decimal("1e-21")  # beyond what is taken by default
