"""What the ensemble's variants share: the parameter ``weights``, its hash, and loading it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backtest.errors import UsageError
from backtest.strategies.base import Session, Strategy
from backtest.strategies.weight_files import file_sha256, packaged_weights

if TYPE_CHECKING:
    import torch

    from backtest.strategies.ensemble import Ensemble


@dataclass
class EnsembleStrategy(Strategy):
    """A variant of the baseline ensemble; four outputs: xLSTM, Mamba2, RetNet, Hawk.

    Args:
        weights: a checkpoint (``.safetensors`` or ``.pt``) under the public names; by default the
            small one that ships with the sample dataset.
    """

    weights: Path | None = None

    outputs = 4

    def fingerprint(self) -> dict[str, str]:
        """``{"weights": sha256 of the checkpoint}``."""
        return {"weights": file_sha256(self._path)}

    def model(self, session: Session, device: torch.device) -> Ensemble:
        """The ensemble on the device.

        Raises:
            DataError: the checkpoint cannot be used.
            UsageError: it reads another number of features than the dataset has.
        """
        from backtest.strategies.ensemble import load_weights

        ensemble = load_weights(self._path, device=str(device))
        wanted, found = ensemble.config.features, len(session.features)
        if wanted != found:
            raise UsageError(
                f"the ensemble reads {wanted} features, the dataset has {found}",
                place=str(self._path),
                remedy="Choose weights that were made for this dataset.",
            )
        return ensemble

    @property
    def _path(self) -> Path:
        return packaged_weights() if self.weights is None else self.weights
