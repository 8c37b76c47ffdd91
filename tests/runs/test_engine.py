"""Whole runs: the three passes together, run folders, and the reuse of what was computed."""

from __future__ import annotations

import json
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
import pytest

import backtest
from backtest.api import compare, run
from backtest.core.arrays import Float32Array
from backtest.core.parts import Origin
from backtest.core.times import format_utc
from backtest.data.canonical import write_canonical
from backtest.data.card import Calendar, Card
from backtest.data.dataset import open_dataset
from backtest.data.reading import stream as stream_module
from backtest.data.reading.bus import read_events
from backtest.errors import BacktestError, DataError, RunError, UsageError
from backtest.experiments.run_costs import Costs
from backtest.inference import checkpoints
from backtest.market.events import EventBatch
from backtest.plugins.hookspecs import Register, hookimpl
from backtest.plugins.manager import Plugins, load_plugins
from backtest.strategies.base import Session, Strategy

SERVICE = {"service": "affine:2ms,0.1ms", "entry": "constant:50us", "response": "constant:50us"}


@dataclass
class Summing(Strategy):
    """Answers with the running sum of its symbol's first feature: order and state matter."""

    gain: float = 1.0

    def bind(self, session: Session) -> None:
        self.sums = np.zeros(len(session.symbols), dtype=np.float64)
        self.calls: list[int] = []

    def predict(self, batch: EventBatch) -> Float32Array:
        assert batch.features is not None
        self.calls.append(len(batch))
        out = np.empty((len(batch), 1), dtype=np.float32)
        for row, symbol in enumerate(batch.symbol):
            self.sums[symbol] += batch.features[row, 0]
            out[row] = self.gain * self.sums[symbol]
        return out

    def reset(self, symbols: Sequence[int]) -> None:
        self.sums[list(symbols)] = 0


@dataclass
class Seeing(Summing):
    """Answers with the first feature alone, which is the coming move."""

    stateful: ClassVar[bool] = False

    def predict(self, batch: EventBatch) -> Float32Array:
        assert batch.features is not None
        return np.array(batch.features[:, :1])


@dataclass
class Counting(Summing):
    """Answers with the size of its batch, so that batches show in the predictions."""

    batch_invariant: ClassVar[bool] = False

    def predict(self, batch: EventBatch) -> Float32Array:
        return np.full((len(batch), 1), len(batch), dtype=np.float32)


@dataclass
class Placing(Counting):
    """Answers with the places in its batch, so that the order within batches shows as well."""

    def predict(self, batch: EventBatch) -> Float32Array:
        return np.arange(len(batch), dtype=np.float32).reshape(-1, 1)


@dataclass
class Broken(Summing):
    """Answers wrongly in a way that is chosen."""

    how: str = "nan"

    def predict(self, batch: EventBatch) -> Float32Array:
        out = super().predict(batch)
        if self.how == "list":
            return out.tolist()
        if self.how == "nan":
            out[-1] = np.nan
        return (
            out.astype(np.float64) if self.how == "dtype" else out[: -(self.how == "shape") or None]
        )


@dataclass
class Folding(Summing):
    """Folds its predictions wrongly in a way that is chosen."""

    how: str = "nan"
    outputs = 2

    def predict(self, batch: EventBatch) -> Float32Array:
        return np.repeat(super().predict(batch), 2, axis=1)

    def forecast(self, predictions: Float32Array) -> Float32Array:
        wrong: dict[str, Any] = {
            "nan": predictions[:, 0] * np.nan,
            "list": predictions[:, 0].tolist(),
            "shape": predictions,
            "whole": predictions[:, 0].astype(np.int64),
        }
        found: Float32Array = wrong[self.how]
        return found


@dataclass
class ReactingFolding(Folding):
    """The same in a closed loop."""

    def on_fills(self, fills: Any) -> None:
        """Does not care."""


@dataclass
class Mute(Summing):
    """Has nothing to say."""

    outputs = 0


