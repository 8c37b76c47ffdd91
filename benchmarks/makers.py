"""What the two shipped makers earn on recorded ticks: ``python -m benchmarks.makers FILE``.

FILE is a recording of one of Binance's futures, as the source ``binance-stream`` reads it. A linear
forecast of how far the mid moves within a second is fitted to its first half by least squares; the
makers quote in the second half:

- ``two-sided``: a bid and an ask at the touch, moved by what is held;
- ``leaning``: the same, moved by the forecast as well.

Each under every queue model and at three latencies. Service, entry and response take that latency
each, and a symbol's older events are passed over while one is answered. Money is before fees, which
are stated beside it.
"""

from __future__ import annotations

import json
import platform
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import backtest
from backtest.comparison.comparison import compare
from backtest.comparison.profits import money_units
from backtest.core.environment import versions
from backtest.core.times import format_utc
from backtest.data.canonical import write_canonical
from backtest.data.card import Card, Features, Targets
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading.bus import read_events, read_targets
from backtest.data.sources import ingest
from backtest.market.events import EventBatch
from backtest.plugins.sources.binance import BinanceStream
from backtest.report.fill_markouts import HORIZONS_NS, STALE_HORIZON
from backtest.report.material import Material
from backtest.report.picked_off import STAGES
from backtest.report.resting import MAKER
from backtest.runs.folder import Run
from benchmarks.timing import parser_of

SECOND = 10**9
HORIZON = SECOND
"""How far ahead is forecast, ns."""

LATENCIES = ("1ms", "10ms", "100ms")
QUEUES = ("through", "trades", "power:2", "optimistic")
MAKERS = {
    "two-sided": "two-sided:lots=10,skew=0.2,post_only=slide",
    "leaning": "leaning:lots=10,skew=0.2,post_only=slide,gain=1.0",
}
"""10 lots are 0.01 BTC; 10 lots that are held move both prices by a tick of 0.1 USDT. Where that is
more than the spread, the side that sells them off would take: it stands one tick off the touch."""

LIMIT = 100
"""Lots that may be held, either way."""

FEE = "0.0002"
"""Of the notional: what the exchange charges makers without a rebate."""

_LAGS = (1, 10, 100)


@dataclass
class Linear(backtest.Strategy):
    """A weighted sum of the features, in half ticks.

    Attributes:
        weights: one for each feature.
    """

    weights: tuple[float, ...]

    stateful = False

    def predict(self, batch: EventBatch) -> Any:
        assert batch.features is not None
        weighted = batch.features.astype(np.float64) * np.array(self.weights)
        return weighted.sum(axis=1, dtype=np.float64).astype(np.float32)[:, None]


def main() -> None:
    """Run it."""
    parser = parser_of(__doc__, repeats=1)
    parser.add_argument("file", type=Path, help="a recording of one future")
    parser.add_argument("--output", type=Path, help="where to write the figures, as JSON")
    given = parser.parse_args()
    if not given.file.exists():
        print(f"skipped: there is no {given.file}; recordings are not shipped")  # noqa: T201
        return
    scratch = given.scratch / "makers"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    dataset, cut = prepared(given.file, scratch)
    forecast, r2 = fitted(dataset, cut)
    found = {
        "command": f"python -m benchmarks.makers {given.file.name}",
        "versions": versions() | {"python": platform.python_version()},
        "r2": {"first half": round(r2[0], 4), "second half": round(r2[1], 4)},
        "rows": [
            row_of(scratch, forecast, cut, maker, latency, queue)
            for maker in MAKERS
            for latency in LATENCIES
            for queue in QUEUES
        ],
    }
    if given.output is not None:
        given.output.write_text(json.dumps(found, indent=1) + "\n")
    print(markdown(found["rows"]))  # noqa: T201
    print(f"R² of the forecast: {found['r2']}")  # noqa: T201


def fitted(dataset: Dataset, cut: int) -> tuple[Linear, tuple[float, float]]:
    """The forecast fitted to events whose move is over before ``cut``; its R² there and after."""
    events, target = read_events(dataset, features=True), read_targets(dataset)[:, 0]
    assert events.features is not None
    features = events.features.astype(np.float64)
    first, second = events.ts_event + HORIZON < cut, events.ts_event >= cut + HORIZON
    weights, *_ = np.linalg.lstsq(features[first], target[first], rcond=None)
    errors = target - features @ weights
    r2 = [1 - float((errors[of] ** 2).sum() / (target[of] ** 2).sum()) for of in (first, second)]
    return Linear(tuple(float(weight) for weight in weights)), (r2[0], r2[1])


