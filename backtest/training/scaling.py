"""Free parameters behind an ensemble's weights: bounded ones unbounded, inputs and outputs scaled.

An optimiser moves free parameters anywhere; some weights may not go there (Mamba2's a < 0, Hawk's
0 < a < 1). And it wants features and targets of about unit size: their scales are folded into the
first and the last matrices, so that the weights read and predict the dataset's own units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backtest.core.arrays import Float32Array
from backtest.strategies.ensemble import Ensemble, EnsembleConfig, is_buffer
from backtest.strategies.ensemble_init import init_weights
from backtest.training.sequences import Sequences

_MAMBA_A = ".layer.a"
_HAWK_A = ".layer.rglru.a"


@dataclass(frozen=True, slots=True)
class Scales:
    """Means and deviations of the features [F], and one deviation for all targets."""

    mean: Float32Array
    deviation: Float32Array
    target: float

    @classmethod
    def of(cls, data: Sequences) -> Scales:
        """Those of a window; a feature that never varies counts as of unit deviation."""
        deviation = data.features.std(axis=0, dtype=np.float64).astype(np.float32)
        target = float(np.sqrt(np.mean(np.square(data.targets, dtype=np.float64))))
        return cls(
            data.features.mean(axis=0, dtype=np.float64).astype(np.float32),
            np.where(deviation > 0, deviation, np.float32(1)),
            target or 1.0,
        )


class FreeParameters:
    """The parameters that the optimiser changes, and the ensemble that they define.

    Attributes:
        free: the parameters by their public names, leaves that require gradients.
    """

    def __init__(self, config: EnsembleConfig, scales: Scales, seed: int, device: str) -> None:
        self._config = config
        first = init_weights(config, seed, device=device).state_dict()
        self._buffers = {k: v for k, v in first.items() if is_buffer(k)}
        self.free = {
            name: _freed(name, tensor).requires_grad_()
            for name, tensor in first.items()
            if not is_buffer(name)
        }
        self._mean = torch.from_numpy(scales.mean).to(device)
        self._deviation = torch.from_numpy(scales.deviation).to(device)
        self._target = scales.target

    def ensemble(self) -> Ensemble:
        """The ensemble in the dataset's units, differentiable in ``free``."""
        tensors = dict(self._buffers)
        tensors |= {name: _bounded(name, tensor) for name, tensor in self.free.items()}
        for name in [n for n in tensors if n.endswith("input_up.weight")]:
            bias = name.removesuffix("weight") + "bias"
            tensors[name] = tensors[name] / self._deviation
            tensors[bias] = tensors[bias] - tensors[name] @ self._mean
        for name in ("output_proj.weight", "output_proj.bias"):
            tensors[name] = tensors[name] * self._target
        return Ensemble(self._config, tensors)

    def load(self, free: dict[str, Tensor]) -> None:
        """Set the parameters to stored ones, in place."""
        with torch.no_grad():
            for name, tensor in self.free.items():
                tensor.copy_(free[name])


def _freed(name: str, tensor: Tensor) -> Tensor:
    if name.endswith(_MAMBA_A):
        return torch.log(-tensor)
    if name.endswith(_HAWK_A):
        return torch.logit(tensor)
    return tensor.clone()


def _bounded(name: str, free: Tensor) -> Tensor:
    if name.endswith(_MAMBA_A):
        return -torch.exp(free)
    if name.endswith(_HAWK_A):
        return torch.sigmoid(free)
    return free
