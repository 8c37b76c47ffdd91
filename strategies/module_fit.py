"""Training of any module that steps over events, as ``ModuleStrategy`` has them.

Each lane is walked from its first event to its last; its state is carried from chunk to chunk while
gradients stop at the chunk's beginning (Williams and Peng 1990).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from backtest.core.interrupts import raise_if_interrupted
from backtest.data.training_data import Chunk, TrainingData
from backtest.errors import RunError, UsageError
from backtest.strategies.contract import count_outputs
from backtest.strategies.device import find_device
from backtest.strategies.state_tree import Tree, map_leaves
from backtest.strategies.trainable import TrainableStrategy

_LOSSES: dict[str, Callable[..., Tensor]] = {
    "squared": functional.mse_loss,
    "huber": functional.huber_loss,
    "absolute": functional.l1_loss,
}
_OPTIMISERS: dict[str, Any] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


def fit_module(
    module: nn.Module, data: TrainingData, how: TrainableStrategy, seed: int, batch_dim: int = 0
) -> dict[str, NDArray[Any]]:
    """Train a module; its state dict after the epoch that was best on the later part of the data.

    Outputs learn a target each, or all of them the only one; a single one learns the mean of the
    targets, as the forecast of many outputs is their mean. Losses are of errors in units of the
    targets' root mean square, so that learning rates do not depend on the targets' unit.

    Args:
        module: keeps to the contract of ``ModuleStrategy``.
        data: the stretch.
        how: the parameters of training.
        seed: for where chunks begin, and for what the module draws, such as dropout.
        batch_dim: the axis of its state that counts symbols.

    Raises:
        UsageError, RunError: see ``ModuleStrategy.fit``.
    """
    _check(how)
    device = find_device(data.device)
    module = module.to(device)
    if next(module.parameters(), None) is None:
        raise UsageError("the module has no parameters to train", place="training")
    outputs = count_outputs(module, len(data.features), device, batch_dim)
    if outputs > 1 and len(data.targets) not in (1, outputs):
        raise UsageError(
            f"the module has {outputs} outputs, but the dataset {len(data.targets)} targets",
            place="training",
            remedy="Give the module one output, or one for each target.",
        )
    earlier, later = data.split(how.validation) if how.validation else (data, None)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        fit = _Fit(module, device, how, outputs, _scale(earlier, outputs))
        random = np.random.default_rng(seed)
        best, least, since = _copy(module), math.inf, 0
        for epoch in range(how.epochs):
            raise_if_interrupted()
            trained = fit.train(earlier, int(random.integers(1, how.chunk + 1)))
            loss = trained if later is None else fit.validate(later)
            if not math.isfinite(trained + loss):
                raise RunError(
                    f"the loss is {loss} in epoch {epoch}",
                    place="training",
                    remedy="Lower rate, and look for extreme features or targets.",
                )
            data.progress(epoch + 1, how.epochs)
            if later is None or loss < least:
                best, least, since = _copy(module), loss, 0
            elif (since := since + 1) >= how.patience:
                break
    return best


def _check(how: TrainableStrategy) -> None:
    for name in ("epochs", "patience", "lanes", "chunk"):
        if getattr(how, name) < 1:
            raise UsageError(f"{name} must be at least 1, not {getattr(how, name)}")
    if not 0 <= how.validation < 1:
        raise UsageError(f"validation is a share from 0 to below 1, not {how.validation}")
    if how.rate <= 0 or how.clip <= 0:
        raise UsageError("rate and clip must be above 0")


def _scale(data: TrainingData, outputs: int) -> float:
    """The root mean square of what is to be learnt."""
    squares, count = 0.0, 0
    for rows in data.rows():
        wanted = rows.targets.mean(axis=1) if outputs == 1 else rows.targets
        squares += float(np.square(wanted, dtype=np.float64).sum())
        count += wanted.size
    if not count:
        raise UsageError(
            "the stretch has no event to learn from", place="training", remedy="Widen it."
        )
    return math.sqrt(squares / count) or 1.0


def _copy(module: nn.Module) -> dict[str, NDArray[Any]]:
    """The state dict as arrays of their own."""
    found = {}
    for name, tensor in module.state_dict().items():
        try:
            found[name] = tensor.detach().cpu().numpy().copy()
        except TypeError:
            raise RunError(
                f"the state dict's {name!r} is {tensor.dtype}, which numpy does not have",
                place="training",
            ) from None
    return found


class _Fit:
    """A module, its optimiser and its loss."""

    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        how: TrainableStrategy,
        outputs: int,
        scale: float,
    ) -> None:
        self._module: Any = module
        self._device = device
        self._how = how
        self._outputs = outputs
        self._scale = scale
        self._loss = _LOSSES[how.loss]
        self._optimiser = _OPTIMISERS[how.optimiser](module.parameters(), lr=how.rate)

    def train(self, data: TrainingData, first: int) -> float:
        """One epoch; the mean loss while the weights moved."""
        self._module.train()
        summed, counted = 0.0, 0.0
        state: Tree | None = None
        for chunk in data.sequences(self._how.lanes, self._how.chunk, first=first):
            loss, count, state = self._step(chunk, state)
            if count:
                self._optimiser.zero_grad()
                mean: Any = loss / count  # torch's backward is untyped
                mean.backward()
                nn.utils.clip_grad_norm_(self._module.parameters(), self._how.clip)
                self._optimiser.step()
            state = map_leaves(Tensor.detach, state)
            summed += float(loss.detach())
            counted += count
        return summed / max(counted, 1.0)

    def validate(self, data: TrainingData) -> float:
        """The mean loss of events that were not learnt from."""
        self._module.eval()
        summed, counted = 0.0, 0.0
        state: Tree | None = None
        with torch.inference_mode():
            for chunk in data.sequences(0, self._how.chunk):
                loss, count, state = self._step(chunk, state)
                summed += float(loss)
                counted += count
        return summed / max(counted, 1.0)

    def _step(self, chunk: Chunk, state: Tree | None) -> tuple[Tensor, float, Tree]:
        """The sum of the losses, how many there are, and the state afterwards."""
        x = torch.from_numpy(chunk.features).to(self._device)  # [T, B, F]
        steps, lanes = x.shape[:2]
        if state is None or chunk.fresh:
            state = map_leaves(
                lambda leaf: leaf.to(self._device, copy=True), self._module.init_state(lanes)
            )
        if hasattr(self._module, "forward_sequence"):
            y, state = self._module.forward_sequence(x, state)
            y = y.reshape(steps, lanes, self._outputs)
        else:
            answers = []
            for at in x:
                one, state = self._module(at, state)
                answers.append(one.reshape(lanes, self._outputs))
            y = torch.stack(answers)
        # Events past the end of a lane change its state only after its last answer that counts.
        counts = torch.from_numpy(chunk.counts).to(self._device)[..., None]  # [T, B, 1]
        targets = torch.from_numpy(chunk.targets).to(self._device)  # [T, B, K]
        if self._outputs == 1:
            targets = targets.mean(dim=2, keepdim=True)
        wanted = targets.expand(steps, lanes, self._outputs)
        apart = self._loss(y / self._scale, wanted / self._scale, reduction="none")
        return (apart * counts).sum(), float(chunk.counts.sum()) * self._outputs, state
