"""Whole runs with resting orders: their fills, reports and money are the oracle's."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import backtest
from backtest.data.canonical import write_canonical
from backtest.data.card import Card, InstrumentTable
from backtest.errors import UsageError
from backtest.market.events import NO_PRICE, EventBatch
from backtest.runs.folder import Run
from tests.order_markets import Fees
from tests.order_oracle import ORDER_TERMS, Result, simulate_orders
from tests.order_records import Message, OrderRules, Row
from tests.quote_oracle import Answer, DeskRules, simulate_quotes

US = 1000
START = 1_700_000_000_000_000_000
SYMBOLS = ("AAA", "BBB")
LATENCY = {"entry": 300 * US, "cancel": 200 * US, "replace": 250 * US, "response": 100 * US}
QUOTING = "two-sided:lots=3,skew=0.5,requote_band=1,min_interval=2ms,post_only=slide"
WORTH = 5_000_000
"""Money units of half a tick of a lot: ticks of 0.01."""


def rows_of(seed: int, n: int) -> list[Row]:
    """Quotes and trades about 0.4 ms apart, some of them at one instant."""
    random = np.random.default_rng(seed)
    bids, rows, ts = {0: 1000, 1: 5000}, [], START
    for _ in range(n):
        symbol = int(random.integers(2))
        bids[symbol] += int(random.choice([-1, 0, 0, 0, 1]))
        bid = bids[symbol]
        ask = bid + int(random.choice([1, 1, 2]))
        sizes = random.integers(1, 9, 2).tolist()
        trade: dict[str, Any] = {}
        if random.random() < 0.35:
            side = int(random.choice([-1, 1]))
            trade = {
                "trade_price": (bid if side < 0 else ask) + int(random.choice([0, 0, 0, side])),
                "trade_size": int(random.integers(1, 12)),
                "aggressor": int(random.choice([side, 0])),
            }
        rows.append(Row(symbol, ts, bid, ask, *sizes, **trade))
        ts += int(random.choice([0, 1, 1, 2])) * 400 * US
    return rows


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return rows_of(3, 1500)


@pytest.fixture(scope="module")
def dataset(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    def column(name: str, absent: int = 0) -> Any:
        values = [getattr(row, name) for row in rows]
        return np.array([absent if v is None else v for v in values], dtype=np.int64)

    batch = EventBatch(
        symbol=column("symbol").astype(np.int32),
        ts_event=column("ts"),
        bid=column("bid"),
        ask=column("ask"),
        bid_size=column("bid_size"),
        ask_size=column("ask_size"),
        trade_price=column("trade_price", NO_PRICE),
        trade_size=column("trade_size"),
        aggressor=column("aggressor").astype(np.int8),
    )
    costs = InstrumentTable(
        fee_rate=Decimal("0.0003"),
        maker_fee_rate=Decimal("-0.0001"),
        maker_fee_per_lot=Decimal("0.000002"),
    )
    folder = tmp_path_factory.mktemp("made") / "traded"
    card = Card(name="traded", symbols=SYMBOLS, instruments={"default": costs})
    write_canonical(folder, card, [batch])
    return folder


def run(dataset: Path, runs: Path, **settings: Any) -> Run:
    given: dict[str, Any] = {
        "dataset": str(dataset),
        "strategy": "imbalance",
        "latency": {
            "service": "affine:600us,50us",
            "feed": "constant:70us",
            **{name: f"constant:{span}ns" for name, span in LATENCY.items()},
        },
    }
    return backtest.run(runs=runs, **{**given, **settings})


def fees() -> dict[str, Any]:
    value = (WORTH, WORTH)
    return {
        "taker_fee": Fees(Fraction("0.0003"), 0, value),
        "maker_fee": Fees(Fraction("-0.0001"), 2000, value),
    }


def quoted(rows: list[Row], made: Run, rules: OrderRules, **depth: Any) -> Result:
    """The oracle's run, its answers timed as those of the run."""
    timing = made.table("timing")
    times = {n: timing[n].cast(pl.Int64).to_list() for n in ("ts_received", "ts_begun", "ts_ended")}
    answers = []
    for i, row in enumerate(rows):
        assert row.bid is not None
        assert row.ask is not None
        if timing["status"][i] == 0:
            offset = row.ask - row.bid
            t3 = times["ts_ended"][i]
            before = times["ts_received"][i], times["ts_begun"][i]
            answers.append(Answer(i, row.ts, *before, t3, (offset, 3, offset, 3)))
    desk = DeskRules(Fraction(1, 2), None, 1, 0, 2_000_000, "slide")
    of = {name: [span] * len(rows) for name, span in LATENCY.items()}
    return simulate_quotes(
        rows, answers, desk, rules, of["response"], of["entry"], of["cancel"], of["replace"],
        of["response"], value=[WORTH, WORTH], **fees(), **depth,
    )  # fmt: skip


