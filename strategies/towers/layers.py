"""What the towers share: norms, block-diagonal products, and a causal convolution.

Shapes: T time steps, B events of distinct symbols, C channels, N blocks of size K.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

Shapes: TypeAlias = dict[str, tuple[int, ...]]
"""Weight shapes by name, in the checkpoint's order."""

Weights: TypeAlias = Mapping[str, Tensor]
"""One module's weights by the names that the checkpoint gives them inside that module."""

State: TypeAlias = dict[str, Tensor]
"""One layer's recurrent state by canonical name, every tensor with batch axis 0."""

Convolution: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""``causal_conv``, or ``causal_convs``."""

KERNEL = 4
"""Taps of every causal convolution; its state holds the last ``KERNEL - 1`` inputs."""


class Sizes(Protocol):
    """The sizes that a layer is made for, as ``EnsembleConfig`` has them."""

    @property
    def hidden(self) -> int:
        """Width of the tower."""

    @property
    def heads(self) -> int:
        """Heads of mLSTM and RetNet, twice those of sLSTM."""


def rms_norm(x: Tensor, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """RMS norm over the last axis; ``eps`` is by default the machine epsilon of x's dtype."""
    return F.rms_norm(x, x.shape[-1:], weight, eps)


def layer_norm(x: Tensor, weight: Tensor) -> Tensor:
    """Layer norm over the last axis: biased variance, eps 1e-5, no bias."""
    return F.layer_norm(x, weight.shape, weight, None, 1e-5)


def block_linear(x: Tensor, weight: Tensor) -> Tensor:
    """Block-diagonal product: x [..., N*K], weight [N, K out, K in] -> [..., N*K]."""
    blocks, size, _ = weight.shape
    by_block = x.reshape(-1, blocks, size).permute(1, 2, 0)  # [N, K, B]
    return torch.bmm(weight, by_block).permute(2, 0, 1).reshape(x.shape)


def causal_conv(x: Tensor, last: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """One step of a depthwise causal convolution.

    Args:
        x: the newest input, [B, C].
        last: the three before it, oldest first, [B, C, 3].
        weight: [C, 1, 4]; its last tap meets the newest input.
        bias: [C].

    Returns:
        The output [B, C] and the next ``last`` [B, C, 3].
    """
    window = torch.cat((last, x.unsqueeze(-1)), dim=-1)
    return (window * weight.squeeze(1)).sum(-1) + bias, window[..., 1:]


def causal_convs(x: Tensor, last: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """``causal_conv`` over T steps: x [T, B, C] -> the output [T, B, C] and the next ``last``."""
    steps, taps = len(x), weight.squeeze(1)
    window = torch.cat((last.permute(2, 0, 1), x))  # [3 + T, B, C]
    out = sum(window[j : j + steps] * taps[:, j] for j in range(KERNEL)) + bias
    return out, window[steps:].permute(1, 2, 0).contiguous()
