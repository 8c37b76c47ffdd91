"""Bring your own ``nn.Module``: ``ModuleStrategy`` makes it a batched strategy with state.

The module offers ``init_state(n)``, the state of ``n`` symbols never seen, and
``forward(x, state) -> (y, state)`` for one event of each of B distinct symbols: x float32 [B, F],
y [B] or [B, outputs]. State is any tree of tensors (dicts, tuples, lists) whose structure, shapes
and dtypes never change. It may offer ``forward_sequence(x, state) -> (y, state)`` for T successive
events of each: x [T, B, F], y [T, B] or [T, B, outputs].
"""

from __future__ import annotations

import hashlib
import logging
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from backtest.core.arrays import Float32Array, Int32Array
from backtest.errors import DataError, UsageError
from backtest.market.events import EventBatch
from backtest.strategies.base import Conformance, Session
from backtest.strategies.pooled import PooledStrategy
from backtest.strategies.trainable import TrainableStrategy
from backtest.strategies.weight_files import training_window

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from backtest.data.training_data import TrainingData
    from backtest.strategies.captured import CapturedSteps
    from backtest.strategies.plain_steps import PlainSteps
    from backtest.strategies.pooled import Commits

_log = logging.getLogger(__name__)

_MANY = 32
"""Events of one symbol in a call from which on sequences are taken instead of captured steps."""


