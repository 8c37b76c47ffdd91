"""Several events of each symbol through a module's ``forward_sequence``: batched over time.

Symbols have different numbers of events, and padding must never touch state. So each symbol's
events are cut into blocks whose lengths are powers of two, the longest first, and blocks of equal
length go through together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from backtest.core.arrays import Int32Array, Int64Array
from backtest.strategies.state_pool import SymbolStatePool
from backtest.strategies.state_tree import map_leaves, named_leaves

if TYPE_CHECKING:
    from backtest.strategies.pooled import Commits

LONGEST = 1024
"""Events of a symbol in a block, at most; a power of two."""

ROWS = 8192
"""Events in a call of the module, at most, so that what it allocates is bounded."""


@dataclass(frozen=True, slots=True)
class Block:
    """The next T events of each of B symbols.

    Attributes:
        rows: the batch's row numbers, int64 [T, B]; a symbol's events lie below one another.
        places: where the symbols stand among the batch's distinct symbols, int64 [B].
    """

    rows: Int64Array
    places: Int64Array


def split_blocks(
    symbol: Int32Array, *, longest: int = LONGEST, rows: int = ROWS
) -> tuple[Int64Array, list[Block]]:
    """A batch as blocks to be served one after another.

    Args:
        symbol: whose events they are, in time order, [n].
        longest: events of a symbol in a block, at most; a power of two.
        rows: events in a block, at most, and at least ``longest``.

    Returns:
        The distinct symbols, int64 [U], and the blocks: of each length below ``longest`` one,
        unless ``rows`` divides it.
    """
    distinct, inverse, left = np.unique(symbol, return_inverse=True, return_counts=True)
    by_symbol = np.argsort(inverse, kind="stable")
    following = np.cumsum(left) - left  # each symbol's next event, in by_symbol
    blocks = []
    length = min(longest, 1 << (int(left.max()).bit_length() - 1))
    while length:
        places = np.flatnonzero(left >= length)
        together = rows // length
        for first in range(0, len(places), together):
            some = places[first : first + together]
            blocks.append(Block(by_symbol[following[some] + np.arange(length)[:, None]], some))
        left[places] -= length
        following[places] += length
        if length < longest or not len(places):
            length //= 2
    return distinct.astype(np.int64), blocks


def advance_in_blocks(
    module: Any, pool: SymbolStatePool, x: Tensor, symbol: Int32Array
) -> tuple[Tensor, Commits]:
    """Answer events of at most ``capacity`` symbols, changing no slot yet.

    Args:
        module: offers ``forward`` and ``forward_sequence``.
        pool: has the symbols' state.
        x: features [n, F] in time order.
        symbol: whose events they are, [n].

    Returns:
        Predictions [n, outputs] and the state to commit, as for ``PooledStrategy.advance``.
    """
    symbols, blocks = split_blocks(symbol)
    slots = pool.acquire(symbols)
    # A copy of the slots, so it may be changed in place; what the module returns may not.
    state = pool.gather(slots)
    named = dict(named_leaves(state))
    # Both index arrays at once: an upload between two calls could wait for the first.
    rows = _on(pool.device, [block.rows for block in blocks])
    places = _on(pool.device, [block.places for block in blocks])
    in_turn = torch.split(x[rows], [block.rows.size for block in blocks])
    chosen = torch.split(places, [len(block.places) for block in blocks])
    answers = []
    for block, x_block, at in zip(blocks, in_turn, chosen, strict=True):
        part = map_leaves(partial(torch.index_select, dim=pool.batch_dim, index=at), state)
        length, count = block.rows.shape
        if length == 1:
            y, new = module(x_block, part)
        else:
            y, new = module.forward_sequence(x_block.view(length, count, -1), part)
        answers.append(y.reshape(block.rows.size, -1))
        for name, leaf in named_leaves(new):
            named[name].index_copy_(pool.batch_dim, at, leaf)
    in_order = torch.cat(answers)
    return torch.empty_like(in_order).index_copy_(0, rows, in_order), [(slots, state)]


def _on(device: torch.device, parts: list[Int64Array]) -> Tensor:
    return torch.from_numpy(np.concatenate([part.reshape(-1) for part in parts])).to(device)
