"""Runs of rows for the kernels' tests."""

from __future__ import annotations

import pytest
import torch

from tests.strategies.interpreted import DEVICE  # isort: skip  # before any kernel
from backtest.strategies.kernels.runs import Runs

SLOTS = (2, 2, 2, 0, 3, 3, -1)
"""Slots of seven rows: runs of three, one and two, and padding; slot 1 is left alone."""


@pytest.fixture
def runs() -> Runs:
    """Those rows."""
    columns = SLOTS, (0, 1, 2, 0, 0, 1, 0), (3, 0, 0, 1, 2, 0, 0)
    return Runs(*(torch.tensor(column, dtype=torch.int32, device=DEVICE) for column in columns))
