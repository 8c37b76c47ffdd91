"""One event through one layer of a long short-term memory, in one launch.

i, f, g, o = W_ih x + b_ih + W_hh h + b_hh (torch's order of gates), c' = σ(f) c + σ(i) tanh(g),
h' = σ(o) tanh(c') (Hochreiter and Schmidhuber, 1997, with forget gates). Libraries' kernels are
made for whole sequences: a layer of 128 took cuDNN's 38 µs on one H200, and takes this one 2 to 3
for up to 8 rows on one H100.
"""

# mypy: disable-error-code="no-untyped-def,misc,untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from backtest.strategies.kernels.arithmetic import sigmoid, tanh
from backtest.strategies.kernels.overlap import follow, overlap

_UNITS = 2
_ROWS = 8
_CHUNK = 128
_PROGRAMS = 512


def lstm_layer(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    weights: tuple[Tensor, Tensor],
    biases: tuple[Tensor, Tensor],
    h_new: Tensor,
    c_new: Tensor,
    *,
    starts: bool = True,
) -> None:
    """Write the next h and c into ``h_new`` and ``c_new``. All contiguous, float32.

    Args:
        x: [B, I].
        h, c, h_new, c_new: [B, H].
        weights: [4H, I] and [4H, H].
        biases: [4H] each.
        starts: whether anything but another layer may have been launched just before.
    """
    rows, hidden = h.shape
    units = triton.cdiv(hidden, _UNITS)
    tile = row_tile(rows, units)
    _lstm_layer[units, triton.cdiv(rows, tile)](
        x,
        h,
        c,
        *weights,
        *biases,
        h_new,
        c_new,
        rows,
        INPUTS=x.shape[1],
        HIDDEN=hidden,
        ROWS=tile,
        UNITS=_UNITS,
        CHUNK=_CHUNK,
        num_warps=2,
        **overlap(x, starts=starts),
    )


def row_tile(rows: int, programs: int) -> int:
    """Rows of a program: as few as allow all of the grid's programs on the device at once.

    Args:
        rows: rows of the batch.
        programs: programs that share the work on one row.
    """
    tile = 1
    while tile < min(_ROWS, rows) and programs * triton.cdiv(rows, tile) > _PROGRAMS:
        tile *= 2
    return tile


def lstm_layer_plain(
    x: Tensor, h: Tensor, c: Tensor, weights: tuple[Tensor, Tensor], biases: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """The next h and c by torch's own operations."""
    gates = x @ weights[0].T + biases[0] + h @ weights[1].T + biases[1]
    i, f, g, o = gates.chunk(4, dim=1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


@triton.jit
def _lstm_layer(
    x,
    h,
    c,
    w_ih,
    w_hh,
    b_ih,
    b_hh,
    h_new,
    c_new,
    rows,
    INPUTS: tl.constexpr,
    HIDDEN: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    CHUNK: tl.constexpr,
    PDL: tl.constexpr,
):
    unit = tl.program_id(0) * UNITS + tl.arange(0, UNITS)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    real = unit < HIDDEN
    # One sum over all inputs at the end: sums go from thread to thread, and so cost the most.
    i = tl.zeros([ROWS, UNITS, CHUNK], tl.float32)
    f = tl.zeros([ROWS, UNITS, CHUNK], tl.float32)
    g = tl.zeros([ROWS, UNITS, CHUNK], tl.float32)
    o = tl.zeros([ROWS, UNITS, CHUNK], tl.float32)
    # The first weights are on their way while the layer before still works on x.
    k = tl.arange(0, CHUNK)
    first_x = _weights(w_ih, unit, real, k, INPUTS, HIDDEN)
    first_h = _weights(w_hh, unit, real, k, HIDDEN, HIDDEN)
    follow(PDL)
    i, f, g, o = _add(i, f, g, o, x, first_x, row, rows, k, INPUTS)
    i, f, g, o = _add(i, f, g, o, h, first_h, row, rows, k, HIDDEN)
    for start in tl.static_range(CHUNK, INPUTS, CHUNK):
        w = _weights(w_ih, unit, real, start + k, INPUTS, HIDDEN)
        i, f, g, o = _add(i, f, g, o, x, w, row, rows, start + k, INPUTS)
    for start in tl.static_range(CHUNK, HIDDEN, CHUNK):
        w = _weights(w_hh, unit, real, start + k, HIDDEN, HIDDEN)
        i, f, g, o = _add(i, f, g, o, h, w, row, rows, start + k, HIDDEN)
    i_gate = sigmoid(_total(i, b_ih, b_hh, unit, real))
    f_gate = sigmoid(_total(f, b_ih + HIDDEN, b_hh + HIDDEN, unit, real))
    g_gate = tanh(_total(g, b_ih + 2 * HIDDEN, b_hh + 2 * HIDDEN, unit, real))
    o_gate = sigmoid(_total(o, b_ih + 3 * HIDDEN, b_hh + 3 * HIDDEN, unit, real))
    inside = (row < rows)[:, None] & real[None, :]
    at = row[:, None] * HIDDEN + unit[None, :]
    cell = f_gate * tl.load(c + at, mask=inside, other=0.0) + i_gate * g_gate
    tl.store(c_new + at, cell, mask=inside)
    tl.store(h_new + at, o_gate * tanh(cell), mask=inside)


@triton.jit
def _weights(w, unit, real, k, INPUTS: tl.constexpr, HIDDEN: tl.constexpr):
    """The four gates' rows of w [4 HIDDEN, INPUTS] for these units, in columns k."""
    at = w + unit[:, None] * INPUTS + k[None, :]
    mine = real[:, None] & (k < INPUTS)[None, :]
    gate = HIDDEN * INPUTS
    i = tl.load(at, mask=mine, other=0.0)
    f = tl.load(at + gate, mask=mine, other=0.0)
    g = tl.load(at + 2 * gate, mask=mine, other=0.0)
    o = tl.load(at + 3 * gate, mask=mine, other=0.0)
    return i, f, g, o


@triton.jit
def _add(i, f, g, o, x, w, row, rows, k, INPUTS: tl.constexpr):
    """Add x[:, k] times the four gates' weights, not yet summed over k."""
    mask = (row < rows)[:, None] & (k < INPUTS)[None, :]
    part = tl.load(x + row[:, None] * INPUTS + k[None, :], mask=mask, other=0.0)[:, None, :]
    i += part * w[0][None, :, :]
    f += part * w[1][None, :, :]
    g += part * w[2][None, :, :]
    o += part * w[3][None, :, :]
    return i, f, g, o


@triton.jit
def _total(products, one, other, unit, real):
    bias = tl.load(one + unit, mask=real, other=0.0) + tl.load(other + unit, mask=real, other=0.0)
    return tl.sum(products, axis=2) + bias[None, :]
