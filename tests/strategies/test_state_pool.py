"""Slots: who owns one, who waits in host memory, what a reset gives back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from backtest.errors import DataError
from backtest.strategies.state_pool import SymbolStatePool, bytes_of


def init_state(n: int) -> dict[str, Any]:
    return {
        "m": torch.full((n, 3), -torch.inf),
        "count": torch.full((n,), 7, dtype=torch.int64),
        "half": torch.full((n, 2), 0.5, dtype=torch.bfloat16),
    }


def pool(capacity: int | None = None, symbols: int = 5) -> SymbolStatePool:
    return SymbolStatePool(init_state, symbols=symbols, capacity=capacity)


def write(to: SymbolStatePool, symbol: int, value: int) -> None:
    to.scatter(
        to.acquire(np.array([symbol])),
        {
            "m": torch.full((1, 3), float(value)),
            "count": torch.full((1,), value, dtype=torch.int64),
            "half": torch.full((1, 2), float(value), dtype=torch.bfloat16),
        },
    )


def counts(of: SymbolStatePool) -> list[int]:
    found: list[int] = of.snapshot(range(5))["count"].tolist()
    return found


def test_a_symbol_never_seen_has_the_init_state() -> None:
    fresh = pool()
    state = fresh.gather(fresh.acquire(np.array([3, 1])))
    assert (state["m"] == -torch.inf).all()
    assert state["count"].tolist() == [7, 7]
    assert counts(fresh) == [7] * 5


def test_slots_belong_to_symbols() -> None:
    held = pool()
    for symbol in (2, 0, 4):
        write(held, symbol, 10 + symbol)
    assert counts(held) == [10, 7, 12, 7, 14]
    state = held.gather(held.acquire(np.array([4, 2])))
    assert state["count"].tolist() == [14, 12]


def test_gathered_state_is_a_copy() -> None:
    held = pool()
    held.gather(held.acquire(np.array([1])))["count"].zero_()
    assert counts(held) == [7] * 5


def test_the_least_recently_used_symbols_are_evicted() -> None:
    held = pool(capacity=3)
    for symbol in (0, 1, 2):
        write(held, symbol, 10 + symbol)
    held.acquire(np.array([0]))
    write(held, 3, 13)  # 1 is the oldest
    waiting = [s for s in range(5) if held._slot_of[s] < 0]
    assert waiting == [1, 4]
    assert counts(held) == [10, 11, 12, 13, 7]
    write(held, 1, 21)
    assert counts(held) == [10, 21, 12, 13, 7]


def test_symbols_of_one_call_do_not_evict_each_other() -> None:
    held = pool(capacity=2)
    for symbol in (0, 1):
        write(held, symbol, 10 + symbol)
    held.acquire(np.array([1]))
    slots = held.acquire(np.array([0, 4]))  # 0 is older than 1, but wanted
    assert held.gather(slots)["count"].tolist() == [10, 7]
    assert counts(held) == [10, 11, 7, 7, 7]
    with pytest.raises(ValueError, match="2 distinct"):
        held.acquire(np.array([0, 1, 2]))


def test_reset_is_the_init_state_and_not_zeros_wherever_the_symbol_is() -> None:
    held = pool(capacity=2)
    for symbol in range(4):
        write(held, symbol, 10 + symbol)
    held.reset([0, 3])  # one waiting, one in a slot
    assert counts(held) == [7, 11, 12, 7, 7]
    assert (held.snapshot([3])["m"] == -np.inf).all()
    assert (held.gather(held.acquire(np.array([3])))["m"] == -torch.inf).all()
    assert counts(held) == [7, 11, 12, 7, 7]


def test_many_rounds_of_eviction_lose_nothing() -> None:
    rng = np.random.default_rng(0)
    held, plain = pool(capacity=2), dict.fromkeys(range(5), 7)
    for value in range(200):
        symbols = rng.choice(5, size=rng.integers(1, 3), replace=False)
        slots = held.acquire(symbols)
        state = held.gather(slots)
        assert state["count"].tolist() == [plain[s] for s in symbols.tolist()]
        held.scatter(slots, state | {"count": torch.full((len(symbols),), value)})
        plain |= dict.fromkeys(symbols.tolist(), value)
        if value % 7 == 0:
            held.reset([int(symbols[0])])
            plain[int(symbols[0])] = 7
    assert counts(held) == list(plain.values())


def test_the_spare_slot_is_nobodys() -> None:
    held = pool(capacity=2, symbols=2)
    slots = held.acquire(np.array([0, 1]))
    assert held.spare not in slots.tolist()
    padding = torch.full((2,), held.spare)
    held.scatter(padding, init_state(2) | {"count": torch.zeros(2, dtype=torch.int64)})
    assert held.gather(slots)["count"].tolist() == [7, 7]


def test_snapshot_and_restore_keep_dtypes_and_order() -> None:
    held, other = pool(), pool(capacity=1)
    for symbol in range(5):
        write(held, symbol, 10 + symbol)
    taken = held.snapshot([4, 0])
    assert {k: (v.dtype, v.shape) for k, v in taken.items()} == {
        "m": (np.dtype(np.float32), (2, 3)),
        "count": (np.dtype(np.int64), (2,)),
        "half": (np.dtype(np.float32), (2, 2)),  # numpy has no bfloat16
    }
    other.restore([4, 0], taken)
    assert counts(other) == [10, 7, 7, 7, 14]
    assert other.gather(other.acquire(np.array([4])))["half"].tolist() == [[14, 14]]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s.pop("m"), "'m' is missing"),
        (lambda s: s.update(extra=np.zeros(2)), "'extra' is unknown"),
        (lambda s: s.update(m=s["m"][:, :2]), "'m'"),
        (lambda s: s.update(count=s["count"].astype(np.int32)), "'count'"),
    ],
    ids=["missing", "unknown", "shape", "dtype"],
)
def test_a_wrong_snapshot_is_refused_and_changes_nothing(change: Any, named: str) -> None:
    held = pool()
    write(held, 0, 10)
    state = held.snapshot([0, 1])
    change(state)
    with pytest.raises(DataError, match=named):
        held.restore([0, 1], state)
    assert counts(held) == [10, 7, 7, 7, 7]


def test_the_axis_that_counts_symbols_may_be_1() -> None:
    held = SymbolStatePool(
        lambda n: (torch.zeros(2, n, 3), torch.ones(2, n)), symbols=4, capacity=2, batch_dim=1
    )
    for symbol in range(4):
        slots = held.acquire(np.array([symbol]))
        held.scatter(slots, (torch.full((2, 1, 3), float(symbol)), torch.ones(2, 1)))
    h, c = held.gather(held.acquire(np.array([3, 1])))
    assert h.shape == (2, 2, 3)
    assert h.is_contiguous()
    assert h[0, :, 0].tolist() == [3, 1]
    assert c.shape == (2, 2)
    taken = held.snapshot(range(4))
    assert taken["0"].shape == (4, 2, 3)
    assert taken["0"][:, 0, 0].tolist() == [0, 1, 2, 3]
    held.restore([0], {name: leaf[2:3] for name, leaf in taken.items()})
    assert held.snapshot([0])["0"].max() == 2


def test_bytes_of_a_state() -> None:
    assert bytes_of(init_state(10)) == 10 * (3 * 4 + 8 + 2 * 2)


def test_a_slot_that_nobody_had_is_not_written() -> None:
    fresh = pool(capacity=2, symbols=3)
    before = [leaf._version for leaf in fresh.tensors.values()]
    fresh.place(np.array([0, 1]))
    assert [leaf._version for leaf in fresh.tensors.values()] == before
    write(fresh, 0, 3)
    write(fresh, 1, 4)
    assert fresh.gather(fresh.acquire(np.array([2])))["count"].tolist() == [7]


def test_without_a_capacity_as_many_slots_as_memory_allows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    each = bytes_of(init_state(1))
    monkeypatch.setattr("backtest.strategies.state_pool._free_bytes", lambda device: 7 * each)
    assert pool(symbols=7).capacity == 7
    assert not caplog.messages
    tight = SymbolStatePool(init_state, symbols=7, copies=3)
    assert tight.capacity == 2
    assert "memory for the state of 2 of 7 symbols" in caplog.text
    assert SymbolStatePool(init_state, symbols=7, copies=30).capacity == 1
    assert SymbolStatePool(init_state, symbols=7, reserve=4 * each).capacity == 3
    assert SymbolStatePool(init_state, symbols=7, reserve=9 * each).capacity == 1


def test_slots_are_cleared_of_an_init_state_that_is_learned() -> None:
    learned = torch.nn.Parameter(torch.full((1, 3), 7.0))
    pool = SymbolStatePool(lambda n: {"h": learned if n == 1 else learned.expand(n, 3)}, symbols=2)
    pool.tensors["h"].zero_()
    pool.clear()
    assert torch.equal(pool.tensors["h"], torch.full((3, 3), 7.0))
    assert not pool.tensors["h"].requires_grad