@dataclass
class ModuleStrategy(TrainableStrategy, PooledStrategy):
    """A strategy around a module; subclass it and return the module from ``module``.

    Set ``batch_dim = 1`` in the subclass for state that counts symbols in axis 1, as torch's own
    recurrent layers do ([layers, B, hidden]).

    Args:
        weights: a ``.safetensors`` or ``.pt`` state dict, loaded strictly; by default the weights
            are what ``module`` returned, its random draws seeded with the session's seed.
            Training begins with them.
    """

    weights: Path | None = None

    conformance = cast("Conformance | None", "exact")
    """Held to its own module, one event at a time."""

    captures: ClassVar[bool] = True
    """Whether steps are captured as CUDA graphs, on a device that has them."""

    sequences: ClassVar[bool] = True
    """Whether several events of a symbol go through ``forward_sequence``, if the module has it."""

    def bind(self, session: Session) -> None:
        """Load the module, allocate a slot for each symbol, and capture the steps.

        Raises:
            DataError, UsageError: see ``model``.
            UsageError: no such device, or a capacity below 1.
            RunError: the state does not fit into the device's memory.
        """
        super().bind(session)
        self._steps: CapturedSteps | None = None
        if self.captures and self._device.type == "cuda":
            from backtest.strategies.captured import capture_steps

            self._steps = capture_steps(
                self._module, self._pool, len(session.features), self.outputs
            )

    def fit(self, data: TrainingData) -> dict[str, NDArray[Any]]:
        """Train the module by truncated backpropagation through time; its state dict.

        Raises:
            UsageError: a parameter out of range, too few events, or several outputs that are not as
                many as the several targets.
            RunError: the loss is no longer finite, or the state dict holds no numbers.
        """
        from backtest.strategies.module_fit import fit_module

        seed = data.seed if self.fit_seed is None else self.fit_seed
        session = Session(
            data.symbols, data.features, data.device, seed=seed, instruments=data.instruments
        )
        return fit_module(self._made(session), data, self, seed, self.batch_dim)

    def training_window(self) -> tuple[int, int] | None:
        """The window in the metadata of ``weights``; see ``Strategy.training_window``."""
        return None if self.weights is None else training_window(self.weights)

    def predict(self, batch: EventBatch) -> Float32Array:
        """float32 [n, outputs]; see ``Strategy.predict``."""
        if self._steps is None or not len(batch):
            return super().predict(batch)
        assert batch.features is not None  # the engine decodes them: needs_features is true
        ids = batch.symbol.tolist()
        distinct = dict.fromkeys(ids)
        if len(distinct) > self._pool.capacity:
            return super().predict(batch)  # which can undo the first groups if a later one fails
        if len(distinct) == len(ids):
            return self._steps.run(batch.features, self._pool.place(batch.symbol))
        if self._sequenced(batch.symbol, _MANY):
            return super().predict(batch)
        slots = self._pool.place(np.fromiter(distinct, dtype=np.int64))
        slot_of = dict(zip(distinct, slots.tolist(), strict=True))
        answers = np.empty((len(ids), self.outputs), dtype=np.float32)
        # A few dozen rows are dealt out in a fraction of the time that ``split_rounds`` takes.
        for rows in _rounds(ids):
            at = np.array([slot_of[ids[row]] for row in rows])
            answers[rows] = self._steps.run(batch.features[rows], at)
        return answers

    def advance(self, x: Tensor, symbol: Int32Array) -> tuple[Tensor, Commits]:
        """In sequences where the module offers them, else in rounds."""
        if not self._sequenced(symbol, 2):
            return super().advance(x, symbol)
        from backtest.strategies.sequences import advance_in_blocks

        return advance_in_blocks(self._module, self._pool, x, symbol)

    @abstractmethod
    def module(self, features: int) -> nn.Module:
        """A new module for that many features. Called by ``bind``; put it on no device."""

    def model(self, session: Session, device: torch.device) -> Any:
        """The module in evaluation mode on the device, tried on a few symbols.

        Raises:
            DataError: the weights cannot be read or do not fit.
            UsageError: the module breaks the contract; a state leaf is named by its path.
        """
        from backtest.strategies.contract import count_outputs

        self._module = module = self._made(session).to(device)
        self.outputs = count_outputs(module, len(session.features), device, self.batch_dim)
        self._by_sequence = self.sequences and self._offers_sequences(session, device)
        return module

    def plain_steps(self, session: Session, *, double: bool) -> PlainSteps | None:
        """The module, one event at a time; none in float64 if it cannot be cast to it."""
        import torch

        from backtest.strategies.contract import count_outputs
        from backtest.strategies.device import find_device
        from backtest.strategies.plain_steps import PlainSteps

        device = find_device(session.device)
        dtype = torch.float64 if double else torch.float32
        module: Any = self._made(session).to(device)
        # Violations of the contract are reported before anything else is tried.
        count_outputs(module, len(session.features), device, self.batch_dim)
        steps = PlainSteps(module.double() if double else module, device, dtype, 1, self.batch_dim)
        if double and not steps.keeps_precision(len(session.features)):
            return None
        return steps

    def memory_traffic(self) -> tuple[int, int]:
        """Every parameter and buffer is taken to be read once; see ``Strategy.memory_traffic``."""
        from backtest.strategies.state_pool import bytes_of

        weights = [*self._module.parameters(), *self._module.buffers()]
        return bytes_of(weights), 2 * bytes_of(self._pool.init)

    def _sequenced(self, symbol: Int32Array, least: int) -> bool:
        """Whether the module takes sequences, and a symbol has at least ``least`` events."""
        if not self._by_sequence or len(symbol) < least:
            return False
        return int(np.bincount(symbol).max()) >= least

    def _offers_sequences(self, session: Session, device: torch.device) -> bool:
        from backtest.strategies.contract import sequence_difference

        if not hasattr(self._module, "forward_sequence"):
            return False
        features = len(session.features)
        different = sequence_difference(self._module, features, device, self.outputs)
        if different is not None:
            _log.warning(
                "no batching over time: forward_sequence differs from forward in %s, so a symbol's "
                "events are stepped through one by one",
                different,
            )
        return different is None

    def _made(self, session: Session) -> nn.Module:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(session.seed)
            module = self.module(len(session.features))
        if not isinstance(module, torch.nn.Module):
            raise UsageError(
                f"{type(self).__name__}.module returns a {type(module).__name__}, "
                "not a torch.nn.Module"
            )
        if self._learnt is not None:
            tensors = {name: torch.from_numpy(array) for name, array in self._learnt.items()}
            module.load_state_dict(tensors)
        elif self.weights is not None:
            _load(module, self.weights)
        return module.eval()

    def fingerprint(self) -> dict[str, str]:
        """``{"weights": sha256}`` over names, dtypes, shapes and bytes of the bound module."""
        import torch

        digest = hashlib.sha256()
        for name, tensor in self._module.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
        return {"weights": digest.hexdigest()}


def _rounds(ids: list[int]) -> list[list[int]]:
    """Rows of the first events of their symbols, of the second ones, and so on."""
    seen: dict[int, int] = {}
    rounds: list[list[int]] = []
    for row, symbol in enumerate(ids):
        turn = seen.get(symbol, 0)
        seen[symbol] = turn + 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(row)
    return rounds


def _load(module: nn.Module, path: Path) -> None:
    from backtest.strategies.tensor_files import read_tensors

    try:
        module.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        problem = " ".join(str(error).split())
        raise DataError(
            problem, place=str(path), remedy="Give the state dict of this module."
        ) from None
