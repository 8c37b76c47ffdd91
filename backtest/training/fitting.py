"""Fits an ensemble by truncated backpropagation through time, stopping early, resumable.

Each lane is walked from its first event to its last; its state is carried from chunk to chunk while
gradients stop at the chunk's beginning (Williams and Peng 1990). What is drawn depends on (seed,
epoch) alone, so a resumed fit is the uninterrupted one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backtest.core.arrays import Int64Array
from backtest.core.atomic import new_file
from backtest.core.callbacks import ProgressCallback
from backtest.core.interrupts import raise_if_interrupted
from backtest.errors import DataError, RunError
from backtest.strategies.ensemble import Ensemble, EnsembleConfig
from backtest.strategies.ensemble_init import init_weights
from backtest.strategies.ensemble_parameters import FreeParameters, Scales
from backtest.strategies.state_tree import map_leaves
from backtest.training.sequences import Sequences
from backtest.training.settings import FitSettings

_LANES_TOGETHER = 256
"""Lanes that are evaluated together, which bounds the memory of their states."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """Losses of one epoch: squared error over the targets' mean square, 1 - R² if they have mean 0.

    ``training`` is the mean over the epoch, while the weights moved; ``by_target`` splits
    ``validation``.
    """

    training: float
    validation: float
    by_target: tuple[float, ...]


@dataclass(slots=True)
class FitState:
    """How far a fit has come, its parameters apart; plain values, for the checkpoint."""

    epoch: int = 0
    chunk: int = 0
    summed: float = 0.0
    counted: int = 0
    epochs: list[Epoch] = field(default_factory=list)

    @property
    def best(self) -> int:
        """The epoch with the lowest validation loss."""
        return int(np.argmin([e.validation for e in self.epochs]))


class Fit:
    """One fit of an ensemble.

    Args:
        settings: how.
        data: what to fit.
        held_out: a later stretch, to stop early by.
        identity: what determines the result; a checkpoint of another identity is refused.
        checkpoint: the file that keeps its progress.
    """

    def __init__(
        self,
        settings: FitSettings,
        data: Sequences,
        held_out: Sequences,
        identity: str,
        checkpoint: Path,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._checkpoint = checkpoint
        config = EnsembleConfig(
            settings.hidden,
            settings.mlp,
            settings.depth,
            settings.heads,
            data.features.shape[1],
        )
        first = init_weights(config, settings.seed, device=settings.device)
        scales = Scales.of([(data.features, data.targets)])
        self._parameters = FreeParameters(first, scales)
        self._optimiser = torch.optim.Adam(self._parameters.free.values(), lr=settings.rate)
        self._data, self._held_out = (_Loaded(d, settings.device) for d in (data, held_out))
        self._state: Any = None
        self._best: dict[str, Tensor] = {}
        self.progress = FitState()

    def run(
        self, on_progress: ProgressCallback, epoch_done: Callable[[int, Epoch], None]
    ) -> Ensemble:
        """Fit until validation stops improving; the ensemble of the best epoch.

        Args:
            on_progress: called with (updates done, updates at most).
            epoch_done: called with each epoch's number and losses.

        Raises:
            RunError: the loss is no longer finite.
            DataError: the checkpoint is another fit's, or cannot be read or written.
        """
        self._resume()
        settings, progress = self._settings, self.progress
        chunks = self._data.chunks(settings.chunk)
        while progress.epoch < settings.epochs and not self._stopped():
            starts = self._starts()
            while progress.chunk < len(starts):
                raise_if_interrupted()
                update = progress.epoch * chunks + progress.chunk
                self._update(
                    *starts[progress.chunk], self._rate(update / (settings.epochs * chunks))
                )
                progress.chunk += 1
                on_progress(update + 1, settings.epochs * chunks)
                if (update + 1) % settings.checkpoint_every == 0:
                    self._save()
            done = self._validated()
            progress.epochs.append(done)
            if progress.best == progress.epoch:
                self._best = {k: v.detach().clone() for k, v in self._parameters.free.items()}
            epoch_done(progress.epoch, done)
            progress.epoch, progress.chunk = progress.epoch + 1, 0
            progress.summed, progress.counted, self._state = 0.0, 0, None
            self._save()
        self._parameters.load(self._best)
        with torch.no_grad():
            return self._parameters.ensemble()

    def _stopped(self) -> bool:
        progress = self.progress
        return bool(progress.epochs) and progress.epoch - progress.best > self._settings.patience

    def _starts(self) -> list[tuple[int, int]]:
        """The epoch's chunks as (first, end) along the lanes: the first one is cut at random."""
        size, length = self._settings.chunk, self._data.length
        random = np.random.default_rng([self._settings.seed, self.progress.epoch])
        first = int(random.integers(1, size + 1))
        cuts = [0, *range(first, length, size), length]
        return list(pairwise(cuts))

    def _rate(self, done: float) -> float:
        warm = min(1.0, done / 0.01 + 0.01)
        return self._settings.rate * warm * (0.55 + 0.45 * math.cos(math.pi * done))

    def _update(self, low: int, high: int, rate: float) -> None:
        progress = self.progress
        model = self._parameters.ensemble()
        if self._state is None:
            self._state = model.init_state(self._data.lanes)
        squared = torch.zeros((), device=model.device)
        count = 0
        for x, target, real, seen in self._data.steps(low, high):
            y, self._state = model(x, self._state)
            squared = squared + ((y - target) ** 2 * real).sum()
            count += seen
        if not count:
            return
        loss = squared / (count * self._data.square * self._data.outputs)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters.free.values(), self._settings.clip)
        self._optimiser.step()
        self._state = map_leaves(Tensor.detach, self._state)
        progress.summed += _finite(loss.item(), progress.epoch) * count
        progress.counted += count

    def _validated(self) -> Epoch:
        with torch.inference_mode():
            model = self._parameters.ensemble()
            squared = torch.zeros(self._held_out.outputs, dtype=torch.float64)
            for low in range(0, self._held_out.lanes, _LANES_TOGETHER):
                part = slice(low, low + _LANES_TOGETHER)
                state = None
                for x, target, real, _ in self._held_out.steps(0, self._held_out.length, part):
                    state = model.init_state(len(x)) if state is None else state
                    y, state = model(x, state)
                    squared += ((y - target) ** 2 * real).sum(0).double().cpu()
        by_target = squared / (self._held_out.count * self._held_out.square)
        trained = self.progress.summed / max(self.progress.counted, 1)
        validation = _finite(float(by_target.mean()), self.progress.epoch)
        return Epoch(trained, validation, tuple(by_target.tolist()))

    def _save(self) -> None:
        progress = asdict(self.progress)
        held = {
            "identity": self._identity,
            "progress": progress,
            "free": self._parameters.free,
            "optimiser": self._optimiser.state_dict(),
            "state": self._state,
            "best": self._best,
        }
        with new_file(self._checkpoint) as path:
            torch.save(held, path)

    def _resume(self) -> None:
        if not self._checkpoint.exists():
            return
        place = str(self._checkpoint)
        try:
            held = torch.load(
                self._checkpoint, map_location=self._settings.device, weights_only=True
            )
            found = held["identity"]
        except Exception as error:  # pickle raises many kinds for damaged files
            raise DataError(
                f"the checkpoint cannot be read: {type(error).__name__}",
                place=place,
                remedy=_REMEDY,
            ) from None
        if found != self._identity:
            raise DataError(
                "it belongs to training with other settings or data", place=place, remedy=_REMEDY
            )
        fields = held["progress"]
        fields["epochs"] = [
            Epoch(**{**e, "by_target": tuple(e["by_target"])}) for e in fields["epochs"]
        ]
        self.progress = FitState(**fields)
        self._parameters.load(held["free"])
        self._optimiser.load_state_dict(held["optimiser"])
        self._state, self._best = held["state"], held["best"]


