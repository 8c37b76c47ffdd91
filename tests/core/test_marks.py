"""A yes or no for each event, packed eight to a byte."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest

from backtest.core import marks as marks_module
from backtest.core.arrays import BoolArray
from backtest.core.marks import Marks

COUNTS = (0, 1, 7, 8, 9, 64, 1000, 1003)


def made(values: BoolArray, cuts: tuple[int, ...] = (), *, before: bool = True) -> Marks:
    """Marks that are set in order, piece by piece."""
    found = Marks(len(values), before)
    for first, stop in pairwise((0, *(c for c in cuts if c < len(values)), len(values))):
        found.set(first, values[first:stop])
    return found


@pytest.fixture(params=[64, 1 << 18])
def _stretch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks_module, "_STRETCH", request.param)


@pytest.mark.usefixtures("_stretch")
@pytest.mark.parametrize("share", [0.0, 0.3, 0.97, 1.0])
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("count", COUNTS)
def test_what_is_set_is_found(count: int, before: bool, share: float) -> None:
    values = np.random.default_rng(count).random(count) < share
    for cuts in ((), (1,), (3, 8, 9, 500), tuple(range(1, count, 5))):
        found = made(values, cuts, before=before)
        assert len(found) == count
        assert found.count() == np.count_nonzero(values)
        assert found.all == values.all()
        for first, stop in ((0, count), (3, 11), (8, 16), (count // 2, count), (5, 5)):
            np.testing.assert_array_equal(found[first:stop], values[first:stop])
        assert found.sha256() == hashlib.sha256(np.packbits(values).tobytes()).hexdigest()


@pytest.mark.parametrize("value", [False, True])
def test_marks_that_are_all_the_same_take_no_memory(value: bool) -> None:
    count = 10**12
    found = Marks(count, value)
    assert found.count() == count * value
    assert found.all == value
    assert found[count - 3 :].tolist() == [value] * 3
    found.set(0, np.full(1000, value))
    assert found._bits.nbytes == 0


def test_the_same_marks_have_the_same_digest_however_they_are_held() -> None:
    uniform, set_to = Marks(1001, True), Marks(1001, False)
    set_to.set(0, np.ones(1001, dtype=np.bool_))
    assert uniform.sha256() == set_to.sha256()
    set_to.set(1000, np.zeros(1, dtype=np.bool_))
    assert uniform.sha256() != set_to.sha256()
    assert Marks(1001, True).sha256() != Marks(1002, True).sha256()