@dataclass
class Writing(Summing):
    """Changes what it is given."""

    column: str = "bid"

    def predict(self, batch: EventBatch) -> Float32Array:
        getattr(batch, self.column)[0] = 1
        return super().predict(batch)


@dataclass
class ReactingWriting(Writing):
    """The same in a closed loop."""

    def on_fills(self, fills: Any) -> None:
        """Does not care."""


@dataclass
class Reacting(Summing):
    """Reacts to its own fills, for which the passes have to be interleaved."""

    def on_fills(self, fills: Any) -> None:
        """Leans against what it holds."""
        self.gain = -self.gain if len(fills) % 2 else self.gain


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@dataclass
class Cramped(Summing):
    """Has memory for calls of at most ``room`` events, and leaves its state alone beyond that."""

    room: int = 7

    def predict(self, batch: EventBatch) -> Float32Array:
        if len(batch) > self.room:
            raise OutOfMemoryError("CUDA out of memory")
        return super().predict(batch)


class Allocated(np.ndarray):
    """Memory whose end can be waited for."""


@dataclass
class Holding(Summing):
    """Its call allocates more than there is, as long as what an earlier call allocated lives."""

    held: ClassVar[weakref.ref[Allocated] | None] = None

    def predict(self, batch: EventBatch) -> Float32Array:
        assert Holding.held is None or Holding.held() is None
        scratch = np.zeros(3).view(Allocated)
        Holding.held = weakref.ref(scratch)
        if len(batch) > 7:
            raise OutOfMemoryError("CUDA out of memory")
        return super().predict(batch)


@dataclass
class Undivided(Cramped):
    """Its answers depend on how events are batched, so no call of it may be halved."""

    batch_invariant: ClassVar[bool] = False


@dataclass
class Faltering(Summing):
    """Fails once, in its third call."""

    fails: ClassVar[bool] = True

    def predict(self, batch: EventBatch) -> Float32Array:
        if Faltering.fails and len(self.calls) == 2:
            Faltering.fails = False
            raise RuntimeError("not now")
        return super().predict(batch)

    def snapshot(self, symbols: Sequence[int]) -> dict[str, Any]:
        return {"sums": self.sums[list(symbols)]}

    def restore(self, symbols: Sequence[int], state: Any) -> None:
        self.sums[list(symbols)] = state["sums"]


class TestPlugin:
    """The strategies above, and a record of the lifecycle."""

    __test__ = False

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    @hookimpl
    def backtest_register_strategies(self, register: Register[Strategy]) -> None:
        for part in (
            *(
                Summing,
                Seeing,
                Counting,
                Placing,
                Broken,
                Reacting,
                Cramped,
                Undivided,
                Faltering,
                Holding,
            ),
            *(Writing, ReactingWriting, Folding, ReactingFolding, Mute),
        ):
            register(part.__name__.lower(), part)

    @hookimpl
    def backtest_run_started(self, run_id: str, config: dict[str, Any]) -> None:
        self.told.append(("started", run_id, config["strategy"]["name"]))

    @hookimpl
    def backtest_batch_done(self, run_id: str, answered: int, total: int) -> None:
        self.told.append(("batch", run_id, answered, total))

    @hookimpl
    def backtest_run_finished(self, run_id: str, folder: Path, metrics: dict[str, Any]) -> None:
        assert (folder / "manifest.json").exists()
        self.told.append(("finished", run_id, metrics["timing"]["events"]))


@pytest.fixture
def plugin() -> TestPlugin:
    return TestPlugin()


@pytest.fixture
def plugins(plugin: TestPlugin) -> Plugins:
    plugins = load_plugins(entry_points=False)
    plugins.add(plugin, Origin("test"))
    return plugins


@pytest.fixture
def settings(small_dataset: Path, tmp_path: Path, plugins: Plugins) -> dict[str, Any]:
    return {
        "dataset": str(small_dataset),
        "strategy": "summing",
        "latency": SERVICE,
        "runs": tmp_path / "runs",
        "plugins": plugins,
    }


