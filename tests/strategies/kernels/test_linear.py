"""Small linear layers, at sizes that fit no tile."""

from __future__ import annotations

import pytest
import torch

from tests.strategies.interpreted import DEVICE  # isort: skip  # before any kernel
from backtest.strategies.kernels.linear import linear, linear_plain

pytestmark = pytest.mark.one_python


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 1, 1), (3, 79, 6), (9, 300, 17)])
def test_a_layer(rows: int, inputs: int, outputs: int, with_bias: bool) -> None:
    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(DEVICE)

    generator = torch.Generator().manual_seed(rows)
    x, weight, bias = draw(rows, inputs), draw(outputs, inputs) / 8, draw(outputs)
    out = torch.full((rows, outputs), torch.nan, device=DEVICE)
    linear(x, weight, bias if with_bias else None, out)
    wanted = linear_plain(x, weight, bias if with_bias else None)
    torch.testing.assert_close(out, wanted, rtol=0, atol=4e-6)


def test_rubbish_in_one_row_stays_there() -> None:
    x, weight = torch.ones(3, 5, device=DEVICE), torch.ones(2, 5, device=DEVICE)
    x[1] = torch.nan
    out = torch.zeros(3, 2, device=DEVICE)
    linear(x, weight, None, out)
    assert out.isnan().tolist() == [[False, False], [True, True], [False, False]]
