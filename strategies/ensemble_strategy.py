"""What the ensemble's variants share: the parameter ``weights``, its hash, and loading it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from backtest.core.parameters import as_table
from backtest.errors import UsageError
from backtest.strategies.base import Session
from backtest.strategies.trainable import TrainableStrategy
from backtest.strategies.weight_files import (
    RandomWeights,
    file_sha256,
    packaged_weights,
    random_weights,
    training_window,
)

if TYPE_CHECKING:
    import torch

    from backtest.data.training_data import TrainingData
    from backtest.strategies.ensemble import Ensemble
    from backtest.strategies.plain_steps import PlainSteps

_SMALL = 32, 1
"""Width and depth of an ensemble that is trained from the beginning, if no other is asked for."""


@dataclass
class EnsembleStrategy(TrainableStrategy):
    """A variant of the baseline ensemble; four outputs: xLSTM, Mamba2, RetNet, Hawk.

    Args:
        weights: a checkpoint (``.safetensors`` or ``.pt``) under the public names; by default the
            small one that ships with the sample dataset. ``random:SEED`` draws weights of the
            public sizes on the device, ``random:SEED:HIDDENxDEPTH`` of other ones. Training begins
            with these; by default with random ones of width 32 and depth 1.
    """

    weights: Path | None = None

    outputs = 4

    def fingerprint(self) -> dict[str, str]:
        """``{"weights": sha256 of the checkpoint, or how random ones were drawn}``."""
        if random_weights(self._path) is None:
            return {"weights": file_sha256(self._path)}
        return {"weights": self._drawn}

    def plain_steps(self, session: Session, *, double: bool) -> PlainSteps | None:
        """The plain ensemble; see ``Strategy.plain_steps``."""
        import torch

        from backtest.strategies.device import find_device
        from backtest.strategies.plain_steps import PlainSteps

        device = find_device(session.device)
        dtype = torch.float64 if double else torch.float32
        ensemble = EnsembleStrategy.model(self, session, device).to(dtype=dtype)
        return PlainSteps(ensemble, device, dtype)

    def training_window(self) -> tuple[int, int] | None:
        """The window in the checkpoint's metadata; see ``Strategy.training_window``."""
        if random_weights(self._path) or (self._learnt is not None and self.weights is None):
            return None
        return training_window(self._path)

    def fit(self, data: TrainingData) -> dict[str, NDArray[Any]]:
        """Train all towers, each on its target; the tensors by their public names.

        Raises:
            DataError, UsageError: see ``model``.
            UsageError, RunError: see ``fit_ensemble``.
        """
        from backtest.strategies.device import find_device
        from backtest.strategies.ensemble_fit import fit_ensemble

        seed = data.seed if self.fit_seed is None else self.fit_seed
        device, features = find_device(data.device), len(data.features)
        if self.weights is None:
            first, scaled = _draw(RandomWeights(seed, *_SMALL), features, device), True
        else:
            first = self._initial(features, device)
            scaled = random_weights(self.weights) is not None
        return fit_ensemble(first, data, self, seed, scaled=scaled)

    def shared_fit(self) -> dict[str, Any] | None:
        """All variants of the same weights and training share what is learnt."""
        if type(self).fit is not EnsembleStrategy.fit:
            return None
        shared = {field.name for field in fields(EnsembleStrategy)}
        table = as_table(self, "ensemble")
        return {name: value for name, value in table.items() if name in {"name", *shared}}

    def model(self, session: Session, device: torch.device) -> Ensemble:
        """The ensemble on the device.

        Raises:
            DataError: the checkpoint cannot be used.
            UsageError: it reads another number of features than the dataset has.
        """
        import torch

        from backtest.strategies.ensemble import Ensemble, infer_config

        if self._learnt is None:
            return self._initial(len(session.features), device)
        tensors = {name: torch.from_numpy(w).to(device) for name, w in self._learnt.items()}
        return Ensemble(infer_config(tensors, place="fitted weights"), tensors)

    def _initial(self, features: int, device: torch.device) -> Ensemble:
        """The ensemble that the parameter ``weights`` names."""
        import torch

        from backtest.strategies.ensemble import load_weights

        drawn = random_weights(self._path)
        if drawn is not None:
            self._drawn = f"{self._path} by torch {torch.__version__} on {device.type}"
            return _draw(drawn, features, device)
        ensemble = load_weights(self._path, device=str(device))
        found = ensemble.config.features
        if features != found:
            raise UsageError(
                f"the ensemble reads {found} features, but the dataset has {features}",
                place=str(self._path),
                remedy="Choose weights that were made for this dataset, "
                "or random:SEED:HIDDENxDEPTH to begin training with.",
            )
        return ensemble

    @property
    def _path(self) -> Path:
        return packaged_weights() if self.weights is None else self.weights


def _draw(sizes: RandomWeights, features: int, device: torch.device) -> Ensemble:
    from backtest.strategies.ensemble import EnsembleConfig
    from backtest.strategies.ensemble_init import init_weights

    config = EnsembleConfig(
        hidden=sizes.hidden, mlp=2 * sizes.hidden, depth=sizes.depth, features=features
    )
    return init_weights(config, sizes.seed, device=str(device))
