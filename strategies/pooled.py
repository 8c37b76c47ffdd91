"""Strategies that step a model over symbols whose state lives in a pool on the device."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backtest.core.arrays import Float32Array, Int32Array
from backtest.errors import RunError, UsageError
from backtest.market.events import EventBatch
from backtest.strategies.base import Duplicates, Session, StateArrays, Strategy
from backtest.strategies.rounds import split_rounds, within_capacity
from backtest.strategies.step_model import StepModel

# torch is imported where it is used, so that listing strategies does not load it.
if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from backtest.strategies.state_pool import SymbolStatePool
    from backtest.strategies.state_tree import Tree

    Commits: TypeAlias = list[tuple[Tensor, Tree]]


_COPIES = 3.5
"""A slot, what is gathered for a step, what the step gives, and half of that for its own use."""


class PooledStrategy(Strategy):
    """Answers in rounds of distinct symbols; each round is one call of the model.

    A call of ``predict`` commits state only after every forward of it succeeded. Batches with more
    distinct symbols than the capacity are served group by group, a symbol's events together.
    """

    duplicates: ClassVar[Duplicates] = "rounds"

    batch_dim: ClassVar[int] = 0
    """The axis of every state leaf that counts symbols."""

    @abstractmethod
    def model(self, session: Session, device: torch.device) -> StepModel:
        """The model, ready on the device. Called by ``bind``."""

    def bind(self, session: Session) -> None:
        """Load the model and allocate slots: for ``session.capacity`` symbols, or all that fit.

        Raises:
            UsageError: no such device, or a capacity below 1.
            RunError: the state does not fit into the device's memory.
        """
        import torch

        from backtest.strategies.device import find_device
        from backtest.strategies.state_pool import SymbolStatePool

        if session.capacity is not None and session.capacity < 1:
            raise UsageError(f"the capacity is {session.capacity}; it must be at least 1")
        self._device = find_device(session.device)
        try:
            self._model = self.model(session, self._device)
            self._pool: SymbolStatePool = SymbolStatePool(
                self._model.init_state,
                symbols=len(session.symbols),
                device=self._device,
                capacity=session.capacity,
                batch_dim=self.batch_dim,
                copies=_COPIES,
            )
        except torch.OutOfMemoryError as error:
            raise RunError(
                f"out of memory on {session.device}: {str(error).partition('. ')[0]}",
                remedy="Keep the state of fewer symbols on the device: lower the capacity.",
            ) from None

    def predict(self, batch: EventBatch) -> Float32Array:
        """float32 [n, outputs]; see ``Strategy.predict``."""
        import torch

        from backtest.strategies.device import exact_float32, upload

        if not len(batch):
            return np.empty((0, self.outputs), dtype=np.float32)
        assert batch.features is not None  # the engine decodes them: needs_features is true
        groups = within_capacity(batch.symbol, self._pool.capacity)
        with exact_float32(), torch.inference_mode():
            x = upload(batch.features, self._device)
            if len(groups) == 1:
                return self._answer(x, batch.symbol)
            answers = np.empty((len(batch), self.outputs), dtype=np.float32)
            with self._pool.all_or_nothing() as keep:
                for rows in groups:
                    symbol = batch.symbol[rows]
                    keep(symbol)
                    answers[rows] = self._answer(x[torch.from_numpy(rows)], symbol)
            return answers

    def advance(self, x: Tensor, symbol: Int32Array) -> tuple[Tensor, Commits]:
        """Answer events of at most ``capacity`` symbols, changing no symbol's state yet.

        Args:
            x: features [n, F] in time order.
            symbol: whose events they are, [n].

        Returns:
            Predictions [n, outputs] and the state to commit, as (distinct slots [B], state) pairs.
        """
        import torch

        from backtest.strategies.state_tree import narrow_leaves

        rounds = split_rounds(symbol)
        rows = torch.from_numpy(rounds.rows).to(self._device)
        slots = self._pool.acquire(rounds.symbols)
        state = self._pool.gather(slots)
        dim, sizes = self.batch_dim, rounds.sizes.tolist()
        answers: list[Tensor] = []
        commits: Commits = []
        for x_round, size, following in zip(
            torch.split(x[rows], sizes), sizes, [*sizes[1:], 0], strict=True
        ):
            y, state = self._model(x_round, state)
            # The next round may change the state in place, and answers may be a view of it.
            answers.append(y.clone() if following else y)
            if not following:
                commits.append((slots[:size], state))
            elif following < size:
                done = narrow_leaves(state, dim, following, size - following)
                commits.append((slots[following:size], done))
                state = narrow_leaves(state, dim, 0, following)
        in_order = torch.cat(answers)
        return torch.empty_like(in_order).index_copy_(0, rows, in_order), commits

    def snapshot(self, symbols: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Copies of the symbols' state under the leaves' paths."""
        return self._pool.snapshot(symbols)

    def restore(self, symbols: Sequence[int], state: StateArrays) -> None:
        """Set the symbols' state to what ``snapshot`` returned."""
        self._pool.restore(symbols, state)

    def reset(self, symbols: Sequence[int]) -> None:
        """Give the symbols the state of one never seen."""
        self._pool.reset(symbols)

    def _answer(self, x: Tensor, symbol: Int32Array) -> Float32Array:
        y, commits = self.advance(x, symbol)
        answers: Float32Array = y.float().reshape(len(symbol), -1).cpu().numpy()
        for slots, state in commits:  # after the copy, which waits for the device to finish
            self._pool.scatter(slots, state)
        return answers