def test_a_run_leaves_a_whole_folder(settings: dict[str, Any]) -> None:
    done = run(**settings)
    names = {path.name for path in done.folder.iterdir()}
    assert names == {
        "manifest.json", "metrics.json", "timing.parquet", "predictions.parquet",
        "fills.parquet", "equity.parquet", "instruments.parquet",
    }  # fmt: skip
    assert done.folder.name == done.id
    assert [p.name for p in settings["runs"].iterdir() if p.name.startswith(".")] == []
    config = done.manifest["config"]
    assert config["latency"]["service"] == {
        "name": "affine", "base": 2_000_000, "per_event": 100_000
    }  # fmt: skip
    assert config["latency"]["feed"] == {"name": "recorded"}
    assert done.manifest["labels"]["service"] == "affine:2ms,100us"
    assert done.manifest["determined_by"]["versions"]["numpy"] == np.__version__
    assert done.table("timing").height == 600
    assert done.table("predictions").height == done.metrics["timing"]["answered"]


def test_figures_hang_together(settings: dict[str, Any]) -> None:
    done = run(**settings)
    account = done.metrics["account"]
    costs = ("feed", "queueing", "service", "entry", "spread", "impact", "fees")
    for terms in (account, *account["by_symbol"].values()):
        assert terms["net"] == terms["decision"] - sum(terms[c] for c in costs)
        assert terms["missed"] == terms["ideal"] - terms["decision"]
    fills, equity = done.table("fills"), done.table("equity")
    assert fills["cash"].sum() == account["net"]
    last = equity.filter(pl.col("ts") == pl.col("ts").max())
    assert last["net"].sum() == account["net"]
    assert equity["decision"].sum() == account["decision"]
    assert account["fills"] == fills.height > 10


def test_the_same_inputs_give_the_same_digest(settings: dict[str, Any], tmp_path: Path) -> None:
    first = run(**settings)
    again = run(**{**settings, "reuse": False})
    elsewhere = run(**{**settings, "runs": tmp_path / "other"})
    assert first.digest == again.digest == elsewhere.digest
    assert first.id == elsewhere.id
    other = run(**{**settings, "seed": 1, "latency": {**SERVICE, "feed": "exponential:1ms"}})
    assert other.digest != first.digest
    assert other.id != first.id


def test_finished_runs_and_predictions_are_used_again(
    settings: dict[str, Any], plugin: TestPlugin
) -> None:
    first = run(**settings)
    told = len(plugin.told)
    assert run(**settings).reused
    assert not first.reused
    assert len(plugin.told) == told
    # Other fees and sizing do not touch the predictions; a slower server drops other events.
    cheaper = run(**settings, sizing="sign:lots=2")
    assert all(note["reused"] for note in cheaper.manifest["predictions"].values())
    slower = run(**{**settings, "latency": {"service": "constant:40ms"}})
    assert not slower.manifest["predictions"]["answers"]["reused"]


def test_an_answer_advances_state_and_silence_does_not(settings: dict[str, Any]) -> None:
    done = run(**settings, server={"line_limit": 1}, policy="one")
    timing, answers = done.table("timing"), done.table("predictions")
    assert 0 < done.metrics["timing"]["answered"] < 400
    events = backtest_events(settings)
    sums = np.zeros(3)
    expected = []
    for number in answers["event"]:
        symbol = events.symbol[number]
        sums[symbol] += events.features[number, 0]  # type: ignore[index]
        expected.append(sums[symbol])
    assert answers["output_0"].to_list() == expected
    assert {0, 1} <= set(timing["status"].unique()) <= {0, 1, 4}


def backtest_events(settings: dict[str, Any]) -> EventBatch:
    return read_events(open_dataset(settings["dataset"]), features=True)