def assert_same(made: Run, expected: Result) -> None:
    """Hold a run's tables and figures against the oracle."""
    fills = made.table("fills").filter(pl.col("order") >= 0)
    theirs = sorted(expected.fills, key=lambda fill: (fill.ts, fill.symbol))
    assert len(theirs) > 50
    assert fills.select(
        pl.col("symbol").cast(pl.String),
        "order",
        pl.col("ts_venue").cast(pl.Int64),
        "lots",
        "price_half_ticks",
        "maker",
        pl.col("ts_arrived").cast(pl.Int64),
        "rest",
        "spread",
        "fees",
        "cash",
    ).rows() == [
        (
            SYMBOLS[f.symbol], f.id, f.ts, f.lots, f.price_half_ticks, f.maker, f.t4, f.rest,
            f.spread, f.fees, f.cash,
        )
        for f in theirs
    ]  # fmt: skip
    reports = made.table("orders")
    told = sorted(expected.reports, key=lambda report: (report.ts, report.symbol))
    assert reports.select(
        pl.col("symbol").cast(pl.String),
        "order",
        pl.col("ts_venue").cast(pl.Int64),
        pl.col("ts_known").cast(pl.Int64),
        pl.col("report").cast(pl.String).replace("took", "filled"),
    ).rows() == [(SYMBOLS[r.symbol], r.id, r.ts, r.known, r.kind) for r in told]
    account = made.metrics["account"]
    for s, symbol in enumerate(SYMBOLS):
        mine = account["by_symbol"][symbol]
        assert {n: mine[n] for n in ("net", *ORDER_TERMS)} == expected.by_symbol[s]


def end_of(rows: list[Row]) -> int:
    return rows[-1].ts + 1


def test_quotes_are_the_oracles(rows: list[Row], dataset: Path, tmp_path: Path) -> None:
    made = run(dataset, tmp_path, quoting=QUOTING)
    assert_same(made, quoted(rows, made, OrderRules(end=end_of(rows))))
    kinds = made.metrics["orders"]
    assert kinds["filled"]["lots"] == made.table("fills").filter("maker")["lots"].abs().sum()


@pytest.mark.parametrize(
    ("fills", "rules"),
    [
        ({"queue": "power:3", "pairing": "1ms"}, {"model": "power:3", "pairing": 1_000_000}),
        ({"queue": "through", "cross": "none"}, {"model": "through", "cross": "none"}),
        (
            {"queue": "optimistic", "through": "full", "cross": "full", "inside": "both"},
            {"model": "optimistic", "through_fill": "full", "cross": "full", "inside": "both"},
        ),
    ],
)
def test_settings_of_fills_are_the_oracles(
    fills: dict[str, Any], rules: dict[str, Any], rows: list[Row], dataset: Path, tmp_path: Path
) -> None:
    made = run(dataset, tmp_path, quoting=QUOTING, fills=fills)
    assert_same(made, quoted(rows, made, OrderRules(end=end_of(rows), **rules)))


def test_the_bracket_is_what_other_queue_models_earn(dataset: Path, tmp_path: Path) -> None:
    made = run(dataset, tmp_path, quoting=QUOTING)
    bracket = made.metrics["orders"]["bracket"]
    assert set(bracket) == {"through", "optimistic"}
    for name, figures in bracket.items():
        other = run(dataset, tmp_path, quoting=QUOTING, fills={"queue": name})
        assert figures["net"] == other.metrics["account"]["net"]
        assert figures["fills"] == other.metrics["account"]["fills"]
    assert bracket["through"]["fills"] < made.metrics["account"]["fills"]


