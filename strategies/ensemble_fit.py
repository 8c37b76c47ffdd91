"""Training of the ensemble within a run, by the same means as any module."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backtest.data.training_data import TrainingData
from backtest.strategies.ensemble import Ensemble, EnsembleState
from backtest.strategies.ensemble_parameters import FreeParameters, Scales
from backtest.strategies.module_fit import fit_module
from backtest.strategies.trainable import TrainableStrategy


def fit_ensemble(
    first: Ensemble, data: TrainingData, how: TrainableStrategy, seed: int, *, scaled: bool
) -> dict[str, NDArray[Any]]:
    """Train an ensemble; its tensors by their public names, in the dataset's units.

    Tower k learns target k, or all of them the only one.

    Args:
        first, scaled: where training begins; see ``FreeParameters``.
        data, how, seed: see ``fit_module``.

    Raises:
        UsageError, RunError: see ``fit_module``.
    """
    earlier = data.split(how.validation)[0] if 0 < how.validation < 1 else data
    scales = Scales.of((rows.features, rows.targets) for rows in earlier.rows())
    module = _FreeEnsemble(FreeParameters(first, scales, scaled=scaled))
    best = fit_module(module, data, how, seed)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in best.items()})
    with torch.no_grad():
        tensors = module.reparametrised.ensemble().state_dict()
        return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}


class _FreeEnsemble(nn.Module):
    """The ensemble as a module whose parameters are the free ones."""

    def __init__(self, parameters: FreeParameters) -> None:
        super().__init__()
        self.reparametrised = parameters
        self.free = nn.ParameterList(parameters.free.values())

    def init_state(self, n: int) -> EnsembleState:
        return self.reparametrised.ensemble().init_state(n)

    def forward(self, x: Tensor, state: EnsembleState) -> tuple[Tensor, EnsembleState]:
        return self.reparametrised.ensemble()(x, state)

    def forward_sequence(self, x: Tensor, state: EnsembleState) -> tuple[Tensor, EnsembleState]:
        return self.reparametrised.ensemble().forward_sequence(x, state)