_REMEDY = "Remove it, or pass --restart, to train from the beginning."


def _finite(loss: float, epoch: int) -> float:
    if not math.isfinite(loss):
        raise RunError(
            f"the loss is {loss} in epoch {epoch}",
            place="training",
            remedy="Lower rate, and look for extreme features or targets.",
        )
    return loss


class _Loaded:
    """Sequences on the device, with the outputs of the ensemble paired with targets.

    With one target every tower predicts it; else tower k predicts target k.
    """

    def __init__(self, data: Sequences, device: str) -> None:
        self._device = device
        self._features = torch.from_numpy(data.features).to(device)
        targets = data.targets if data.targets.shape[1] > 1 else np.repeat(data.targets, 4, axis=1)
        self._targets = torch.from_numpy(np.ascontiguousarray(targets)).to(device)
        self._rows = data.lanes
        self.lanes, self.length = data.lanes.shape
        self.outputs = targets.shape[1]
        self.count = len(targets)
        # One scale for training and validation would do; each set's own gives 1 - R² directly.
        self.square = float(np.mean(np.square(targets, dtype=np.float64))) or 1.0

    def chunks(self, size: int) -> int:
        """Updates an epoch, at most."""
        return 1 - (1 - self.length) // size

    def steps(
        self, low: int, high: int, lanes: slice = slice(None)
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, int]]:
        """Features [B, F], targets [B, 4], which lanes still run [B, 1], and how many, by step."""
        for rows in _columns(self._rows[lanes, low:high]):
            real = rows >= 0
            index = torch.from_numpy(np.where(real, rows, 0)).to(self._device)
            mask = torch.from_numpy(real[:, None].astype(np.float32)).to(self._device)
            yield self._features[index], self._targets[index], mask, int(real.sum())


def _columns(rows: Int64Array) -> Iterator[Int64Array]:
    return iter(np.ascontiguousarray(rows.T))
