"""State of many symbols on the device: one tensor a leaf, a symbol owning one slot of each.

A symbol that was never seen owns no slot and gets the init state's row with its first one. Beyond
the capacity, the least recently used symbols wait in host memory (pinned for CUDA) until their next
event.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backtest.core.arrays import Int32Array, Int64Array
from backtest.errors import DataError
from backtest.strategies.state_tree import Tree, leaves, map_leaves, named_leaves, rebuild

_log = logging.getLogger(__name__)
_SHARE = 0.97
"""Of the free memory: what is counted is nearly all, and a batch that fails changes nothing."""

_NEVER = np.iinfo(np.int64).max

HostRows: TypeAlias = list[Tensor] | None
"""One symbol's leaves in host memory, batch axis kept; ``None`` for the init state."""


class SlotWatcher(Protocol):
    """Keeps some of the slots' state itself, and is notified when the pool reads or writes them."""

    def settle(self, slots: Sequence[int] | Int64Array, /) -> None:
        """These slots are about to be read: their tensors must hold all of their state."""

    def forget(self, slots: Sequence[int] | Int64Array, /) -> None:
        """These slots were given other states."""


class SymbolStatePool:
    """Slots for the state of symbols.

    Args:
        init_state: ``init_state(n)`` gives the state of ``n`` symbols never seen, a tree of
            tensors; every row is the same.
        symbols: how many symbols there are.
        device: where the slots live; ``init_state`` may build its tensors elsewhere.
        capacity: slots, at most ``symbols``; ``None`` for as many as a GPU has memory for.
        batch_dim: the axis that counts symbols, the same in every leaf.
        copies: how often a symbol's state is on the device at once, at most: in its slot, and
            next to it while a batch of all symbols is answered.
        reserve: bytes of the device's free memory that others will take.

    Attributes:
        init: the state of one symbol never seen, on the device.
        tensors: every leaf's slots by its path.
        watcher: notified of slots read or written other than by ``gather`` and ``scatter``.

    One slot more than the capacity is allocated: ``spare``, which no symbol owns, for padding.
    """

    def __init__(
        self,
        init_state: Callable[[int], Tree],
        *,
        symbols: int,
        device: torch.device | str = "cpu",
        capacity: int | None = None,
        batch_dim: int = 0,
        copies: float = 1,
        reserve: int = 0,
    ) -> None:
        self.batch_dim = batch_dim
        self.device = torch.device(device)
        with torch.no_grad():
            self.init = map_leaves(lambda leaf: leaf.to(self.device), init_state(1))
            if capacity is None:
                free = max(0, _free_bytes(self.device) - reserve)
                capacity = free // max(1, round(copies * bytes_of(self.init)))
                if capacity < symbols:
                    _log.warning(
                        "%s has memory for the state of %d of %d symbols at once: the others wait "
                        "in host memory",
                        self.device,
                        max(capacity, 1),
                        symbols,
                    )
            self.capacity = max(1, min(capacity, symbols))
            self.spare = self.capacity
            rows = dict(named_leaves(self.init))
            self.tensors = {
                name: row.repeat_interleave(self.capacity + 1, dim=batch_dim)
                for name, row in rows.items()
            }
        self._init_rows = list(rows.values())
        self._slot_of = np.full(symbols, -1, dtype=np.int64)
        self._owner = np.full(self.capacity, -1, dtype=np.int64)
        self._last_used = np.full(self.capacity, -1, dtype=np.int64)
        self._untouched = np.ones(self.capacity, dtype=np.bool_)
        self._clock = 0
        self.watcher: SlotWatcher | None = None
        self._waiting: dict[int, list[Tensor]] = {}

    def acquire(self, symbols: Int64Array) -> Tensor:
        """``place``, on the device."""
        return torch.from_numpy(self.place(symbols)).to(self.device)

    def place(self, symbols: Int64Array | Int32Array) -> Int64Array:
        """Slots of distinct symbols, int64 [U]; evicts and reloads as needed.

        Raises:
            ValueError: more symbols than slots.
        """
        slots: Int64Array = self._slot_of[symbols]
        if -1 in slots.tolist():  # a list is searched faster than a short array
            self._bring_in(symbols[slots < 0], slots[slots >= 0])
            slots = self._slot_of[symbols]
        self._clock += 1
        self._last_used[slots] = self._clock
        return slots

    def fresh(self, n: int) -> Tree:
        """The state of ``n`` symbols never seen, on the device."""
        return map_leaves(lambda row: row.repeat_interleave(n, dim=self.batch_dim), self.init)

    def gather(self, slots: Tensor) -> Tree:
        """A copy of the state in the slots [B], as a tree with batch axis ``batch_dim``."""
        picked = (leaf.index_select(self.batch_dim, slots) for leaf in self.tensors.values())
        return rebuild(self.init, picked)

    def scatter(self, slots: Tensor, state: Tree) -> None:
        """Write state into distinct slots [B]; the spare slot may be repeated."""
        for name, rows in named_leaves(state):
            self.tensors[name].index_copy_(self.batch_dim, slots, rows)

    def clear(self) -> None:
        """Give every slot the init state, the spare one too; allocates nothing."""
        with torch.no_grad():  # the init state may be a module's parameter
            for leaf, row in zip(self.tensors.values(), self._init_rows, strict=True):
                leaf.copy_(row.expand_as(leaf))

    def clear_spare(self) -> None:
        """Give the spare slot the init state."""
        self._fill(self.spare, self._init_rows)

    def reset(self, symbols: Sequence[int]) -> None:
        """Give the symbols the init state."""
        for symbol in symbols:
            self.put(symbol, None)

    def peek(self, symbol: int) -> HostRows:
        """A symbol's state, copied to host memory where it is on the device."""
        slot = self._slot_of[symbol]
        return self._to_host([slot])[0] if slot >= 0 else self._waiting.get(symbol)

    def put(self, symbol: int, rows: HostRows) -> None:
        """Set a symbol's state to what ``peek`` returned; it gets a slot with its next event."""
        slot = self._slot_of[symbol]
        if slot >= 0:
            self._slot_of[symbol] = self._owner[slot] = self._last_used[slot] = -1
        if rows is None:
            self._waiting.pop(symbol, None)
        else:
            self._waiting[symbol] = rows

    @contextmanager
    def all_or_nothing(self) -> Iterator[Callable[[Int32Array], None]]:
        """Yields ``keep(symbols)``: those symbols get their state back if an error is raised."""
        before: dict[int, HostRows] = {}

        def keep(symbols: Int32Array) -> None:
            before.update({s: self.peek(s) for s in np.unique(symbols).tolist()})

        try:
            yield keep
        except BaseException:
            for symbol, rows in before.items():
                self.put(symbol, rows)
            raise

    def snapshot(self, symbols: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Copies of the symbols' state, ``{leaf's path: array [len(symbols), ...]}``.

        Floating dtypes that numpy lacks (bfloat16) are widened to float32, which is exact.
        """
        found = [self.peek(symbol) or self._init_rows for symbol in symbols]
        arrays = {}
        for index, (name, leaf) in enumerate(self.tensors.items()):
            shape = (len(symbols), *self._row_shape(leaf))
            array = np.empty(shape, dtype=_numpy_dtype(leaf.dtype))
            for position, rows in enumerate(found):
                row = rows[index].squeeze(self.batch_dim)
                array[position] = row.to("cpu", _torch_dtype(leaf.dtype)).numpy()
            arrays[name] = array
        return arrays

    def restore(self, symbols: Sequence[int], state: Mapping[str, NDArray[Any]]) -> None:
        """Set the symbols' state to what ``snapshot`` returned.

        Raises:
            DataError: a leaf is missing, unknown, or of another shape or dtype; nothing is changed.
        """
        wrong = sorted(set(state) ^ set(self.tensors))
        if wrong:
            kind = "is missing" if wrong[0] in self.tensors else "is unknown"
            raise DataError(f"state leaf {wrong[0]!r} {kind}", remedy=_RESTORE_REMEDY)
        for name, leaf in self.tensors.items():
            found = state[name].dtype, state[name].shape
            wanted = _numpy_dtype(leaf.dtype), (len(symbols), *self._row_shape(leaf))
            if found != wanted:
                raise DataError(
                    f"state leaf {name!r} is {found[0]} {found[1]}, not {wanted[0]} {wanted[1]}",
                    remedy=_RESTORE_REMEDY,
                )
        for position, symbol in enumerate(symbols):
            rows = [
                self._on_host(
                    torch.from_numpy(np.array(state[name][position]))
                    .to(leaf.dtype)
                    .unsqueeze(self.batch_dim)
                )
                for name, leaf in self.tensors.items()
            ]
            self.put(symbol, rows)

    def _row_shape(self, leaf: Tensor) -> tuple[int, ...]:
        return (*leaf.shape[: self.batch_dim], *leaf.shape[self.batch_dim + 1 :])

    def _bring_in(self, symbols: Int64Array | Int32Array, busy: Int64Array) -> None:
        if len(symbols) + len(busy) > self.capacity:
            raise ValueError(f"more than {self.capacity} distinct symbols at once")
        age = self._last_used.copy()  # free slots are -1: taken first
        age[busy] = _NEVER
        slots = np.argsort(age, kind="stable")[: len(symbols)]
        taken = slots[self._owner[slots] >= 0]
        evicted = self._owner[taken]
        # Everything that can run out of memory comes before the first change.
        outgoing = self._to_host(taken)
        self._slot_of[evicted] = -1
        self._waiting.update(zip(evicted.tolist(), outgoing, strict=True))
        self._owner[slots] = symbols
        self._slot_of[symbols] = slots
        for symbol, slot in zip(symbols.tolist(), slots.tolist(), strict=True):
            rows = self._waiting.pop(symbol, None)
            if rows is None and self._untouched[slot]:
                continue  # it holds the init state
            self._fill(slot, rows or self._init_rows)
        self._untouched[slots] = False
        if self.watcher is not None:
            self.watcher.forget(slots)

    def _fill(self, slot: int, rows: list[Tensor]) -> None:
        """Copy rows into a slot: in one launch for all leaves of a dtype, not in one for each."""
        by_dtype: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for leaf, row in zip(self.tensors.values(), rows, strict=True):
            places, values = by_dtype.setdefault(leaf.dtype, ([], []))
            places.append(leaf.narrow(self.batch_dim, slot, 1))
            values.append(row)
        for places, values in by_dtype.values():
            torch._foreach_copy_(places, values, non_blocking=True)

    def _to_host(self, slots: Sequence[int] | Int64Array) -> list[list[Tensor]]:
        if self.watcher is not None:
            self.watcher.settle(slots)
        copies = [
            [
                self._on_host(leaf.narrow(self.batch_dim, int(slot), 1))
                for leaf in self.tensors.values()
            ]
            for slot in slots
        ]
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        return copies

    def _on_host(self, row: Tensor) -> Tensor:
        pinned = self.device.type == "cuda"
        host = torch.empty(row.shape, dtype=row.dtype, pin_memory=pinned)
        return host.copy_(row, non_blocking=pinned)


def _free_bytes(device: torch.device) -> int:
    """Bytes that are free on the device, less what the allocator loses; a CPU has enough."""
    if device.type != "cuda":
        return sys.maxsize
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(_SHARE * (free + kept))


def bytes_of(state: Tree) -> int:
    """Memory that a state's tensors take."""
    return sum(leaf.numel() * leaf.element_size() for leaf in leaves(state))


_RESTORE_REMEDY = "Restore what snapshot() of the same strategy and model returned."


def _torch_dtype(dtype: torch.dtype) -> torch.dtype:
    exotic = dtype.is_floating_point and dtype not in (torch.float64, torch.float32, torch.float16)
    return torch.float32 if exotic else dtype


def _numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    return torch.empty(0, dtype=_torch_dtype(dtype)).numpy().dtype
