"""One step of a depthwise causal convolution for a tile of channels, over a run of events."""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from backtest.strategies.kernels.arithmetic import silu
from backtest.strategies.kernels.overlap import follow, overlap
from backtest.strategies.kernels.runs import Runs, find_run

_TILE = 256


def convolve(
    x: Tensor,
    conv: tuple[Tensor, Tensor, Tensor],
    runs: Runs,
    out: tuple[Tensor, Tensor | None],
    *,
    activate: bool,
) -> None:
    """Causal convolution of each run's rows, state in place.

    Args:
        x: the newest inputs, float32 [B, C], rows contiguous.
        conv: weight [4, C], bias [C], state float32 [slots, C, 3].
        runs: which rows belong together.
        out: the result in float32, and (or ``None``) in the products' dtype, rows contiguous.
        activate: whether silu follows.
    """
    _, channels = x.shape
    weight, bias, state = conv
    plain, rounded = out
    tile = min(_TILE, triton.next_power_of_2(channels))
    _convolve[(runs.programs, triton.cdiv(channels, tile))](
        x,
        weight,
        bias,
        state,
        runs.slot,
        runs.count,
        runs.first,
        plain,
        rounded,
        x.stride(0),
        plain.stride(0),
        CHANNELS=channels,
        ACTIVATE=activate,
        BC=tile,
        num_warps=2,
        **overlap(x),
    )


@triton.jit
def _convolve(
    x,
    weight,
    bias,
    state,
    slot,
    count,
    first,
    plain,
    rounded,
    x_stride,
    out_stride,
    CHANNELS: tl.constexpr,
    ACTIVATE: tl.constexpr,
    BC: tl.constexpr,
    PDL: tl.constexpr,
):
    row, events = find_run(first, count, tl.program_id(0))
    if events == 0:
        follow(PDL)
        return
    r = tl.program_id(1) * BC + tl.arange(0, BC)
    mask = r < CHANNELS
    w0, w1, w2, w3, b = taps(weight, bias, r, mask, CHANNELS)
    at = state + tl.load(slot + row).to(tl.int64) * (3 * CHANNELS) + 3 * r
    s0, s1, s2 = window(at, mask)
    follow(PDL)
    for event in range(events):
        new = tl.load(x + (row + event) * x_stride + r, mask=mask, other=0.0)
        y = s0 * w0 + s1 * w1 + s2 * w2 + new * w3 + b
        if ACTIVATE:
            y = silu(y)
        tl.store(plain + (row + event) * out_stride + r, y, mask=mask)
        if rounded is not None:
            y_rounded = y.to(rounded.dtype.element_ty)
            tl.store(rounded + (row + event) * CHANNELS + r, y_rounded, mask=mask)
        s0 = s1
        s1 = s2
        s2 = new
    keep_window(at, s0, s1, s2, mask)


@triton.jit
def taps(weight, bias, r, mask, CHANNELS: tl.constexpr):
    """The four taps and the bias of channels r; weight is [4, C]."""
    w0 = tl.load(weight + r, mask=mask, other=0.0)
    w1 = tl.load(weight + CHANNELS + r, mask=mask, other=0.0)
    w2 = tl.load(weight + 2 * CHANNELS + r, mask=mask, other=0.0)
    w3 = tl.load(weight + 3 * CHANNELS + r, mask=mask, other=0.0)
    return w0, w1, w2, w3, tl.load(bias + r, mask=mask, other=0.0)


@triton.jit
def window(at, mask):
    """The three inputs before, oldest first."""
    s0 = tl.load(at, mask=mask, other=0.0)
    s1 = tl.load(at + 1, mask=mask, other=0.0)
    return s0, s1, tl.load(at + 2, mask=mask, other=0.0)


@triton.jit
def keep_window(at, s0, s1, s2, mask):
    tl.store(at, s0, mask=mask)
    tl.store(at + 1, s1, mask=mask)
    tl.store(at + 2, s2, mask=mask)
