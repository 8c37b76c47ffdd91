"""``compiled``: the batched step through ``torch.compile``, once for all batch sizes. Exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from backtest.core.arrays import Int32Array
from backtest.errors import UsageError
from backtest.strategies.base import Session
from backtest.strategies.batched import Batched
from backtest.strategies.rounds import split_rounds

if TYPE_CHECKING:
    from torch import Tensor

    from backtest.strategies.pooled import Commits
    from backtest.strategies.state_tree import Tree

_SMALLEST = 2
"""Rows of the smallest bucket: dynamo treats a size of 1 as a constant and would compile again."""

_TRIAL = 16
"""Rows of the step that is compiled, which the compiler takes as typical."""


@dataclass
class Compiled(Batched):
    """The ensemble's step, compiled whole when it is bound.

    The number of symbols is a free variable of the compiled step, so a new batch size compiles
    nothing. Rounds are padded to a power of two, at least 2, with copies of the pool's spare slot,
    so that captured graphs stay few.

    Args:
        mode: what ``torch.compile`` calls so; ``reduce-overhead`` captures CUDA graphs.
    """

    mode: Literal["default", "reduce-overhead", "max-autotune-no-cudagraphs"] = "default"

    conformance = "exact"
    reference: ClassVar[str | None] = "batched"

    def bind(self, session: Session) -> None:
        """Load the weights, allocate a slot for each symbol, and compile the step.

        Raises:
            DataError, UsageError, RunError: see ``Batched.bind``.
            UsageError: the step cannot be compiled here.
        """
        import torch

        from backtest.strategies.device import exact_float32
        from backtest.strategies.state_tree import leaves

        super().bind(session)
        model: Any = self._model
        for weight in model.state_dict().values():
            # Otherwise captured graphs would copy every weight into place for every batch.
            torch._dynamo.mark_static_address(weight)
        self._step: Any = torch.compile(_step, fullgraph=True, mode=self.mode)
        slots = torch.full((_TRIAL,), self._pool.spare, device=self._device)
        x = torch.zeros(_TRIAL, len(session.features), device=self._device)
        try:
            with exact_float32(), torch.no_grad():
                state = self._pool.gather(slots)
                for tensor in (x, *leaves(state)):
                    torch._dynamo.mark_dynamic(tensor, 0)
                self._run(x, state)
        except torch._dynamo.exc.TorchDynamoException as error:
            problem = " ".join(str(error).split("\n")[:2])
            raise UsageError(
                f"torch.compile fails on {session.device}: {problem}",
                remedy="It needs a C++ compiler (g++) for the CPU and triton for a GPU; "
                "the strategy batched needs neither.",
            ) from None

    def advance(self, x: Tensor, symbol: Int32Array) -> tuple[Tensor, Commits]:
        """See ``PooledStrategy.advance``."""
        import torch
        from torch.nn import functional as F

        from backtest.strategies.state_tree import narrow_leaves

        rounds = split_rounds(symbol)
        sizes = rounds.sizes.tolist()
        # The graphs of reduce-overhead cannot be fed tensors made in inference mode.
        with torch.inference_mode(False), torch.no_grad():
            rows = torch.from_numpy(rounds.rows).to(self._device)
            slots = self._pool.acquire(rounds.symbols)
            padding = _bucket(sizes[0]) - sizes[0]
            state = self._pool.gather(F.pad(slots, (0, padding), value=self._pool.spare))
            answers: list[Tensor] = []
            commits: Commits = []
            for x_round, size, following in zip(
                torch.split(x[rows], sizes), sizes, [*sizes[1:], 0], strict=True
            ):
                # Rows beyond the round's own belong to no symbol, or to one that is done and was
                # committed: their results are dropped.
                state = narrow_leaves(state, 0, 0, _bucket(size))
                y, state = self._run(F.pad(x_round, (0, 0, 0, _bucket(size) - size)), state)
                answers.append(y[:size])
                if following < size:
                    done = narrow_leaves(state, 0, following, size - following)
                    commits.append((slots[following:size], done))
            in_order = torch.cat(answers)
            return torch.empty_like(in_order).index_copy_(0, rows, in_order), commits

    def _run(self, x: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        import torch

        from backtest.strategies.state_tree import map_leaves

        # Convolution windows come back as views with gaps, whose strides would trigger compilation.
        state = map_leaves(torch.Tensor.contiguous, state)
        if self.mode != "reduce-overhead":
            y, state = self._step(self._model, x, state)
            return y, state
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # torch's own
        y, state = self._step(self._model, x, state)
        # A graph's outputs are overwritten by its next replay.
        return y.clone(), map_leaves(torch.clone, state)


def _step(model: Any, x: Tensor, state: Tree) -> tuple[Tensor, Tree]:
    # The model is an argument, so that models of the same sizes share what was compiled.
    return model(x, state)


def _bucket(size: int) -> int:
    return max(_SMALLEST, 1 << (size - 1).bit_length())
