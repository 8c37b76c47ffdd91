"""The oracle of resting orders on depth, held to cases worked by hand and to what must hold."""

from __future__ import annotations

import pytest

from tests.depth_cases import CASES
from tests.order_mirror import mirrored
from tests.order_oracle import simulate_orders


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    CASES[name](simulate_orders)


@pytest.mark.parametrize("name", CASES)
def test_case_mirrored(name: str) -> None:
    CASES[name](mirrored(simulate_orders))
