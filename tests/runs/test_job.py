"""How a run is carried out shows neither in what it finds nor in what it keeps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest.api import run
from backtest.core import row_groups
from backtest.core.arrays import Float32Array
from backtest.core.parts import Origin
from backtest.data.card import Features, Targets
from backtest.data.dataset import open_dataset
from backtest.data.reading import stream as stream_module
from backtest.data.reading.bus import read_events, read_targets
from backtest.experiments.run_costs import Costs, NeededPredictions
from backtest.inference.answering import Answering
from backtest.market.events import EventBatch
from backtest.plugins.hookspecs import Register, hookimpl
from backtest.plugins.manager import Plugins, load_plugins
from backtest.runs.folder import Run
from backtest.runs.settling import Settling
from backtest.strategies.base import Session, Strategy
from tests.parquet_files import dataset_of


class Summing(Strategy):
    """Answers with the running sum of its symbol's first feature."""

    def bind(self, session: Session) -> None:
        self.sums = np.zeros(len(session.symbols))

    def predict(self, batch: EventBatch) -> Float32Array:
        assert batch.features is not None
        out = np.empty((len(batch), 1), dtype=np.float32)
        for row, symbol in enumerate(batch.symbol):
            self.sums[symbol] += 0.1 * batch.features[row, 0]
            out[row] = self.sums[symbol]
        return out

    def reset(self, symbols: Sequence[int]) -> None:
        self.sums[list(symbols)] = 0


class Plugin:
    """The strategy above."""

    @hookimpl
    def backtest_register_strategies(self, register: Register[Strategy]) -> None:
        register("summing", Summing)


@pytest.fixture
def plugins() -> Plugins:
    plugins = load_plugins(entry_points=False)
    plugins.add(Plugin(), Origin("test"))
    return plugins


SERVERS: dict[str, dict[str, Any]] = {
    "keeps up": {"latency": {"service": "affine:0.1ms,1us"}},
    "is late in the end": {"latency": {"service": "affine:30ms,1us"}, "server": {"line_limit": 50}},
    "drops": {"latency": {"service": "affine:3ms,0.2ms"}, "server": {"line_limit": 2}},
    "conflates": {"latency": {"service": "affine:4ms,0.2ms"}, "policy": "newest-per-symbol"},
    "drops late": {"latency": {"service": "affine:9ms,9us", "entry": "exponential:2ms"}},
    "takes no time": {"latency": {"service": "affine:1ms", "scale": 0.0}},
}


@pytest.fixture(params=[48, 1 << 16])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of which a run has many, or one."""
    monkeypatch.setattr(stream_module, "WITHOUT_FEATURES", request.param)
    monkeypatch.setattr(stream_module, "WITH_FEATURES", request.param)
    for name in ("LEAST_ROWS", "MOST_ROWS"):
        monkeypatch.setattr(row_groups, name, 2 * request.param)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each time that a run is settled, whether it got to its end."""
    found: list[bool] = []
    settle = Settling.run

    def counted(self: Settling) -> None:
        found.append(False)
        settle(self)
        found[-1] = True

    monkeypatch.setattr(Settling, "run", counted)
    return found


def notes(done: Run) -> dict[str, Any]:
    """What the manifest says of the run's own predictions, times aside."""
    note = dict(done.manifest["predictions"]["answers"])
    note.pop("seconds", None)
    return note


