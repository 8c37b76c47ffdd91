"""A small linear layer on few rows, in one launch.

y = W x + b. Libraries' kernels are made for products that fill the device: with one output and one
row, they take two launches, the second only to add up what the first left in parts.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from backtest.strategies.kernels.lstm import row_tile

LARGEST = 1 << 16
"""Weights up to which a layer is small: beyond, matrix units pay."""

_UNITS = 4
_CHUNK = 128


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """Write ``x @ weight.T + bias``. All contiguous, float32.

    Args:
        x: [B, I].
        weight: [O, I].
        bias: [O].
        out: [B, O].
    """
    rows, outputs = out.shape
    unit_tile = min(_UNITS, triton.next_power_of_2(outputs))
    units = triton.cdiv(outputs, unit_tile)
    tile = row_tile(rows, units)
    _linear[units, triton.cdiv(rows, tile)](
        x,
        weight,
        bias,
        out,
        rows,
        INPUTS=x.shape[1],
        OUTPUTS=outputs,
        ROWS=tile,
        UNITS=unit_tile,
        CHUNK=_CHUNK,
    )


def linear_plain(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same by torch's own operations."""
    y = x @ weight.T
    return y if bias is None else y + bias


@triton.jit
def _linear(
    x,
    w,
    bias,
    out,
    rows,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    CHUNK: tl.constexpr,
):
    unit = tl.program_id(0) * UNITS + tl.arange(0, UNITS)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    real = unit < OUTPUTS
    inside = row < rows
    products = tl.zeros([ROWS, UNITS, CHUNK], tl.float32)
    for start in range(0, INPUTS, CHUNK):
        k = start + tl.arange(0, CHUNK)
        known = k < INPUTS
        w_at = w + unit[:, None] * INPUTS + k[None, :]
        x_at = x + row[:, None] * INPUTS + k[None, :]
        weights = tl.load(w_at, mask=real[:, None] & known[None, :], other=0.0)
        part = tl.load(x_at, mask=inside[:, None] & known[None, :], other=0.0)
        products += part[:, None, :] * weights[None, :, :]
    y = tl.sum(products, axis=2)
    if bias is not None:
        y += tl.load(bias + unit, mask=real, other=0.0)[None, :]
    at = row[:, None] * OUTPUTS + unit[None, :]
    tl.store(out + at, y, mask=inside[:, None] & real[None, :])