def prepared(file: Path, scratch: Path) -> tuple[Dataset, int]:
    """A dataset with features and the move of the next second, and where its second half begins."""
    plain = scratch / "plain"
    ingest("binance-stream", BinanceStream(fee_rate=FEE), file, plain)
    source = open_dataset(plain)
    events = read_events(source)
    features, target = of_the_past(events), of_the_future(events)
    card = Card(
        name="makers",
        symbols=source.symbols,
        features=Features(columns=("imbalance", *(f"move_{lag}" for lag in _LAGS), "trade")),
        targets=Targets(columns=("move",)),
        instruments=source.card.instruments,
    )
    write_canonical(scratch / "data", card, [(replace(events, features=features), target)])
    first, last = int(events.ts_event[0]), int(events.ts_event[-1])
    return open_dataset(scratch / "data"), first + (last - first) // 2


def of_the_past(events: EventBatch) -> Any:
    """Imbalance of the touch, moves of the mid over events, and the sign of a trade: [n, 5]."""
    assert events.bid_size is not None
    assert events.ask_size is not None
    assert events.aggressor is not None
    mid = (events.bid + events.ask).astype(np.float64)
    moves = [mid - np.concatenate([np.full(lag, mid[0]), mid[:-lag]]) for lag in _LAGS]
    total = np.maximum(events.bid_size + events.ask_size, 1)
    imbalance = (events.bid_size - events.ask_size) / total
    columns = [imbalance, *(np.clip(move, -50, 50) for move in moves), events.aggressor]
    return np.column_stack(columns).astype(np.float32)


def of_the_future(events: EventBatch) -> Any:
    """How far the mid moves until the last event within ``HORIZON``, half ticks, float32 [n, 1]."""
    mid = events.bid + events.ask
    later = np.searchsorted(events.ts_event, events.ts_event + HORIZON, side="right") - 1
    return (mid[later] - mid).astype(np.float32)[:, None]


def row_of(
    scratch: Path, forecast: Linear, cut: int, maker: str, latency: str, queue: str
) -> dict[str, Any]:
    """What one run comes to."""
    run = backtest.run(
        runs=scratch / "runs",
        dataset=str(scratch / "data"),
        strategy=forecast,
        window={"start": format_utc(cut + HORIZON)},
        policy="newest-per-symbol",
        quoting=MAKERS[maker],
        accountant=f"market:position_limit={LIMIT}",
        latency={
            "service": f"constant:{latency}",
            "entry": f"constant:{latency}",
            "response": f"constant:{latency}",
        },
        fills={"queue": queue},
    )
    return {"maker": maker, "latency": latency, "queue": queue, **figures_of(run)}


def figures_of(run: Run) -> dict[str, Any]:
    """Money in currency: before fees, and what it is made of."""
    material, units = Material(compare([run])), money_units(run)
    resting, markouts = material.resting, material.fill_markouts
    assert resting is not None
    assert markouts is not None
    account, orders = run.metrics["account"], run.metrics["orders"]

    def money(amount: int) -> float:
        return round(amount / units, 2)

    late = {
        name: {"lots": resting.late[k][1], "adverse": money(markouts.late[k])}
        for k, name in enumerate(STAGES, 1)
    }
    return {
        "maker_lots": resting.filled[MAKER].lots,
        "fill_ratio": resting.fill_ratio,
        "at_touch": round(orders["standing"]["total"]["at"], 3),
        "before_fees": money(account["net"] + account["fees"]),
        "fees": money(account["fees"]),
        "spread": money(-resting.filled[MAKER].money["spread"]),
        "adverse": {
            f"{HORIZONS_NS[k] / SECOND:g} s": money(markouts.adverse[MAKER][k])
            for k in (0, STALE_HORIZON, 6)
        },
        "late": late,
        "rejected": orders["rejected"]["reports"],
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a table."""
    heads = ("maker", "latency", "queue", "lots", "before fees", "spread earned", "adverse 1 s",
             "stale lots", "their adverse", "fees")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in rows:
        stale = {name: of for name, of in row["late"].items() if name != "same instant"}
        lots = sum(of["lots"] for of in stale.values())
        lost = sum(of["adverse"] for of in stale.values())
        lines.append(
            f"| {row['maker']} | {row['latency']} | {row['queue']} | {row['maker_lots']:,} | "
            f"{row['before_fees']:,.2f} | {row['spread']:,.2f} | {row['adverse']['1 s']:,.2f} | "
            f"{lots:,} | {lost:,.2f} | {row['fees']:,.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