def content(done: Run) -> dict[str, Any]:
    """The metrics and the rows of every table."""
    tables = {path.stem: done.table(path.stem) for path in done.folder.glob("*.parquet")}
    return {"metrics": done.metrics, **{n: t.to_dict(as_series=False) for n, t in tables.items()}}


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize("strategy", ["imbalance", "imbalance:0.5"])
@pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
def test_one_pass_finds_what_three_passes_find(
    server: dict[str, Any],
    strategy: str,
    small_dataset: Path,
    tmp_path: Path,
    passes: list[bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings: dict[str, Any] = {"dataset": str(small_dataset), "strategy": strategy, **server}
    together = run(**settings, runs=tmp_path / "together")
    tried = passes.copy()
    passes.clear()
    monkeypatch.setattr(Answering, "in_full", lambda self: None)
    apart = run(**settings, runs=tmp_path / "apart")
    assert passes == [True]
    unbroken = all(tried)
    assert tried == ([True] if unbroken else [False, True])
    assert together.id == apart.id
    assert together.digest == apart.digest
    assert content(together) == content(apart)
    assert notes(together) == notes(apart)
    assert unbroken or together.metrics["timing"]["response_rate"] < 1
    kept = [
        {p.name for p in (tmp_path / n / "predictions").iterdir()} for n in ("together", "apart")
    ]
    assert kept[0] == kept[1]


def test_both_ways_are_taken(small_dataset: Path, tmp_path: Path, passes: list[bool]) -> None:
    found = {}
    for name, server in SERVERS.items():
        passes.clear()
        run(dataset=str(small_dataset), strategy="imbalance:0.5", runs=tmp_path, **server)
        found[name] = passes.copy()
    assert found["keeps up"] == found["takes no time"] == [True]
    assert found["drops"] == found["conflates"] == [False, True]


def test_a_pass_that_was_interrupted_leaves_nothing(small_dataset: Path, tmp_path: Path) -> None:
    done = run(
        dataset=str(small_dataset), strategy="imbalance:0.5", runs=tmp_path, **SERVERS["drops"]
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([done.id, "predictions"])
    keys = {note["key"] for note in done.manifest["predictions"].values()}
    assert {p.stem for p in (tmp_path / "predictions").iterdir()} == keys
    manifest = json.loads((done.folder / "manifest.json").read_text())
    assert set(manifest["predictions"]) == {"answers", "undropped"}


@pytest.fixture(scope="module")
def layouts(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The small dataset in one file, in files after one another, and in files that overlap."""
    source = open_dataset(small_dataset)
    events, targets = read_events(source, features=True), read_targets(source)
    assert events.features is not None
    assert events.ts_recv is not None
    random = np.random.default_rng(0)
    owners = {
        "one": (np.zeros(len(events), int), 1000),
        "groups": (np.zeros(len(events), int), 37),
        "after": (np.arange(len(events)) // 130, 50),
        "across": (random.integers(0, 5, len(events)), 50),
    }
    folder, found = tmp_path_factory.mktemp("layouts"), []
    names = ("ts_event", "ts_recv", "bid", "ask", "bid_size", "ask_size")
    for name, (owner, row_group) in owners.items():
        files = {}
        for number in np.unique(owner):
            mine = np.flatnonzero(owner == number)
            files[f"{number}.parquet"] = {
                **{n: getattr(events, n)[mine] for n in names},
                "seq": mine,
                "symbol": [source.symbols[s] for s in events.symbol[mine]],
                **{f"f{k}": events.features[mine, k] for k in range(2)},
                "t0": targets[mine, 0],
            }
        dataset_of(
            folder / name, files, row_group, name="small", symbols=list(source.symbols),
            features=Features(columns=("f0", "f1")), targets=Targets(columns=("t0",)),
        )  # fmt: skip
        found.append(folder / name)
    return found


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize("strategy", ["imbalance:0.5", "summing"])
@pytest.mark.parametrize("server", [SERVERS["keeps up"], SERVERS["drops"]], ids=["full", "drops"])
def test_files_may_be_cut_anyhow(
    server: dict[str, Any], strategy: str, layouts: list[Path], tmp_path: Path, plugins: Plugins
) -> None:
    runs = [
        run(dataset=str(folder), strategy=strategy, runs=tmp_path, plugins=plugins, **server)
        for folder in layouts
    ]
    assert len({done.id for done in runs}) == len(layouts)
    assert len({done.digest for done in runs}) == 1


def test_what_answers_took_is_known_of_either_way(small_dataset: Path, tmp_path: Path) -> None:
    for name in ("keeps up", "drops"):
        done = run(
            dataset=str(small_dataset), strategy="imbalance:0.5", runs=tmp_path / name,
            **SERVERS[name],
        )  # fmt: skip
        note = done.manifest["predictions"]["answers"]
        assert 0 < note["seconds"] < done.manifest["seconds"]
        costs = Costs()
        costs.observe(done.manifest, done.metrics)
        assert not costs.unknown([NeededPredictions("imbalance", "cpu", 1)])
