"""Free parameters behind an ensemble's weights: bounded ones unbounded, inputs and outputs scaled.

An optimiser moves free parameters anywhere; some weights may not go there (Mamba2's a < 0, Hawk's
0 < a < 1). And it wants features and targets of about unit size: their scales are folded into the
first and the last matrices, so that the weights read and predict the dataset's own units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from backtest.core.arrays import Float32Array
from backtest.strategies.ensemble import Ensemble, is_buffer

_MAMBA_A = ".layer.a"
_HAWK_A = ".layer.rglru.a"


@dataclass(frozen=True, slots=True)
class Scales:
    """Means and deviations of the features [F], and one deviation for all targets."""

    mean: Float32Array
    deviation: Float32Array
    target: float

    @classmethod
    def of(cls, pieces: Iterable[tuple[Float32Array, Float32Array]]) -> Scales:
        """Those of features [n, F] and targets [n, K], given piece by piece, at least one event.

        A feature that never varies counts as of unit deviation. The moments of pieces are joined
        as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
        sample variances" (1979).
        """
        count, values, square = 0, 0, 0.0
        mean = apart = np.zeros(())
        for features, targets in pieces:
            n = len(features)
            own = features.mean(axis=0, dtype=np.float64)
            ahead = own - mean
            apart = apart + n * features.var(axis=0, dtype=np.float64)
            apart = apart + ahead**2 * count * n / (count + n)
            mean = mean + ahead * n / (count + n)
            count += n
            values += targets.size
            square += float(np.square(targets, dtype=np.float64).sum())
        deviation = np.sqrt(apart / count).astype(np.float32)
        return cls(
            mean.astype(np.float32),
            np.where(deviation > 0, deviation, np.float32(1)),
            float(np.sqrt(square / values)) or 1.0,
        )


class FreeParameters:
    """The parameters that the optimiser changes, and the ensemble that they define.

    Args:
        first: where they begin.
        scales: of what is learnt.
        scaled: whether ``first`` reads features and predicts targets of unit size; otherwise it has
            the dataset's own units.

    Attributes:
        free: the parameters by their public names.
    """

    def __init__(self, first: Ensemble, scales: Scales, *, scaled: bool = True) -> None:
        self._config = first.config
        self._mean = torch.from_numpy(scales.mean).to(first.device)
        self._deviation = torch.from_numpy(scales.deviation).to(first.device)
        self._target = scales.target
        tensors = first.state_dict()
        if not scaled:
            tensors = self._without_units(tensors)
        self._buffers = {k: v for k, v in tensors.items() if is_buffer(k)}
        self.free = {
            name: nn.Parameter(_freed(name, tensor))
            for name, tensor in tensors.items()
            if not is_buffer(name)
        }

    def ensemble(self) -> Ensemble:
        """The ensemble in the dataset's units, differentiable in ``free``."""
        tensors = dict(self._buffers)
        tensors |= {name: _bounded(name, tensor) for name, tensor in self.free.items()}
        for weight, bias in _inputs(tensors):
            tensors[weight] = tensors[weight] / self._deviation
            tensors[bias] = tensors[bias] - tensors[weight] @ self._mean
        for name in _OUTPUTS:
            tensors[name] = tensors[name] * self._target
        return Ensemble(self._config, tensors)

    def _without_units(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What ``ensemble`` makes these tensors of."""
        found = dict(tensors)
        for weight, bias in _inputs(tensors):
            found[bias] = tensors[bias] + tensors[weight] @ self._mean
            found[weight] = tensors[weight] * self._deviation
        for name in _OUTPUTS:
            found[name] = tensors[name] / self._target
        return found

    def load(self, free: dict[str, Tensor]) -> None:
        """Set the parameters to stored ones, in place."""
        with torch.no_grad():
            for name, tensor in self.free.items():
                tensor.copy_(free[name])


_OUTPUTS = ("output_proj.weight", "output_proj.bias")


def _inputs(tensors: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """Names of the weights and biases that read the features."""
    weights = [name for name in tensors if name.endswith("input_up.weight")]
    return [(name, name.removesuffix("weight") + "bias") for name in weights]


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
