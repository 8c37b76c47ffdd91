"""Capacity against real runs at other sizes, and against a plain account of scaled fills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.api import run
from backtest.data.canonical import write_canonical
from backtest.data.card import Card
from backtest.market.events import EventBatch
from backtest.market.quotes import UNLIMITED
from backtest.runs.folder import Run
from backtest.trading.capacity import COLUMNS, LEAST_FILLED, Capacity, CapacityFollower
from backtest.trading.layout import COSTS

SYMBOLS = ("AAA", "BBB")
SIZES = (1, 2, 7, 40)


@dataclass(frozen=True)
class Fill:
    """A fill; ``taken`` is of the same side, and 0 where its quote is new."""

    symbol: str
    event: int
    lots: int
    displayed: int
    taken: int
    decision: int
    costs: tuple[int, ...]


def plain(fills: Sequence[Fill], size: int) -> tuple[Fraction, int]:
    """Money and lots traded at a size, one fill after another."""
    net, traded = Fraction(0), 0
    run_holds, holds = dict.fromkeys(SYMBOLS, 0), dict.fromkeys(SYMBOLS, 0)
    own: dict[tuple[str, bool], int] = {}
    for fill in fills:
        side = fill.symbol, fill.lots > 0
        if fill.taken == 0:
            own[side] = 0
        run_holds[fill.symbol] += fill.lots
        order = size * run_holds[fill.symbol] - holds[fill.symbol]
        if fill.event < 0:
            filled = -holds[fill.symbol]
        else:
            if order * fill.lots <= 0:
                continue
            room = max(fill.displayed - own.get(side, 0), 0)
            filled = min(order, room) if order > 0 else max(order, -room)
            own[side] = own.get(side, 0) + abs(filled)
        holds[fill.symbol] += filled
        ratio, cost = Fraction(filled, fill.lots), dict(zip(COSTS, fill.costs, strict=True))
        delays = cost["feed"] + cost["queueing"] + cost["service"] + cost["entry"]
        net += ratio * (fill.decision - delays) - abs(ratio) * (cost["spread"] + cost["fees"])
        net -= ratio**2 * cost["impact"]
        traded += abs(filled)
    return net, traded


def rows(fills: Sequence[Fill]) -> pa.RecordBatch:
    """Fills as the run folder has them."""
    columns: dict[str, list[int] | pa.Array] = {
        name: [getattr(fill, name) for fill in fills]
        for name in COLUMNS
        if name not in ("symbol", *COSTS)
    }
    columns |= {name: [fill.costs[k] for fill in fills] for k, name in enumerate(COSTS)}
    columns["symbol"] = pa.array([fill.symbol for fill in fills], pa.string()).dictionary_encode()
    arrays = {name: pa.array(columns[name]) for name in COLUMNS}
    return pa.RecordBatch.from_pydict(arrays)


MONEY = st.integers(-50, 50)
FILLS = st.lists(
    st.builds(
        Fill,
        st.sampled_from(SYMBOLS),
        st.sampled_from([3, 3, 3, -1]),
        st.integers(-4, 4).filter(bool),
        st.integers(4, 60),
        st.integers(0, 2),
        MONEY,
        st.tuples(*[MONEY] * len(COSTS)),
    ),
    min_size=1,
    max_size=12,
)


@given(FILLS, st.integers(0, 12))
def test_scaled_fills_are_those_of_a_plain_account(fills: list[Fill], cut: int) -> None:
    follower = CapacityFollower(SIZES)
    for some in (fills[:cut], fills[cut:]):
        if some:
            follower.add(rows(some))
    found = follower.capacity()
    assert found is not None
    lots = sum(abs(fill.lots) for fill in fills)
    for k, size in enumerate(SIZES):
        net, traded = plain(fills, size)
        assert found.traded[k] == pytest.approx(traded / (size * lots))
        if found.traded[k] < LEAST_FILLED:
            assert np.isnan(found.net[k])
        else:
            assert found.net[k] == pytest.approx(float(net), abs=1e-6)


def test_without_fills_there_is_none() -> None:
    assert CapacityFollower().capacity() is None


def test_without_displayed_sizes_there_is_none() -> None:
    follower = CapacityFollower()
    follower.add(rows([Fill("AAA", 3, 1, UNLIMITED, 0, 5, (1,) * len(COSTS))]))
    assert follower.capacity() is None


def market(folder: Path, sizes: Sequence[int], terms: str = "") -> Path:
    """A dataset of 11 symbols whose touches display some of the sizes."""
    random = np.random.default_rng(11)
    n = 4000
    bid = 1000 + np.cumsum(random.integers(-2, 3, n))
    batch = EventBatch(
        symbol=random.integers(0, 11, n).astype(np.int32),
        ts_event=10**18 + np.cumsum(random.integers(1, 10**9, n)),
        bid=bid,
        ask=bid + random.integers(1, 4, n),
        bid_size=random.choice(sizes, n),
        ask_size=random.choice(sizes, n),
    )
    card = Card(name="sizes", symbols=tuple(f"S{k:02}" for k in range(11)))
    write_canonical(folder, card.model_copy(update={"instruments": {}}), [batch])
    path = folder / "dataset.toml"
    path.write_text(path.read_text() + '\n[instruments.default]\ntick_size = "0.05"\n' + terms)
    return folder


def finished(folder: Path, lots: int, accountant: str = "market") -> Run:
    """A run whose targets are that many lots."""
    return run(
        runs=folder.parent / "runs",
        dataset=str(folder),
        strategy="imbalance",
        sizing=f"sign:lots={lots},threshold=0.2",
        accountant=accountant,
        latency={"service": "constant:1s", "entry": "constant:20ms"},
    )


def capacity_of(found: Run, sizes: tuple[int, ...]) -> Capacity:
    follower = CapacityFollower(sizes)
    for piece in found.pieces("fills", COLUMNS):
        follower.add(piece)
    capacity = follower.capacity()
    assert capacity is not None
    return capacity


def test_with_enough_displayed_it_is_a_run_at_that_size(tmp_path: Path) -> None:
    terms = 'fee_rate = "0.00003"\nfee_per_lot = "0.01"\n'
    folder = market(tmp_path / "deep", (5_000, 6_000, 9_000), terms)
    base, sizes = finished(folder, 1), (1, 2, 5, 10)
    found = capacity_of(base, sizes)
    fills = base.table("fills").height
    assert fills > 300
    for k, size in enumerate(sizes):
        account = finished(folder, size).metrics["account"]
        # A fee is rounded up to a unit of money, once a fill.
        assert found.net[k] == pytest.approx(account["net"], rel=1e-12, abs=fills * size)
        assert found.traded[k] == 1.0
        assert account["lots_traded"] == size * base.metrics["account"]["lots_traded"]


def test_linear_impact_grows_with_the_square_of_the_size(tmp_path: Path) -> None:
    # 3 lots move the price by whole half ticks: 1000 x 2 x 3 / 6000 of them for a tick of spread.
    folder = market(tmp_path / "deep", (3_000, 6_000))
    accountant = "market:impact=1000"
    base = finished(folder, 3, accountant)
    found = capacity_of(base, (1, 4))
    net = [finished(folder, lots, accountant).metrics["account"]["net"] for lots in (3, 12)]
    assert found.net.tolist() == pytest.approx(net, rel=1e-12)
    assert base.metrics["account"]["impact"] > 0


def test_beyond_what_is_displayed_less_is_filled(tmp_path: Path) -> None:
    folder = market(tmp_path / "thin", range(1, 40))
    base, sizes = finished(folder, 1), (1, 2, 20, 200)
    found = capacity_of(base, sizes)
    assert found.net[0] == pytest.approx(base.metrics["account"]["net"], rel=1e-12)
    assert found.traded[0] == 1.0
    lots = base.metrics["account"]["lots_traded"]
    for size, share in zip(sizes[1:], found.traded[1:].tolist(), strict=True):
        # A run tries again with every answer, not only with those that filled something before.
        real = finished(folder, size).metrics["account"]["lots_traded"] / (size * lots)
        assert 0.6 * real < share < real < 1
