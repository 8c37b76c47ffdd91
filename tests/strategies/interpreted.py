"""Import this before any kernel: without a GPU, triton then interprets kernels on the CPU."""

from __future__ import annotations

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
pytest.importorskip("triton", reason="the fused kernels need triton")

DEVICE = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
