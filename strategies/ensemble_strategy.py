"""What the ensemble's variants share: the parameter ``weights``, its hash, and loading it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backtest.errors import UsageError
from backtest.strategies.base import Session, Strategy
from backtest.strategies.weight_files import (
    file_sha256,
    packaged_weights,
    random_weights,
    training_window,
)

if TYPE_CHECKING:
    import torch

    from backtest.strategies.ensemble import Ensemble
    from backtest.strategies.plain_steps import PlainSteps


@dataclass
class EnsembleStrategy(Strategy):
    """A variant of the baseline ensemble; four outputs: xLSTM, Mamba2, RetNet, Hawk.

    Args:
        weights: a checkpoint (``.safetensors`` or ``.pt``) under the public names; by default the
            small one that ships with the sample dataset. ``random:SEED`` draws weights of the
            public sizes on the device, ``random:SEED:HIDDENxDEPTH`` of other ones.
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
        return None if random_weights(self._path) else training_window(self._path)

    def model(self, session: Session, device: torch.device) -> Ensemble:
        """The ensemble on the device.

        Raises:
            DataError: the checkpoint cannot be used.
            UsageError: it reads another number of features than the dataset has.
        """
        import torch

        from backtest.strategies.ensemble import EnsembleConfig, load_weights
        from backtest.strategies.ensemble_init import init_weights

        drawn = random_weights(self._path)
        if drawn is None:
            ensemble = load_weights(self._path, device=str(device))
        else:
            self._drawn = f"{self._path} by torch {torch.__version__} on {device.type}"
            sizes = EnsembleConfig(
                hidden=drawn.hidden,
                mlp=2 * drawn.hidden,
                depth=drawn.depth,
                features=len(session.features),
            )
            ensemble = init_weights(sizes, drawn.seed, device=str(device))
        wanted, found = ensemble.config.features, len(session.features)
        if wanted != found:
            raise UsageError(
                f"the ensemble reads {wanted} features, but the dataset has {found}",
                place=str(self._path),
                remedy="Choose weights that were made for this dataset.",
            )
        return ensemble

    @property
    def _path(self) -> Path:
        return packaged_weights() if self.weights is None else self.weights
