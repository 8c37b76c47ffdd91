"""The device: its name checked, events uploaded, TF32 off where answers must match."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backtest.core.arrays import Float32Array
from backtest.core.text import suggestion
from backtest.errors import UsageError

_KINDS = ("cpu", "cuda")


def find_device(name: str) -> torch.device:
    """The torch device of that name; of several GPUs it is the current one from now on.

    Kernels that are not torch's are launched on the current device, wherever their tensors are.

    Raises:
        UsageError: no such device on this machine, or in this build of torch.
    """
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise RuntimeError("it computes nothing")
        torch.empty(0, device=device)
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)
    except (RuntimeError, AssertionError) as error:
        kind = name.partition(":")[0]
        near = None if kind in _KINDS else suggestion(kind, _KINDS)
        raise UsageError(
            f"no device {name!r}: {str(error).partition(chr(10))[0]}",
            remedy=near or "Use cpu, or cuda:0 with a CUDA build of torch and an NVIDIA GPU.",
        ) from None
    return device


@contextmanager
def exact_float32() -> Iterator[None]:
    """Float32 products in float32 (no TF32, no bfloat16) inside the block, as before after it.

    Covers matrix products, and the LSTM and GRU of cuDNN, which use TF32 unless told otherwise.
    """
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in _EXACT]
    for owner, name, exact in _EXACT:
        setattr(owner, name, exact)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _switches() -> list[tuple[Any, str, Any]]:
    cuda = torch.backends.cuda
    cudnn: Any = torch.backends.cudnn  # its parts, and mkldnn's, are made at run time
    mkldnn: Any = torch.backends.mkldnn
    if hasattr(cuda.matmul, "fp32_precision"):  # since torch 2.9; reading the older may then raise
        parts = (cuda.matmul, cudnn.rnn, cudnn.conv, mkldnn.matmul, mkldnn.rnn, mkldnn.conv)
        return [(part, "fp32_precision", "ieee") for part in parts]
    return [(cuda.matmul, "allow_tf32", False), (cudnn, "allow_tf32", False)]


_EXACT = _switches()


def upload(features: Float32Array, device: torch.device) -> Tensor:
    """Features float32 [n, F] in any memory order as a row-major tensor on the device."""
    by_column = features.flags.f_contiguous and not features.flags.c_contiguous
    source = features.T if by_column else features  # copied along memory, turned on the device
    host = torch.empty(source.shape, pin_memory=device.type == "cuda")
    np.copyto(host.numpy(), source)
    on_device = host.to(device, non_blocking=True)
    return on_device.T.contiguous() if by_column else on_device
