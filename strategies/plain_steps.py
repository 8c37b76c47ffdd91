"""The plain steps that a strategy's answers are held to, run far from every optimisation."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backtest.core.arrays import Float32Array, Int32Array
from backtest.strategies.device import exact_float32
from backtest.strategies.rounds import split_rounds
from backtest.strategies.state_tree import Tree, leaves, map_leaves, named_leaves, narrow_leaves
from backtest.strategies.step_model import StepModel


@dataclass(frozen=True)
class PlainSteps:
    """A model that defines the right answers.

    Attributes:
        model: one step of distinct symbols.
        device: where it runs.
        dtype: of its features and floating state.
        together: symbols stepped at once, at most; they do not influence each other.
        batch_dim: the axis of its state leaves that counts symbols.
    """

    model: StepModel
    device: torch.device
    dtype: torch.dtype
    together: int = 32
    batch_dim: int = 0

    def keeps_precision(self, features: int) -> bool:
        """Whether a step of ``dtype`` can be taken, and all that is floating in it stays so."""
        x = torch.zeros(1, features, device=self.device, dtype=self.dtype)
        try:
            with torch.inference_mode():
                y, state = self.model(x, self._init(1))
        except (RuntimeError, TypeError):  # dtypes that do not go together
            return False
        floating = [leaf for leaf in leaves(state) if leaf.is_floating_point()]
        return all(tensor.dtype == self.dtype for tensor in (y, *floating))

    def run(
        self, features: Float32Array, symbol: Int32Array, shown: Sequence[int] = ()
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[Any]]]:
        """Answer events from the init state on.

        Args:
            features: [n, F].
            symbol: whose events they are, [n], in time order.
            shown: symbols whose last state is returned.

        Returns:
            Answers, float64 [n, outputs], and ``{leaf: array [len(shown), ...]}``; floating leaves
            as float64, complex ones as complex128. A symbol without events has the init state.
        """
        pieces: list[tuple[NDArray[np.int64], Tensor]] = []
        last: dict[int, dict[str, Tensor]] = {}
        symbols = np.unique(symbol)
        with exact_float32(), torch.inference_mode():
            init = self._rows_of(self._init(1), 0)
            for start in range(0, len(symbols), self.together):
                rows = np.flatnonzero(np.isin(symbol, symbols[start : start + self.together]))
                for at, y, ended in self._rounds(features[rows], symbol[rows], set(shown)):
                    pieces.append((rows[at], y))
                    last |= ended
            found = [last.get(s, init) for s in shown]
            state = {n: torch.stack([row[n] for row in found]).numpy() for n in init if found}
            in_turn = torch.cat([y for _, y in pieces]).cpu().numpy()
        answers = np.empty_like(in_turn)
        answers[np.concatenate([rows for rows, _ in pieces])] = in_turn
        return answers, state

    def _rounds(
        self, features: Float32Array, symbol: Int32Array, shown: Collection[int]
    ) -> Iterator[tuple[NDArray[np.int64], Tensor, dict[int, dict[str, Tensor]]]]:
        """Round by round: its rows, its answers, and the state of shown symbols that end there."""
        rounds = split_rounds(symbol)
        sizes = rounds.sizes.tolist()
        state = self._init(len(rounds.symbols))
        x = torch.from_numpy(np.ascontiguousarray(features)).to(self.device, self.dtype)
        start = 0
        for size, following in zip(sizes, [*sizes[1:], 0], strict=True):
            rows = rounds.rows[start : start + size]
            y, state = self.model(x[torch.from_numpy(rows).to(self.device)], state)
            ended = rounds.symbols[following:size].tolist()
            yield (
                rows,
                y.to(torch.float64, copy=True).reshape(size, -1),  # the next round may change y
                {s: self._rows_of(state, following + i) for i, s in enumerate(ended) if s in shown},
            )
            if 0 < following < size:
                state = narrow_leaves(state, self.batch_dim, 0, following)
            start += size

    def _init(self, n: int) -> Tree:
        def placed(leaf: Tensor) -> Tensor:
            dtype = _double(leaf.dtype) if self.dtype == torch.float64 else leaf.dtype
            return leaf.to(self.device, dtype)

        return map_leaves(placed, self.model.init_state(n))

    def _rows_of(self, state: Tree, index: int) -> dict[str, Tensor]:
        rows = {name: leaf.select(self.batch_dim, index) for name, leaf in named_leaves(state)}
        return {name: row.to("cpu", _double(row.dtype), copy=True) for name, row in rows.items()}


def _double(dtype: torch.dtype) -> torch.dtype:
    """The dtype of the same kind in double precision; integers stay as they are."""
    if dtype.is_complex:
        return torch.complex128
    return torch.float64 if dtype.is_floating_point else dtype
