"""The rings of a pool's matrix states, and how the pool is kept from reading a state too early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backtest.core.arrays import Int64Array
from backtest.strategies.kernels.deferred import DEPTH, Deferred, settle


@dataclass(frozen=True, slots=True)
class _Kind:
    """One tower's matrix state: the leaf, and whether its rows belong to values."""

    leaf: str
    transposed: bool = False


_KINDS = {0: _Kind("mlstm.C"), 1: _Kind("ssm", transposed=True), 2: _Kind("S")}
"""By tower; Hawk has no matrix state."""


class DeferredStates:
    """Rings for every matrix state of the ensemble; a ``SlotWatcher`` of the pool they belong to.

    Args:
        state: the pool's tensors by canonical name, float32 [slots, ...].
        depth: blocks per tower.
    """

    def __init__(self, state: Mapping[str, Tensor], depth: int) -> None:
        self._state = state
        self._device = next(iter(state.values())).device
        slots = len(next(iter(state.values())))
        # Tensors made in inference mode could not be changed outside of it.
        with torch.inference_mode(False):
            self.since = {
                t: torch.zeros(slots, dtype=torch.int32, device=self._device) for t in _KINDS
            }
            self._rings = {
                (t, b): self._empty(t, b, kind) for t, kind in _KINDS.items() for b in range(depth)
            }

    def __getitem__(self, at: tuple[int, int]) -> Deferred:
        """The rings of (tower, block)."""
        return self._rings[at]

    @property
    def bytes_saved(self) -> int:
        """What an event moves less, on average, than if its symbol's states were written at once.

        All but one in ``DEPTH`` writes of the states, less the rings' own: a step is kept after all
        but one in ``DEPTH`` events, and read as often as another event comes before the write.
        """
        saved = 0.0
        for (tower, block), rings in self._rings.items():
            state = self._leaf(tower, block)[0]
            step = sum(ring[0, 0].nbytes for ring in (rings.keep, rings.k, rings.v))
            kept, read = (DEPTH - 1) / DEPTH, (DEPTH - 1) / 2
            saved += kept * state.nbytes - (kept + read) * step
        return int(saved)

    def settle(self, slots: Sequence[int] | Int64Array) -> None:
        """Bring the states of these slots up to date, without waiting; they stay so until used."""
        if not len(slots):
            return
        on_device = torch.tensor(slots, dtype=torch.int64, device=self._device)
        for (tower, block), rings in self._rings.items():
            kind = _KINDS[tower]
            settle(self._leaf(tower, block), rings, on_device, transposed=kind.transposed)
        self._restart(on_device)

    def forget(self, slots: Sequence[int] | Int64Array) -> None:
        """These slots were given other states."""
        if len(slots):
            self._restart(torch.tensor(slots, dtype=torch.int64, device=self._device))

    def _restart(self, slots: Tensor) -> None:
        for since in self.since.values():
            since.index_fill_(0, slots, 0)

    def _leaf(self, tower: int, block: int) -> Tensor:
        return self._state[f"tower_{tower}/block_{block}/{_KINDS[tower].leaf}"]

    def _empty(self, tower: int, block: int, kind: _Kind) -> Deferred:
        _, heads, height, width = self._leaf(tower, block).shape
        key, value = (width, height) if kind.transposed else (height, width)
        # Mamba2's heads share their keys.
        shape = (1 if kind.transposed else heads, key)
        return Deferred.empty(self.since[tower], heads, shape, value, phase=block)