def test_at_scale_zero_nothing_is_lost_to_time(settings: dict[str, Any]) -> None:
    latency = {**SERVICE, "scale": 0.0}
    done = run(**{**settings, "strategy": "seeing", "latency": latency})
    account = done.metrics["account"]
    assert done.metrics["timing"]["response_rate"] == 1
    assert [account[c] for c in ("feed", "queueing", "service", "entry")] == [0, 0, 0, 0]
    assert [note["answered"] for note in done.manifest["predictions"].values()] == [600]
    slow = run(**{**settings, "strategy": "seeing", "latency": {**SERVICE, "scale": 5.0}})
    assert slow.metrics["account"]["net"] < account["net"]


def test_accuracy_is_over_answered_events(settings: dict[str, Any]) -> None:
    seeing = run(**{**settings, "strategy": "seeing"}, policy="one", server={"line_limit": 2})
    assert seeing.metrics["timing"]["response_rate"] < 1
    accuracy = seeing.metrics["accuracy"]
    assert accuracy["reference"]["correlation"] == pytest.approx(1)
    assert accuracy["targets"]["max_absolute_error"] == [0.0]
    summing = run(**settings, policy="one", server={"line_limit": 2})
    assert summing.metrics["accuracy"]["reference"]["correlation"] < 0.99


@pytest.mark.parametrize("breaks", ["carry", "reset"])
def test_state_across_a_session_break(
    settings: dict[str, Any], tmp_path: Path, breaks: Literal["carry", "reset"]
) -> None:
    source = open_dataset(settings["dataset"])
    events = read_events(source, features=True)
    opens = [int(events.ts_event[k]) for k in (0, 250)]
    closes = [int(events.ts_event[240]), int(events.ts_event[-1]) + 1]
    sessions = [[format_utc(a), format_utc(b)] for a, b in zip(opens, closes, strict=True)]
    calendar = Calendar.model_validate({"sessions": sessions, "session_breaks": breaks})
    card = Card(
        name="sessions", symbols=source.symbols, features=source.card.features, calendar=calendar
    )
    write_canonical(tmp_path / "sessions", card, [events])
    latency = {**SERVICE, "scale": 0.0}
    done = run(**{**settings, "dataset": str(tmp_path / "sessions"), "latency": latency})
    sums = np.zeros(3)
    expected = []
    for number, symbol in enumerate(events.symbol):
        if breaks == "reset" and number == 250:
            sums[:] = 0
        sums[symbol] += events.features[number, 0]  # type: ignore[index]
        expected.append(sums[symbol])
    assert done.table("predictions")["output_0"].to_list() == expected
    at = done.table("fills").filter(pl.col("event") >= 0)["ts_venue"].to_physical()
    assert not ((at >= closes[0]) & (at < opens[1])).any()
    assert len(at) > 10


def test_a_call_without_memory_is_halved(settings: dict[str, Any]) -> None:
    cramped = run(**{**settings, "strategy": "cramped"})
    assert cramped.table("predictions").equals(run(**settings).table("predictions"))
    with pytest.raises(RunError, match="a single event"):
        run(**{**settings, "strategy": "cramped:room=0"})
    with pytest.raises(RunError, match="must not be divided"):
        run(**{**settings, "strategy": "undivided:room=0"})


def test_a_call_without_memory_is_let_go_of_before_it_is_halved(settings: dict[str, Any]) -> None:
    halved = run(**{**settings, "strategy": "holding"})
    assert halved.table("predictions").equals(run(**settings).table("predictions"))


@pytest.mark.parametrize("reuse", [True, False])
def test_a_run_that_failed_goes_on_where_it_was_unless_all_is_to_be_new(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, reuse: bool
) -> None:
    monkeypatch.setattr(stream_module, "WITH_FEATURES", 100)
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    monkeypatch.setattr(checkpoints, "_SHARE", 0)
    monkeypatch.setattr(Faltering, "fails", True)
    settings |= {"strategy": "faltering", "undropped": False, "reuse": reuse}
    with pytest.raises(RuntimeError, match="not now"):
        run(**settings)
    done = run(**settings)
    note = done.manifest["predictions"]["answers"]
    assert note.get("resumed", {}).get("event") == (200 if reuse else None)
    (left,) = (settings["runs"] / "predictions").iterdir()
    assert left.stem == note["key"]
    rate = Costs()
    rate.observe(done.manifest, done.metrics)
    answered = note["answered"] - (note["resumed"]["answered"] if reuse else 0)
    (one,) = rate._answers.values()
    assert one.events == answered
    whole = run(**settings | {"runs": settings["runs"] / "whole"})
    assert whole.digest == done.digest


