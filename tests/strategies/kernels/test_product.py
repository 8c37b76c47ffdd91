"""Skinny products against plain ones, at sizes that fit no tile."""

from __future__ import annotations

import pytest
import torch

from tests.strategies.interpreted import DEVICE  # isort: skip  # before any kernel
from backtest.strategies.kernels.product import Tile, product, product_plain

pytestmark = pytest.mark.one_python


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


@pytest.mark.parametrize(
    ("rows", "n", "k", "tile"),
    [
        (1, 16, 16, Tile(16, 16, 16)),
        (3, 33, 79, Tile(16, 32, 32)),
        (17, 64, 64, Tile(16, 32, 16)),
        (20, 40, 100, Tile(32, 64, 64)),
        (50, 40, 33, Tile(16, 32, 32)),
    ],
)
def test_bias_and_relu(rows: int, n: int, k: int, tile: Tile) -> None:
    x, weight, bias = draw(rows, k), draw(n, k, seed=1), draw(n, seed=2)
    out = torch.full((rows, n), torch.nan, device=DEVICE)
    product(x, weight, out, tile, "fp32", bias=bias, relu=True)
    torch.testing.assert_close(
        out, product_plain(x, weight, bias=bias, relu=True), atol=2e-5, rtol=1e-5
    )


@pytest.mark.parametrize("split", [2, 3, 4])
def test_parts_add_up(split: int) -> None:
    x, weight = draw(5, 90), draw(24, 90, seed=1)
    parts = torch.full((8, 9, 24), torch.nan, device=DEVICE)[:split, :5]
    product(x, weight, parts, Tile(16, 16, 16, split), "fp32")
    torch.testing.assert_close(parts.sum(0), product_plain(x, weight), atol=2e-5, rtol=1e-5)


def test_block_diagonal() -> None:
    x, weight = draw(3, 4 * 24), draw(4, 48, 24, seed=1)
    out = torch.full((3, 4 * 48), torch.nan, device=DEVICE)
    product(x, weight, out, Tile(16, 32, 16), "fp32")
    torch.testing.assert_close(out, product_plain(x, weight), atol=2e-5, rtol=1e-5)


def test_some_rows_of_every_block() -> None:
    x, weight = draw(3, 4 * 24), draw(4, 3, 16, 24, seed=1)
    some = weight[:, 1:].flatten(1, 2)
    assert some.data_ptr() != weight.data_ptr()  # a view, blocks apart
    out = torch.full((3, 4 * 32), torch.nan, device=DEVICE)
    product(x, some, out, Tile(16, 32, 16), "fp32")
    torch.testing.assert_close(out, product_plain(x, some), atol=2e-5, rtol=1e-5)


def test_columns_of_a_wider_input() -> None:
    wide, weight = draw(3, 50), draw(16, 20, seed=1)
    out = torch.empty(3, 16, device=DEVICE)
    product(wide[:, 30:], weight, out, Tile(16, 16, 16), "fp32")
    torch.testing.assert_close(out, product_plain(wide[:, 30:], weight), atol=2e-5, rtol=1e-5)


def test_float16_operands_are_summed_in_float32() -> None:
    x, weight = draw(2, 64).half(), draw(16, 64, seed=1).half()
    out = torch.empty(2, 16, device=DEVICE)
    product(x, weight, out, Tile(16, 16, 32), "fp16")
    torch.testing.assert_close(out, product_plain(x.float(), weight.float()), atol=2e-5, rtol=1e-5)


def test_rubbish_in_one_row_leaves_the_others_alone() -> None:
    x, weight = draw(4, 32), draw(16, 32, seed=1)
    clean, dirty = torch.empty(4, 16, device=DEVICE), torch.empty(4, 16, device=DEVICE)
    product(x, weight, clean, Tile(16, 16, 16), "fp32")
    x[1] = torch.nan
    product(x, weight, dirty, Tile(16, 16, 16), "fp32")
    assert torch.equal(clean[[0, 2, 3]], dirty[[0, 2, 3]])
