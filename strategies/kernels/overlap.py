"""Programmatic dependent launch: a kernel starts before the one that it depends on has ended.

Until ``follow`` a kernel may touch only what no kernel of the batch has written: weights, the
matrix states that it alone updates, and which rows belong to whom. That hides the start of a
kernel, and the first trip to memory for its weights, behind the end of the one before. ``follow``
waits for the whole kernel before, so it comes before anything else and before every early exit.
"""

# mypy: disable-error-code="no-untyped-def,misc"

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


@cache
def overlap(device: torch.device, *, starts: bool = False) -> dict[str, Any]:
    """Launch options for kernels on the device; from compute capability 9.0 on.

    A kernel that ``starts`` a branch has no kernel before it to overlap with.
    """
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0):
        return {"PDL": True, "launch_pdl": not starts}
    return {"PDL": False}


@triton.jit
def follow(PDL: tl.constexpr):
    """Wait for the kernel before, then let the one after start."""
    if PDL:
        gdc_wait()
        gdc_launch_dependents()