def test_a_list_of_orders_is_the_oracles(rows: list[Row], dataset: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    columns: dict[str, list[Any]] = {
        name: [] for name in ("ts_sent", "symbol", "action", "id", "side", "price", "total")
    }
    messages = []
    for number in range(400):
        row = rows[int(random.integers(20, len(rows)))]
        side = int(random.choice([-1, 1]))
        near = row.bid if side > 0 else row.ask
        assert near is not None
        price, total = near + int(random.choice([-1, 0, 1])), int(random.integers(1, 6))
        sent = row.ts + int(random.integers(0, 3_000_000))
        messages.append(Message(row.symbol, sent, "new", number, side, price, total))
        if random.random() < 0.5:
            later = sent + int(random.integers(0, 9_000_000))
            messages.append(Message(row.symbol, later, "cancel", number, side))
    messages.sort(key=lambda message: message.sent)
    for m in messages:
        columns["ts_sent"].append(m.sent)
        columns["symbol"].append(SYMBOLS[m.symbol])
        columns["action"].append(m.action)
        columns["id"].append(m.id)
        columns["side"].append("buy" if m.side > 0 else "sell")
        columns["price"].append(m.price)
        columns["total"].append(m.total)
    file = tmp_path / "list.parquet"
    pq.write_table(pa.table(columns), file)
    made = run(dataset, tmp_path / "runs", strategy=f"order-list:{file}")
    named = [
        Message(
            m.symbol, m.sent, m.action, m.id, m.side, m.price, m.total,
            latency=LATENCY["entry" if m.action == "new" else "cancel"],
            response=LATENCY["response"],
        )
        for m in messages
    ]  # fmt: skip
    response = [LATENCY["response"]] * len(rows)
    rules = OrderRules(end=end_of(rows))
    expected = simulate_orders(rows, named, rules, response, value=[WORTH, WORTH], **fees())
    assert_same(made, expected)


PLUGIN = '''
from dataclasses import dataclass

import backtest
from backtest.core.parameters import OutputPath
from backtest.strategies.imbalance import Imbalance


@dataclass
class Listening(Imbalance):
    """Notes the fills that it hears of, and does not mind them."""

    log: OutputPath | None = None

    def on_fills(self, fills):
        with self.log.open("a") as log:
            for fill in fills:
                log.write(f"{fill.symbol} {fill.lots} {fill.half_ticks} {fill.known}\\n")


@backtest.hookimpl
def backtest_register_strategies(register):
    register("listening", Listening)
'''


def test_a_strategy_that_hears_of_its_fills_is_quoted_alike(dataset: Path, tmp_path: Path) -> None:
    plugin, log = tmp_path / "listening.py", tmp_path / "heard"
    plugin.write_text(PLUGIN)
    strategy = {"name": "listening", "log": str(log)}
    made = run(dataset, tmp_path / "runs", strategy=strategy, quoting=QUOTING, plugins=[plugin])
    assert made.manifest["loop"]["kind"] == "closed"
    fills, apart = made.table("fills"), run(dataset, tmp_path / "runs", quoting=QUOTING)
    assert fills.equals(apart.table("fills"))
    assert made.table("orders").equals(apart.table("orders"))
    heard = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    told = made.table("orders").filter(pl.col("report").cast(pl.String).is_in(["filled", "took"]))
    known = sorted(told["ts_known"].cast(pl.Int64).to_list())
    assert [row[3] for row in heard] == known[: len(heard)]
    assert len(heard) > len(known) * 0.9


def test_a_retouched_list_is_another_run(dataset: Path, tmp_path: Path) -> None:
    file = tmp_path / "list.parquet"
    ids = []
    for price in (1000, 1001):
        table = {"ts_sent": [START], "symbol": ["AAA"], "action": ["new"], "id": [1]}
        pq.write_table(pa.table({**table, "side": ["buy"], "price": [price], "total": [1]}), file)
        ids.append(run(dataset, tmp_path / "runs", strategy=f"order-list:{file}").id)
    assert ids[0] != ids[1]


RULE = """
from dataclasses import dataclass
from pathlib import Path

import backtest
from backtest.plugins.quoting import TwoSided

@dataclass(frozen=True)
class Tabled(TwoSided):
    table: Path = Path("none")

@backtest.hookimpl
def backtest_register_quoting_rules(register):
    register("tabled", Tabled)
"""


def test_a_file_that_a_quoting_rule_reads_is_an_input(dataset: Path, tmp_path: Path) -> None:
    plugin, table = tmp_path / "tabled.py", tmp_path / "table"
    plugin.write_text(RULE)
    ids = set()
    for content in ("1", "2", "1"):
        table.write_text(content)
        quoting = {"name": "tabled", "table": str(table)}
        made = run(dataset, tmp_path / "runs", quoting=quoting, plugins=[plugin], limit=100)
        ids.add(made.id)
    assert len(ids) == 2


def test_what_does_not_fit_together_is_refused(
    dataset: Path, small_dataset: Path, tmp_path: Path
) -> None:
    file = tmp_path / "list.parquet"
    table = {"ts_sent": [START], "symbol": ["AAA"], "action": ["cancel"], "id": [1]}
    pq.write_table(pa.table(table), file)
    for settings, problem in (
        ({"fills": {"cross": "none"}}, "none rest"),
        ({"latency": {"service": "constant:1ms", "cancel": "constant:1ms"}}, "none rest"),
        ({"quoting": QUOTING, "accountant": "challenge"}, "the accountant makes none"),
        ({"quoting": QUOTING, "strategy": f"order-list:{file}"}, "nothing to quote"),
        ({"quoting": "two-sided:lots=-1"}, "cannot be negative"),
        ({"quoting": "two-sided:skew=0.3333333333"}, "too many digits"),
        ({"quoting": QUOTING, "fills": {"queue": "power:9"}}, "from 1 to 4"),
    ):
        of = small_dataset if "challenge" in str(settings) else dataset
        with pytest.raises(UsageError, match=problem):
            run(of, tmp_path / "runs", **settings)
