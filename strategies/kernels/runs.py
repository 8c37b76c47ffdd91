"""Which rows of a batch belong to one symbol, as the kernels read it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Runs:
    """Rows sorted so that a symbol's events are neighbours, in order; int32 [rows] each.

    Attributes:
        slot: the slot of each row's symbol; -1 for padding.
        turn: how many events of its run came before.
        count: the run's length at its first row; 0 elsewhere and for padding.
    """

    slot: Tensor
    turn: Tensor
    count: Tensor
