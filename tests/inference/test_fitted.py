"""Strategies that are trained within a run: what they may see, and how their weights are kept."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest.api import run
from backtest.core.settings import read_table
from backtest.data.canonical import write_canonical
from backtest.data.dataset import open_dataset
from backtest.data.reading.bus import read_events, read_targets
from backtest.errors import BacktestError, RunError, UsageError
from backtest.plugins.manager import Plugins, load_plugins
from backtest.runs.engine import Engine
from backtest.runs.folder import Run
from backtest.runs.run_config import parse_config
from tests.fitted_strategies import write_plugin

MS = 1_000_000

Train = Callable[..., Run]


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    return write_plugin(tmp_path)


@pytest.fixture
def plugins(plugin: Path) -> Plugins:
    return load_plugins([plugin], entry_points=False)


@pytest.fixture
def middle(small_dataset: Path) -> int:
    """The instant of the 300th of 600 events."""
    return int(read_events(open_dataset(small_dataset)).ts_event[300])


@pytest.fixture
def train(small_dataset: Path, tmp_path: Path, plugins: Plugins, middle: int) -> Train:
    """Trains on the first half of the small dataset and runs on the second."""

    def go(strategy: str = "line", **settings: Any) -> Run:
        settings = {
            "runs": tmp_path / "runs",
            "dataset": str(small_dataset),
            "latency": {"service": "constant:1ms"},
            "training": {"end": middle},
            "window": {"start": middle},
            **settings,
        }
        return run(plugins=plugins, strategy=strategy, **settings)

    return go


def weights(folder: Path) -> list[Path]:
    return sorted((folder / "weights").glob("*.safetensors"))


@pytest.mark.parametrize("strategy", ["line", "net:epochs=30,rate=0.03,lanes=4,chunk=8"])
def test_a_trained_strategy_predicts_what_it_was_taught(train: Train, strategy: str) -> None:
    # The first feature is the target.
    done = train(strategy)
    learnt = done.metrics["accuracy"]["targets"]
    assert learnt["correlation"] > 0.95
    untrained = train("net:epochs=1,rate=1e-9")
    assert untrained.metrics["accuracy"]["targets"]["correlation"] < learnt["correlation"]


ENSEMBLE = "weights=random:0:32x1,rate=0.01,epochs=6,lanes=4,chunk=8"


def test_variants_of_the_ensemble_share_what_they_learn(train: Train, tmp_path: Path) -> None:
    done = train(f"batched:{ENSEMBLE}")
    # Of 300 events; the first feature is the target.
    assert done.metrics["accuracy"]["targets"]["ic"] > 0.8
    assert done.manifest["in_sample"] is False
    (path,) = weights(tmp_path / "runs")
    whole = path.read_bytes()
    for variant in ("eager", "stateless", "pruned:depth=1"):
        other = train(f"{variant}{',' if ':' in variant else ':'}{ENSEMBLE}")
        assert other.manifest["training"]["weights"] == done.manifest["training"]["weights"]
    assert weights(tmp_path / "runs") == [path]
    given = train(f"batched:{path}", training={})
    assert np.array_equal(
        done.table("predictions")["forecast"].to_numpy(),
        given.table("predictions")["forecast"].to_numpy(),
    )
    assert given.manifest["in_sample"] is False
    train(f"batched:{ENSEMBLE},fit_seed=1")
    assert len(weights(tmp_path / "runs")) == 2
    path.unlink()
    train(f"eager:{ENSEMBLE}", policy="one")
    assert path.read_bytes() == whole


def test_training_of_an_ensemble_begins_with_weights_that_are_given(
    train: Train, tmp_path: Path, middle: int
) -> None:
    first = train(f"batched:{ENSEMBLE}", training={"end": middle})
    (path,) = weights(tmp_path / "runs")
    still = "rate=1e-9,epochs=1,lanes=4"
    again = train(f"batched:{path},{still}")
    assert again.metrics["accuracy"]["targets"]["ic"] == pytest.approx(
        first.metrics["accuracy"]["targets"]["ic"], abs=1e-4
    )
    assert (
        train(f"batched:weights=random:0:32x1,{still}").metrics["accuracy"]["targets"]["ic"] < 0.7
    )


def test_the_manifest_tells_the_training_and_whether_the_run_is_in_sample(
    train: Train, middle: int, small_dataset: Path
) -> None:
    ts = read_events(open_dataset(small_dataset)).ts_event
    training = {"start": int(ts[10]), "end": middle, "purge": "3ms"}
    done = train(training=training)
    assert done.manifest["in_sample"] is False
    told = done.manifest["training"]
    assert (told["start_ns"], told["end_ns"], told["purge_ns"]) == (ts[10], middle, 3 * MS)
    assert len(told["weights"]) == 64
    for window, in_sample in (
        ({"start": int(ts[299])}, True),
        ({"end": int(ts[10])}, False),
        ({"end": int(ts[11])}, True),
        ({}, True),
    ):
        assert train(training=training, window=window).manifest["in_sample"] is in_sample
    # Events of the warm-up are not traded.
    warm = train(training=training, window={"start": int(ts[290])}, warmup=10)
    assert warm.manifest["in_sample"] is False
    cold = train(training=training, window={"start": int(ts[290])}, warmup=9)
    assert cold.manifest["in_sample"] is True


def test_a_run_without_training_is_what_it_was(train: Train) -> None:
    plain = train("imbalance", training={})
    assert "training" not in plain.manifest
    assert "training" not in plain.manifest["config"]
    assert plain.manifest["in_sample"] is None


def changed_after(dataset: Path, at: int, folder: Path) -> Path:
    """A copy of a dataset with other features and targets from an event on."""
    whole = open_dataset(dataset)
    events = read_events(whole, features=True)
    assert events.features is not None
    features, targets = events.features.copy(), read_targets(whole).copy()
    features[at:] *= -3
    targets[at:] += 100
    changed = type(events)(
        events.symbol,
        events.ts_event,
        events.ts_recv,
        events.bid,
        events.ask,
        events.bid_size,
        events.ask_size,
        features=features,
    )
    write_canonical(folder, whole.card, [(changed, targets)])
    return folder


LEARNERS = [
    "line",
    "net:epochs=3,lanes=4,chunk=8,validation=0",
    "batched:weights=random:0:32x1,epochs=1,lanes=4,chunk=8,validation=0",
]


@pytest.mark.parametrize("strategy", LEARNERS)
def test_what_comes_after_the_stretch_changes_no_weight(
    train: Train, small_dataset: Path, tmp_path: Path, strategy: str
) -> None:
    digests = {}
    for at in (300, 299):
        other = changed_after(small_dataset, at, tmp_path / f"from-{at}")
        digests[at] = train(strategy, dataset=str(other)).manifest["training"]["weights"]
    own = train(strategy).manifest["training"]["weights"]
    assert digests[300] == own
    assert digests[299] != own  # the last event of the stretch


@pytest.mark.parametrize("strategy", LEARNERS)
def test_purged_targets_change_no_weight(
    train: Train, small_dataset: Path, tmp_path: Path, middle: int, strategy: str
) -> None:
    ts = read_events(open_dataset(small_dataset)).ts_event
    whole = open_dataset(small_dataset)
    found = []
    for at, name in ((280, "within"), (279, "before")):
        targets = read_targets(whole).copy()
        targets[at:] += 50
        write_canonical(tmp_path / name, whole.card, [(read_events(whole, features=True), targets)])
        training = {"end": middle, "purge": middle - int(ts[280])}
        done = train(strategy, dataset=str(tmp_path / name), training=training)
        found.append(done.manifest["training"]["weights"])
        own = train(strategy, training=training).manifest["training"]["weights"]
    assert found[0] == own
    assert found[1] != own


def test_weights_are_trained_once_for_all_runs_that_need_them(
    train: Train, tmp_path: Path, middle: int
) -> None:
    log = tmp_path / "log"
    first = train(f"line:log={log}")
    second = train(f"line:log={log}", policy="one")
    assert first.id != second.id
    assert log.read_text() == "fit\n"
    assert len(weights(tmp_path / "runs")) == 1
    train(f"line:log={log}", training={"end": middle, "purge": "1ms"})
    train(f"line:log={log},ridge=2.0")
    assert log.read_text() == "fit\n" * 3
    assert len(weights(tmp_path / "runs")) == 3


@pytest.mark.parametrize("harm", ["removed", "damaged", "cut off", "emptied"])
def test_lost_weights_are_made_anew(train: Train, tmp_path: Path, harm: str) -> None:
    first = train("net:epochs=2")
    (path,) = weights(tmp_path / "runs")
    whole = path.read_bytes()
    if harm == "removed":
        path.unlink()
    else:
        other = bytearray(whole)
        other[-1] ^= 1
        path.write_bytes({"damaged": bytes(other), "cut off": whole[:-9], "emptied": b""}[harm])
    again = train("net:epochs=2", policy="one")
    assert again.manifest["training"]["weights"] == first.manifest["training"]["weights"]
    assert path.read_bytes() == whole
    assert [p.name for p in (tmp_path / "runs" / "weights").iterdir()] == [path.name]


def test_a_plan_trains_nothing_and_has_the_id_of_the_run(
    train: Train, small_dataset: Path, tmp_path: Path, plugins: Plugins, middle: int
) -> None:
    table = {
        "dataset": str(small_dataset),
        "strategy": "net:epochs=2",
        "latency": {"service": "constant:1ms"},
        "training": {"end": middle},
        "window": {"start": middle},
    }
    plan = Engine(plugins, tmp_path / "runs").plan(parse_config(table, place="test"))
    assert not plan.finished
    assert not (tmp_path / "runs" / "weights").exists()
    done = train("net:epochs=2")
    assert done.id == plan.run_id
    notes = done.manifest["predictions"]
    assert {n["key"] for n in notes.values()} == {n["key"] for n in plan.predictions.values()}


def test_fitted_weights_can_be_given_to_a_module(train: Train, tmp_path: Path, middle: int) -> None:
    fitted = train("net:epochs=2")
    (path,) = weights(tmp_path / "runs")
    given = train(f"net:{path}", training={})
    assert np.array_equal(
        fitted.table("predictions")["forecast"].to_numpy(),
        given.table("predictions")["forecast"].to_numpy(),
    )
    # ... and their training window goes with them.
    assert given.manifest["in_sample"] is False
    overlapping = train(f"net:{path}", training={}, window={})
    assert overlapping.manifest["in_sample"] is True


def test_a_strategy_without_reset_keeps_its_weights_when_bound_anew(train: Train) -> None:
    assert train("forgetful").metrics["accuracy"]["targets"]["correlation"] > 0.95


def test_two_processes_train_once(
    small_dataset: Path, plugin: Path, tmp_path: Path, middle: int
) -> None:
    log = tmp_path / "log"
    words = [sys.executable, "-m", "backtest", "run", "--plugin", plugin]
    words += ["--dataset", small_dataset, "--strategy", f"line:log={log},wait=0.5"]
    words += ["--service", "constant:1ms", "--runs", tmp_path / "runs"]
    words += ["--set", f"training.end={middle}", "--start", middle, "--policy"]
    both = [subprocess.Popen([*map(str, words), policy]) for policy in ("one", "all")]
    assert [process.wait() for process in both] == [0, 0]
    assert log.read_text() == "fit\n"
    found = [json.loads(p.read_text()) for p in (tmp_path / "runs").glob("line-*/manifest.json")]
    assert len(found) == 2
    assert len({manifest["training"]["weights"] for manifest in found}) == 1


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"strategy": "imbalance"}, "it has no method fit"),
        ({"strategy": "half"}, "Implement load_weights along with fit"),
        ({"training": {"start": 5}}, r"training\.end is missing"),
        ({"strategy": "bad:nothing"}, "fit gave a NoneType, not arrays by name"),
        ({"strategy": "bad:object"}, "fit gave an array of object for 'w'"),
        ({"strategy": "bad:raise"}, r"fit raises ValueError: no luck"),
        ({"strategy": "net:epochs=0"}, "epochs must be at least 1"),
        ({"strategy": "net:validation=1"}, "validation is a share"),
        ({"strategy": "net:rate=1e30,optimiser=sgd,clip=1e30"}, "the loss is"),
        ({"strategy": "net:outputs_wanted=2"}, None),
    ],
)
def test_what_cannot_be_trained_says_why(
    train: Train, settings: dict[str, Any], problem: str | None, tmp_path: Path
) -> None:
    if problem is None:  # both outputs learn the only target
        assert train(**settings).manifest["training"]["weights"]
        return
    with pytest.raises(BacktestError, match=problem) as caught:
        train(**settings)
    assert isinstance(caught.value, UsageError | RunError)
    assert not weights(tmp_path / "runs")


def test_a_run_file_may_say_what_to_train_on(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'dataset = "sample"\nstrategy = "x"\n[latency]\nservice = "constant:1ms"\n'
        '[training]\nend = 2024-01-01T00:00:00Z\npurge = "5s"\n'
    )
    config = parse_config(read_table(path), place="run.toml")
    assert config.training.end == 1_704_067_200_000_000_000
    assert config.training.purge == 5_000_000_000
