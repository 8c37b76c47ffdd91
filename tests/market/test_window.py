"""The stretch of a stream that is still needed, in buffers that are used again."""

from __future__ import annotations

import random

import numpy as np
import pytest

from backtest.market.window import Window

COLUMNS = {"number": np.int64, "flag": np.uint8, "matrix": (np.float32, 3)}


def fill(window: Window, count: int) -> None:
    """Add events; every column tells the event's number."""
    rows = window.extend(count)
    numbers = np.arange(window.stop - count, window.stop)
    assert rows == window.rows(window.stop - count, window.stop)
    window["number"][rows] = numbers
    window["flag"][rows] = numbers % 251
    window["matrix"][rows] = numbers[:, None] + [0, 0.25, 0.5]


def check(window: Window) -> None:
    """Everything that is needed is there."""
    numbers = np.arange(max(window.first, window.needed), window.stop)
    rows = window.rows(len(numbers) and int(numbers[0]), window.stop) if len(numbers) else slice(0)
    assert window["number"][rows].tolist() == numbers.tolist()
    assert window["flag"][rows].tolist() == (numbers % 251).tolist()
    assert window["matrix"][rows, 1].tolist() == (numbers + 0.25).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_what_is_needed_stays(seed: int) -> None:
    draw = random.Random(seed)
    window = Window(COLUMNS, rows=draw.choice([1, 4, 64]))
    slides, first = 0, 0
    for _ in range(60):
        fill(window, draw.choice([0, 1, 3, 17]))
        check(window)
        assert (window.slides > slides) or window.first == first
        slides, first = window.slides, window.first
        window.release(draw.randint(window.needed, window.stop))
        check(window)
        assert (window.slides, window.first) == (slides, first)
    assert window.slides > 0


def test_it_does_not_grow_with_what_has_passed() -> None:
    window = Window(COLUMNS, rows=64)
    column = window["number"]
    for _ in range(1000):
        fill(window, 16)
        window.release(window.stop - 5)
    assert window["number"] is column
    assert window.stop == 16_000


def test_it_grows_with_what_stays_needed() -> None:
    window = Window(COLUMNS, rows=4)
    for _ in range(10):
        fill(window, 100)
    check(window)
    assert window.count == 1000
    assert 1000 <= len(window["number"]) <= 4096
    assert window["matrix"].shape == (len(window["number"]), 3)


def test_what_was_given_up_is_not_needed_again() -> None:
    window = Window(COLUMNS, rows=8)
    fill(window, 5)
    window.release(4)
    window.release(2)
    assert window.needed == 4
    window.release(9)  # nobody can be done with what has not come
    assert window.needed == window.stop == 5
    fill(window, 8)
    assert window.first == 5
    check(window)


def test_it_tells_its_columns() -> None:
    window = Window(COLUMNS)
    assert "matrix" in window
    assert "other" not in window
    with pytest.raises(KeyError):
        window["other"]
