"""Scalar functions that kernels share, accurate to a few units in the last place of float32.

Of 1, that is, for ``tanh``: near 0 it is as good in absolute terms, and not in relative ones.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def silu(x):
    return x / (1.0 + tl.exp(-x))


@triton.jit
def tanh(x):
    return 2.0 / (1.0 + tl.exp(-2.0 * x)) - 1.0


@triton.jit
def larger(x, y):
    """The maximum, NaN where either is, as torch has it."""
    return tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def gelu(x):
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def log1p(x):
    """log(1 + x) for x >= 0: the rounding of 1 + x cancels (Kahan)."""
    u = 1.0 + x
    return tl.where(u == 1.0, x, tl.log(u) * (x / tl.where(u == 1.0, 1.0, u - 1.0)))


@triton.jit
def expm1(x):
    """exp(x) - 1 for x <= 0: the rounding of exp(x) cancels (Kahan)."""
    u = tl.exp(x)
    plain = (u == 1.0) | (u < 0.1)
    safe = tl.where(plain, 0.5, u)
    return tl.where(u == 1.0, x, tl.where(plain, u - 1.0, (safe - 1.0) * (x / tl.log(safe))))


@triton.jit
def decay(x):
    """exp(x) for x <= 0, near 1 rounded once, for what a recurrence multiplies by again and again.

    The hardware's exp is off by an ulp or two and near 1 to one side: over the thousand steps that
    such a state remembers, a thousand times that.
    """
    return tl.where(x < -1.0, tl.exp(x), 1.0 + expm1(x))


@triton.jit
def log_sigmoid(x):
    return tl.minimum(x, 0.0) - log1p(tl.exp(-tl.abs(x)))


@triton.jit
def softplus(x):
    return tl.maximum(x, 0.0) + log1p(tl.exp(-tl.abs(x)))


@triton.jit
def sum_splits(parts, at, mask, split_stride, SPLIT: tl.constexpr):
    """A split product's partial sums, added in a fixed order."""
    total = tl.load(parts + at, mask=mask, other=0.0)
    for s in tl.static_range(1, SPLIT):
        total += tl.load(parts + s * split_stride + at, mask=mask, other=0.0)
    return total


@triton.jit
def rms_scale(x, size, eps):
    """1 / RMS of a masked vector whose padding is zero."""
    return 1.0 / tl.sqrt(tl.sum(x * x, axis=0) / size + eps)


@triton.jit
def standardise(x, mask, size):
    """Layer norm of a masked vector without weight or bias."""
    mean = tl.sum(tl.where(mask, x, 0.0), axis=0) / size
    centred = tl.where(mask, x - mean, 0.0)
    return centred / tl.sqrt(tl.sum(centred * centred, axis=0) / size + 1e-5)


@triton.jit
def operand(x, dtype: tl.constexpr, PRECISION: tl.constexpr):
    """x as a product reads it: cast, and for TF32 rounded to nearest, since hardware cuts off."""
    x = x.to(dtype)
    if PRECISION == "tf32":
        bits = (x.to(tl.uint32, bitcast=True) + 0x1000) & 0xFFFFE000
        # A carry would make a zero of NaN.
        x = tl.where(tl.abs(x) <= 3.4028234663852886e38, bits.to(tl.float32, bitcast=True), x)
    return x