def test_what_depends_on_batches_is_run_in_the_simulated_ones(settings: dict[str, Any]) -> None:
    done = run(**{**settings, "strategy": "counting"}, policy="all")
    timing, answers = done.table("timing"), done.table("predictions")
    sizes = timing.filter(timing["batch"].is_not_null()).group_by("batch").len()
    size_of = dict(zip(sizes["batch"], sizes["len"], strict=True))
    batches = timing["batch"][answers["event"]]
    assert answers["output_0"].to_list() == [size_of[b] for b in batches]
    assert max(size_of.values()) > 1


def test_batches_are_in_order_of_arrival(settings: dict[str, Any]) -> None:
    latency = {"service": "affine:6ms,0.1ms"}
    done = run(**{**settings, "strategy": "placing", "latency": latency}, policy="all")
    timing = done.table("timing").with_row_index("event").filter(pl.col("batch").is_not_null())
    arrived = timing.sort("batch", "ts_received", "event")
    assert not arrived["event"].is_sorted()
    places = arrived.with_columns(place=pl.int_range(pl.len()).over("batch")).sort("event")
    assert done.table("predictions")["output_0"].to_list() == places["place"].to_list()
    assert max(places["place"]) > 3


def test_limit_and_warm_up(settings: dict[str, Any]) -> None:
    partial = run(**settings, limit=50)
    assert partial.manifest["partial"]
    assert partial.metrics["timing"]["events"] == 50
    warm = run(**settings, warmup=600)
    assert warm.metrics["account"]["fills"] == 0
    assert warm.metrics["timing"]["answered"] == run(**settings).metrics["timing"]["answered"]


def test_a_window_and_some_symbols(settings: dict[str, Any]) -> None:
    events = backtest_events(settings)
    start, end = int(events.ts_event[100]), int(events.ts_event[400])
    done = run(**settings, window={"start": start, "end": end}, symbols=["CCC", "AAA"])
    inside = (events.ts_event >= start) & (events.ts_event < end) & (events.symbol != 1)
    timing = done.table("timing")
    assert timing["ts_event"].to_physical().to_list() == events.ts_event[inside].tolist()
    assert set(timing["symbol"].unique()) == {"AAA", "CCC"}
    assert done.table("equity")["ts"].to_physical().max() == end
    with pytest.raises(UsageError, match="DDD"):
        run(**settings, symbols=["DDD"])


def test_hooks_hear_of_the_run(settings: dict[str, Any], plugin: TestPlugin) -> None:
    done = run(**settings)
    assert plugin.told[0] == ("started", done.id, "summing")
    assert plugin.told[-1] == ("finished", done.id, 600)
    batches = [t for t in plugin.told if t[0] == "batch"]
    answered = done.metrics["timing"]["answered"]
    assert batches[-1] == ("batch", done.id, answered, answered)


@pytest.mark.parametrize(
    ("how", "problem"),
    [("nan", "nan"), ("dtype", "float64"), ("shape", "not float32"), ("list", "gave a list")],
)
def test_a_wrong_answer_stops_the_run(settings: dict[str, Any], how: str, problem: str) -> None:
    with pytest.raises(RunError, match=problem) as caught:
        run(**{**settings, "strategy": f"broken:how={how}"})
    assert "strategy 'broken'" in str(caught.value)
    assert [*settings["runs"].rglob("*")] == [settings["runs"] / "predictions"]  # empty


