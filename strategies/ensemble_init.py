"""Random weights for an ensemble: for tests, demonstrations and timing, where no checkpoint is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from backtest.strategies.ensemble import Ensemble, EnsembleConfig


def init_weights(
    config: EnsembleConfig, seed: int, *, memory: float = 1.0, device: str = "cpu"
) -> Ensemble:
    """A random ensemble whose activations stay near 1 and whose state matters.

    Scales: matrices are normal with variance 1/fan-in (a block of a block-diagonal matrix counts
    by its own width), convolution taps normal with deviation 1/2, biases normal with deviation
    0.1, norm and skip weights 1. RetNet's queries, keys and values have 2^-2.5 of that, as its
    authors start from: its head norm divides by the length of what is read, after one event
    |q k| |v|, and at full scale the norm's eps is too small to keep a query at a right angle to its
    key from turning every rounding into a change of sign.

    What decides how long state lives is spread over short and long memories: forget gates of xLSTM
    have biases from 1 to 5 (half-lives of about 2 to 100 events), Mamba2's a = -exp(uniform(log 1,
    log 16)) with step sizes near exp(uniform(log 0.005, log 0.2)), Hawk's a uniform in [0.9,
    0.999]; RetNet's constants are its formulas decay = 1 - 2^(-5 - 8h/H) and
    angle = 10000^(-k/(K/2 - 1)).

    Args:
        config: the sizes.
        seed: the same seed gives the same weights on the same device and torch.
        memory: multiplies what each recurrent layer adds to its block's input: the last matrix of
            Mamba2's, RetNet's and Hawk's layers and the layer norm that ends xLSTM's. Above 1 the
            past outweighs the present event; at 0 predictions ignore state altogether. At 1, on
            AR(1) features (0.5 to 0.99), the mean prediction with state and the one without
            correlate at 0.5 to 0.65.
        device: where the weights are drawn and stay.
    """
    generator = torch.Generator(device).manual_seed(seed)
    tensors = {}
    for name, shape in config.shapes().items():
        noise = torch.randn(shape, generator=generator, device=device)
        tensors[name] = _scaled(name, noise, config) * (memory if _adds_memory(name) else 1.0)
    return Ensemble(config, tensors)


def _adds_memory(name: str) -> bool:
    return name.endswith(("layer.final_norm.weight", "layer.out_proj.weight"))


def _scaled(name: str, noise: Tensor, config: EnsembleConfig) -> Tensor:
    leaf = name.partition(".layer.")[2]
    if leaf == "decay":
        heads = torch.arange(config.heads, device=noise.device)
        return 1 - torch.exp2(-5.0 - 8 * heads / config.heads)
    if leaf == "angle":
        pairs = torch.linspace(0, 1, noise.numel() // 2, device=noise.device)
        return torch.pow(10_000, -pairs).repeat_interleave(2)
    if leaf in _FROM_UNIFORM:
        return _FROM_UNIFORM[leaf](torch.special.ndtr(noise))
    if name.endswith("bias"):
        return 0.1 * noise
    if noise.ndim == 1:
        return torch.ones_like(noise)
    if leaf in _RETNET_INPUTS:
        noise = noise * 2**-2.5
    return noise * (0.5 if name.endswith("conv.weight") else noise.shape[-1] ** -0.5)


_RETNET_INPUTS = ("q_proj.weight", "k_proj.weight", "v_proj.weight")
"""mLSTM's projections of the same names lie deeper, under ``mlstm.``."""


_FROM_UNIFORM: dict[str, Callable[[Tensor], Tensor]] = {
    "slstm.fgate_state.bias": lambda u: 1 + 4 * u,
    "mlstm.mlstm_cell.fgate_proj.bias": lambda u: 1 + 4 * u,
    "a": lambda u: -torch.pow(16, u),
    "dt_proj.bias": lambda u: torch.log(torch.expm1(0.005 * torch.pow(40, u))),
    "rglru.a": lambda u: 0.9 + 0.099 * u,
}
