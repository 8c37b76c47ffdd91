"""Which rows of a batch belong to one symbol, as the kernels read it."""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Runs:
    """Rows sorted so that a symbol's events are neighbours, in order; int32 [rows] each.

    Attributes:
        slot: the slot of each row's symbol; -1 for padding.
        turn: how many events of its run came before.
        count: the run's length at its first row; 0 elsewhere and for padding.
        first: the rows at which runs start, int32 [runs], where there are far fewer runs than rows;
            ``None``: kernels look for them at every row.
    """

    slot: Tensor
    turn: Tensor
    count: Tensor
    first: Tensor | None = None

    @property
    def programs(self) -> int:
        """How many programs look for a run."""
        return len(self.slot if self.first is None else self.first)


@triton.jit
def find_run(first, count, program):
    """The first row of a program's run, and its events; none where no run starts there."""
    row = program
    if first is not None:
        row = tl.load(first + program)
    return row, tl.load(count + row)


@triton.jit
def rows_in_turn(slot, turn, rows, this_turn, first, BM: tl.constexpr, BLOCK: tl.constexpr):
    """BM of the rows of this turn, from the first-th on, in order; -1 beyond the last.

    BLOCK is a power of two that holds all rows.
    """
    r = tl.arange(0, BLOCK)
    own = tl.load(slot + r, mask=r < rows, other=-1)
    now = (tl.load(turn + r, mask=r < rows, other=-1) == this_turn) & (own >= 0)
    place = tl.cumsum(now.to(tl.int32), axis=0) - 1
    wanted = first + tl.arange(0, BM)
    found = now[None, :] & (place[None, :] == wanted[:, None])
    return tl.max(tl.where(found, r[None, :], -1), axis=1)
