"""Programmatic dependent launch: a kernel starts before the one that it depends on has ended.

Until ``follow`` a kernel may touch only what no kernel of the batch has written: weights, the
matrix states that it alone updates, and which rows belong to whom. That hides the start of a
kernel, and the first trip to memory for its weights, behind the end of the one before. ``follow``
waits for the whole kernel before, so it comes before anything else and before every early exit.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

OVERLAP_BELOW = 32
"""Rows from which on programs that start early delay the other towers' work."""


def overlap(x: Tensor, *, starts: bool = False) -> dict[str, Any]:
    """Launch options for a kernel over the rows of x.

    Needs compute capability 9.0. A kernel that ``starts`` a branch has none before it.
    """
    if x.shape[0] < OVERLAP_BELOW and _is_hopper(x.device):
        return {"PDL": True, "launch_pdl": not starts}
    return {"PDL": False}


@cache
def _is_hopper(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


@triton.jit
def follow(PDL: tl.constexpr):
    """Wait for the kernel before, then let the one after start."""
    if PDL:
        gdc_wait()
        gdc_launch_dependents()
