"""Residual sums and norms against plain ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.strategies.interpreted import DEVICE  # isort: skip  # before any kernel
from backtest.strategies.kernels.residual import (
    readout,
    residual_norm,
    residual_norm_plain,
    rms_norm,
)
from backtest.strategies.kernels.runs import Runs

pytestmark = pytest.mark.one_python


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


@pytest.mark.parametrize("size", [16, 63, 96])
@pytest.mark.parametrize("inner", [False, True])
def test_residual_norm(size: int, inner: bool) -> None:
    x, parts, weight = draw(3, size), draw(2, 3, size, seed=1), draw(size, seed=2)
    more: dict[str, Any] = {"bias": draw(size, seed=5)}
    if inner:
        more = {"inner": draw(3, size, seed=3), "inner_weight": draw(size, seed=4)}
    new_x, normed = residual_norm_plain(x, parts, weight, **more)
    out = torch.empty(3, size, device=DEVICE)
    residual_norm(x, parts, weight, out, **more)
    torch.testing.assert_close(x, new_x)
    torch.testing.assert_close(out, normed)


def test_the_first_sum_forgets_what_x_held() -> None:
    x, parts, weight = torch.full((2, 16), torch.nan, device=DEVICE), draw(1, 2, 16), draw(16)
    out = torch.empty(2, 16, device=DEVICE)
    residual_norm(x, parts, weight, out, first=True)
    torch.testing.assert_close(x, parts[0])


def test_rms_norm() -> None:
    x, weight, out = draw(2, 40), draw(40, seed=1), torch.empty(2, 40, device=DEVICE)
    rms_norm(x, weight, out, 1e-5)
    torch.testing.assert_close(out, torch.nn.functional.rms_norm(x, (40,), weight, 1e-5))


@pytest.mark.parametrize(("written", "wanted"), [(False, [7, 6, 8, 8]), (True, [0, 6, 0, 8])])
def test_readout_counts_events(written: bool, wanted: list[int]) -> None:
    x, parts, bias, last = draw(4, 40), draw(2, 4, 40), draw(40), (draw(40), draw(1))
    rows = torch.tensor(
        [[2, 0, 0, -1], [0, 0, 1, 0], [1, 2, 0, 0]], dtype=torch.int32, device=DEVICE
    )
    since = torch.tensor([5, 6, 7, 8], dtype=torch.int32, device=DEVICE)
    out = torch.empty(4, 4, device=DEVICE)
    readout(x, parts, bias, last, (out, 0), Runs(*rows), since, written=written)
    assert since.tolist() == wanted


def test_readout_fills_its_column() -> None:
    x, parts, bias, weight = draw(3, 40), draw(2, 3, 40, seed=1), draw(40), draw(40, seed=2)
    offset, out = draw(1), torch.full((3, 4), torch.nan, device=DEVICE)
    slot, count = (
        torch.tensor(v, dtype=torch.int32, device=DEVICE) for v in ([1, 1, -1], [2, 0, 0])
    )
    readout(x, parts, bias, (weight, offset), (out, 2), Runs(slot, slot, count))
    torch.testing.assert_close(out[:, 2], (x + parts.sum(0) + bias) @ weight + offset)
    assert out[:, [0, 1, 3]].isnan().all()
