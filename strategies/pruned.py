"""``pruned``: some of the towers, and the first blocks of each. Cheaper, and another function."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from backtest.core.arrays import Int32Array
from backtest.core.text import suggestion
from backtest.errors import UsageError
from backtest.strategies.base import Session
from backtest.strategies.batched import Batched

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from backtest.strategies.ensemble import Ensemble
    from backtest.strategies.pooled import Commits

TOWER_NAMES = ("xlstm", "mamba2", "retnet", "hawk")
"""In the order of the outputs."""


@dataclass
class Pruned(Batched):
    """The ensemble with some of its parts left out; their weights and state take no memory.

    It still gives four outputs, one a target: the mean of the kept towers stands in for each tower
    that was left out. So the mean over the outputs, which sizing reads, is the kept towers' own.

    Args:
        towers: which of ``xlstm``, ``mamba2``, ``retnet`` and ``hawk`` to keep, in any order.
        depth: how many blocks of each tower to keep, from the first on; ``None`` for all.
    """

    towers: tuple[str, ...] = TOWER_NAMES
    depth: int | None = None

    conformance = "approximate"
    reference: ClassVar[str | None] = "batched"

    def __post_init__(self) -> None:
        for name in self.towers:
            if name not in TOWER_NAMES:
                near = suggestion(name, TOWER_NAMES)
                listed = f"{name!r} is not one of the towers {', '.join(TOWER_NAMES)}"
                raise ValueError(f"{listed}. {near}" if near else listed)
        if not self.towers or len(set(self.towers)) < len(self.towers):
            raise ValueError(
                f"towers is {'+'.join(self.towers)!r}; it must name at least one, and none twice"
            )
        if self.depth is not None and self.depth < 1:
            raise ValueError(f"depth is {self.depth}; it must be at least 1")

    def model(self, session: Session, device: torch.device) -> Ensemble:
        """The kept part on the device; see ``EnsembleStrategy.model``.

        Raises:
            UsageError: also where ``depth`` is more than the checkpoint has.
        """
        from backtest.strategies.ensemble import Ensemble

        whole = super().model(session, device)
        depth = whole.config.depth if self.depth is None else self.depth
        if depth > whole.config.depth:
            raise UsageError(
                f"depth is {depth}, the ensemble has {whole.config.depth} blocks per tower",
                place=str(self._path),
                remedy="Keep fewer blocks, or leave depth out to keep all.",
            )
        kept = tuple(sorted(TOWER_NAMES.index(name) for name in self.towers))
        self._column = [kept.index(t) if t in kept else len(kept) for t in range(len(TOWER_NAMES))]
        return Ensemble(replace(whole.config, towers=kept, depth=depth), whole.state_dict())

    def advance(self, x: Tensor, symbol: Int32Array) -> tuple[Tensor, Commits]:
        """See ``PooledStrategy.advance``; the mean fills the columns of towers left out."""
        import torch

        y, commits = super().advance(x, symbol)
        return torch.cat((y, y.mean(dim=1, keepdim=True)), dim=1)[:, self._column], commits
