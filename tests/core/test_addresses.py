"""Arrays that compiled loops are handed by their addresses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backtest.core.addresses import places_of


@pytest.mark.parametrize(
    "array", [np.zeros(4, dtype=np.int32), np.zeros(8, dtype=np.int64)[::2], np.zeros(4)]
)
def test_only_whole_arrays_of_the_right_type_are_handed_over_by_address(array: Any) -> None:
    good = np.arange(5)
    assert places_of([good], int32=[7]).tolist() == [good.ctypes.data, 5]
    with pytest.raises(ValueError, match="array 1 is no piece of int64"):
        places_of([good, array])
