"""Scalar functions of the kernels."""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import pytest
import torch

from tests.strategies.interpreted import DEVICE  # isort: skip  # before any kernel
import triton
import triton.language as tl

from backtest.strategies.kernels.arithmetic import decay, operand

pytestmark = pytest.mark.one_python


@triton.jit
def _as_operand(x, out, PRECISION: tl.constexpr):
    r = tl.arange(0, 8)
    tl.store(out + r, operand(tl.load(x + r), tl.float32, PRECISION))


def test_tf32_operands_are_rounded_to_nearest() -> None:
    half, more = 2**-11, 2**-20
    values = [1 + half + more, 1 + half - more, -1 - half - more, 3e-38, 0.0]
    values += [torch.inf, -torch.inf, torch.nan]
    wanted = [1 + 2**-10, 1.0, -1 - 2**-10, values[3], 0.0, *values[5:]]
    x = torch.tensor(values, device=DEVICE)
    x[7:].view(torch.int32).fill_(0x7FFFFFFF)  # NaN as a GPU makes it
    out = torch.empty_like(x)
    _as_operand[(1,)](x, out, "tf32")
    exact = torch.tensor(wanted, device=DEVICE)
    exact[3] = out[3]
    assert abs(float(out[3]) / 3e-38 - 1) <= half
    torch.testing.assert_close(out, exact, atol=0, rtol=0, equal_nan=True)
    _as_operand[(1,)](x, out, "ieee")
    torch.testing.assert_close(out, x, atol=0, rtol=0, equal_nan=True)


@triton.jit
def _decay(x, out, BLOCK: tl.constexpr):
    r = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + r, decay(tl.load(x + r)))


def test_decay_is_rounded_once() -> None:
    x = -torch.logspace(-6, 1, 4096, dtype=torch.float32, device=DEVICE)
    out = torch.empty_like(x)
    _decay[(4,)](x, out, 1024)
    error = out.double() - x.double().exp()
    near = x > -0.1
    assert float(error[near].abs().max()) <= 2**-24  # what lies between two floats
    assert abs(float(error[near].mean())) <= 1e-9  # to neither side
    assert float((error / x.double().exp()).abs().max()) <= 1e-6
    edges = torch.tensor([0.0, -torch.inf, -200.0, torch.nan], device=DEVICE)
    found = torch.empty_like(edges)
    _decay[(1,)](edges, found, 4)
    wanted = torch.tensor([1.0, 0.0, 0.0, torch.nan], device=DEVICE)
    torch.testing.assert_close(found, wanted, atol=0, rtol=0, equal_nan=True)