@pytest.mark.parametrize("strategy", ["folding", "reactingfolding"])
@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ("nan", "forecast makes nan of the predictions"),
        ("list", "forecast gave a list"),
        ("shape", r"float32 \[\d+, 2\], not float32 \[\d+\]"),
        ("whole", "forecast gave int64"),
    ],
)
def test_a_forecast_that_cannot_be_sized_stops_the_run(
    settings: dict[str, Any], strategy: str, how: str, problem: str
) -> None:
    with pytest.raises(RunError, match=problem) as caught:
        run(**{**settings, "strategy": f"{strategy}:how={how}"})
    assert f"strategy '{strategy}'" in str(caught.value)


def test_a_strategy_has_outputs(settings: dict[str, Any]) -> None:
    with pytest.raises(RunError, match="it has 0 outputs"):
        run(**{**settings, "strategy": "mute"})


@pytest.mark.parametrize("policy", ["all", "one"])
@pytest.mark.parametrize("strategy", ["writing", "reactingwriting"])
@pytest.mark.parametrize("column", ["symbol", "ts_event", "bid", "bid_size", "features"])
def test_a_strategy_cannot_change_the_run_through_its_batch(
    settings: dict[str, Any], strategy: str, column: str, policy: str
) -> None:
    with pytest.raises(ValueError, match="read-only"):
        run(**{**settings, "strategy": f"{strategy}:column={column}", "policy": policy})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"strategy": "sumning"}, "Did you mean 'summing'"),
        ({"strategy": "reacting", "accountant": "challenge"}, "makes none"),
        ({"strategy": "summing:gian=2"}, "Did you mean 'gain'"),
        ({"policy": "deadline:5"}, "parameter 'd' is missing"),
        ({"latency": {"service": "affine:35.8,0.5"}}, "unit"),
        ({"latency": {}}, "latency.service"),
        ({"latency": {**SERVICE, "scale": -1.0}}, "latency.scale"),
        ({"latency": {**SERVICE, "entry": "recorded"}}, "only the feed"),
        ({"accountant": "challange"}, "Did you mean 'challenge'"),
        ({"seeed": 1}, "seeed"),
        ({"window": {"start": "yesterday"}}, "window.start"),
        ({"window": {"start": "2040-01-01T00:00:00Z"}}, "no event lies in the window"),
    ],
)
def test_bad_settings_name_themselves(
    settings: dict[str, Any], change: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        run(**{**settings, **change})
    assert not settings["runs"].exists()


def test_a_bad_dataset_is_bad_data(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BacktestError, match="nowhere"):
        run(**{**settings, "dataset": str(tmp_path / "nowhere")})


def test_comparison_sets_runs_side_by_side(settings: dict[str, Any]) -> None:
    runs = [run(**settings), run(**{**settings, "strategy": "seeing"})]
    compared = compare([runs[0], runs[1].folder])
    assert [row["strategy"] for row in compared.rows] == ["summing", "seeing"]
    assert compared.same_ticks
    row = compared.rows[1]
    assert row["net"] == runs[1].metrics["account"]["net"] / 1e9
    assert row["p99_ms"] == runs[1].metrics["timing"]["latency_ns"]["sojourn"]["p99"] / 1e6
    assert compared.frame().height == 2
    assert not compare([runs[0], run(**settings, limit=10)]).same_ticks
    with pytest.raises(UsageError, match="no run"):
        compare([])


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="manifest"):
        compare([tmp_path])
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(DataError, match="no table"):
        compare([tmp_path])
    (tmp_path / "manifest.json").write_text(json.dumps({"run": "x"}))
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(DataError, match="not the folder of a run"):
        compare([tmp_path])


def test_the_package_offers_both() -> None:
    assert backtest.run is run
    assert backtest.compare is compare


def test_a_run_removes_what_killed_ones_left(small_dataset: Path, tmp_path: Path) -> None:
    for name in (".other-1.tmp-01234567", ".hidden"):
        (tmp_path / name).mkdir()
    done = run(runs=tmp_path, dataset=str(small_dataset), strategy="imbalance", latency=SERVICE)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {done.folder.name, "predictions", ".hidden"}
