"""The primitive behind mLSTM, RetNet and Mamba2: ``S <- a S + k v^T``, ``y = q^T S``."""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def advance(s, keep, k, v, q):
    """A tile [K, V] of S and k, q [K], v [V] -> the new tile and y [V]."""
    s = keep * s + k[:, None] * v[None, :]
    return s, tl.sum(q[:, None] * s, axis=0)


@triton.jit
def advance_transposed(s, keep, k, v, q):
    """The same for a state that is stored [V, K]."""
    s = keep * s + v[:, None] * k[None, :]
    return s, tl.sum(s * q[None, :], axis=1)


def advance_plain(
    s: Tensor, keep: Tensor, k: Tensor, v: Tensor, q: Tensor
) -> tuple[Tensor, Tensor]:
    """The same in plain operations: s [..., K, V], keep [...], k and q [..., K], v [..., V]."""
    s = keep[..., None, None] * s + k.unsqueeze(-1) * v.unsqueeze(-2)
    return s, torch.einsum("...k,...kv->...v", q, s)
