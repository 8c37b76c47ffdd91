"""The device: its name checked, events uploaded, TF32 off where answers must match."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from backtest.errors import UsageError
from backtest.events import Float32Array


def find_device(name: str) -> torch.device:
    """The torch device of that name.

    Raises:
        UsageError: no such device on this machine, or in this build of torch.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"no device {name!r}: {str(error).partition(chr(10))[0]}",
            remedy="Use cpu, or cuda:0 with a CUDA build of torch and an NVIDIA GPU.",
        ) from None
    return device


@contextmanager
def exact_float32() -> Iterator[None]:
    """Float32 products in float32 (no TF32, no bfloat16) inside the block, as before after it."""
    products = torch.get_float32_matmul_precision()
    recurrent = torch.backends.cudnn.allow_tf32  # cuDNN's own switch covers torch's LSTM and GRU
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = recurrent


def upload(features: Float32Array, device: torch.device) -> Tensor:
    """Features float32 [n, F] in any memory order as a row-major tensor on the device."""
    by_column = features.flags.f_contiguous and not features.flags.c_contiguous
    source = features.T if by_column else features  # copied along memory, turned on the device
    host = torch.empty(source.shape, pin_memory=device.type == "cuda")
    np.copyto(host.numpy(), source)
    on_device = host.to(device, non_blocking=True)
    return on_device.T.contiguous() if by_column else on_device
