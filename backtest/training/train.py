"""Trains an ensemble on a dataset and writes its weights, what they came from and the losses."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backtest.core.atomic import new_file
from backtest.core.callbacks import ProgressCallback
from backtest.core.environment import device_model, versions
from backtest.core.hashing import sha256_of
from backtest.core.times import format_utc
from backtest.data.dataset import Dataset
from backtest.errors import DataError, UsageError
from backtest.strategies.device import find_device
from backtest.strategies.tensor_files import write_safetensors
from backtest.strategies.weight_files import TRAINED_FROM, TRAINED_TO, file_sha256
from backtest.training.fitting import Epoch, Fit
from backtest.training.sequences import Sequences, read_window
from backtest.training.settings import FitSettings

_TOWERS = 4


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training left.

    Attributes:
        weights, manifest: paths, ``NAME.safetensors`` and ``NAME.manifest.json``.
        epochs: their losses.
        best: the epoch whose weights were kept.
    """

    weights: Path
    manifest: Path
    epochs: Sequence[Epoch]
    best: int


def train(
    dataset: Dataset,
    output: Path,
    settings: FitSettings,
    *,
    restart: bool = False,
    overwrite: bool = False,
    on_progress: ProgressCallback = lambda done, total: None,
    epoch_done: Callable[[int, Epoch], None] = lambda number, epoch: None,
) -> Trained:
    """Fit an ensemble to the dataset's targets, tower k to target k (or all to the only one).

    The progress is kept in ``NAME.checkpoint`` next to the output until it is complete: training
    that was stopped continues there, and on the CPU ends in the same weights as one that was not.

    Args:
        dataset: features and targets.
        output: the ``.safetensors`` file to make.
        settings: sizes, window, how to fit.
        restart: forget a checkpoint.
        overwrite: replace weights that are already there.
        on_progress: called with (updates done, updates at most).
        epoch_done: called with each epoch's number and losses.

    Raises:
        UsageError: no such device, no targets or features, sizes that do not go together, or too
            few events.
        DataError: the output is there already or cannot be written; a checkpoint of another
            training.
        RunError: the loss is no longer finite.
    """
    checkpoint = output.with_suffix(".checkpoint")
    _check(dataset, output, overwrite)
    find_device(settings.device)
    if restart:
        checkpoint.unlink(missing_ok=True)
    data, held_out = read_window(
        dataset, settings.start, settings.end, settings.validation, settings.lanes
    )
    inputs = {"settings": asdict(settings), "data": dataset.data_hash(), "versions": versions()}
    try:
        fit = Fit(settings, data, held_out, sha256_of(inputs), checkpoint)
    except ValueError as error:
        raise UsageError(str(error), place="training") from None
    ensemble = fit.run(on_progress, epoch_done)
    window = data.window[0], held_out.window[1]
    with new_file(output) as path:
        metadata = {TRAINED_FROM: str(window[0]), TRAINED_TO: str(window[1])}
        write_safetensors(path, ensemble.state_dict(), metadata)
        weights = {"file": output.name, "sha256": file_sha256(path)}
    epochs, best = fit.progress.epochs, fit.progress.best
    manifest = {
        "weights": weights,
        "data": {"name": dataset.name, "hash": inputs["data"]},
        "training_window": _window(data),
        "validation_window": _window(held_out),
        "settings": inputs["settings"],
        "device": device_model(settings.device),
        "versions": inputs["versions"],
        "best_epoch": best,
        "losses": [asdict(epoch) for epoch in epochs],
    }
    made = Trained(output, output.with_suffix(".manifest.json"), epochs, best)
    with new_file(made.manifest) as path:
        path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    checkpoint.unlink(missing_ok=True)
    return made


def _check(dataset: Dataset, output: Path, overwrite: bool) -> None:
    place = f"dataset {dataset.name!r}"
    if not dataset.features:
        raise UsageError("the dataset has no features to train on", place=place)
    if len(dataset.targets) not in (1, _TOWERS):
        raise UsageError(
            f"it has {len(dataset.targets)} targets, but the towers need 1 or {_TOWERS}",
            place=place,
            remedy="Name 1 or 4 columns under [targets] in its card.",
        )
    if output.suffix != ".safetensors":
        raise UsageError(
            "weights can only be written to a .safetensors file",
            place=str(output),
            remedy="Choose a name with that ending.",
        )
    if output.exists() and not overwrite:
        raise DataError(
            "the file already exists",
            place=str(output),
            remedy="Choose another name, or use --overwrite.",
        )


def _window(data: Sequences) -> dict[str, Any]:
    start, end = data.window
    return {
        "start": format_utc(start),
        "end": format_utc(end),
        "start_ns": start,
        "end_ns": end,
        "events": len(data.features),
    }
