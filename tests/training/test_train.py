"""Training: learns from history, resumes to the same weights, and records what it used."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import backtest
from backtest.cli import main
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.reading.bus import read_events, read_targets
from backtest.data.synthetic.generate import generate
from backtest.data.synthetic.market import Market
from backtest.errors import DataError, RunError, UsageError
from backtest.strategies.ensemble import EnsembleConfig, load_weights
from backtest.strategies.ensemble_init import init_weights
from backtest.strategies.ensemble_parameters import FreeParameters, Scales
from backtest.strategies.weight_files import file_sha256, training_window
from backtest.training.sequences import read_window
from backtest.training.settings import FitSettings
from backtest.training.train import train

pytestmark = pytest.mark.one_python

SMALL = FitSettings(hidden=32, mlp=16, heads=2, epochs=2, lanes=16, chunk=8, checkpoint_every=2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("data") / "market"
    market = Market(symbols=4, features=6, targets=4, offset_half_life=2_000_000_000)
    generate(market, folder, events=3000)
    return open_dataset(folder)


@pytest.fixture(scope="module")
def trained(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    return train(dataset, folder / "w.safetensors", SMALL).weights


class Killed(Exception):
    pass


def killed_after(updates: int) -> Any:
    def on_progress(done: int, total: int) -> None:
        if done == updates:
            raise Killed

    return on_progress


@pytest.mark.parametrize("updates", [1, 7, 23])  # before a checkpoint, within and after an epoch
def test_a_killed_training_resumes_to_the_same_weights(
    updates: int, dataset: Dataset, trained: Path, tmp_path: Path
) -> None:
    output = tmp_path / "w.safetensors"
    with pytest.raises(Killed):
        train(dataset, output, SMALL, on_progress=killed_after(updates))
    assert not output.exists()
    seen: list[int] = []
    train(dataset, output, SMALL, on_progress=lambda done, total: seen.append(done))
    assert seen[0] == updates // 2 * 2 + 1 or updates == 23
    assert output.read_bytes() == trained.read_bytes()
    assert not output.with_suffix(".checkpoint").exists()


def test_a_checkpoint_of_another_training_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    output = tmp_path / "w.safetensors"
    with pytest.raises(Killed):
        train(dataset, output, SMALL, on_progress=killed_after(3))
    other = FitSettings(hidden=32, mlp=16, heads=2, epochs=1, lanes=16, chunk=8)
    with pytest.raises(DataError, match="other settings"):
        train(dataset, output, other)
    train(dataset, output, other, restart=True)
    output.with_suffix(".checkpoint").write_bytes(b"no checkpoint")
    with pytest.raises(DataError, match="cannot be read"):
        train(dataset, output, other, overwrite=True)


def test_the_manifest_records_its_origin(dataset: Dataset, trained: Path) -> None:
    manifest = json.loads(trained.with_suffix(".manifest.json").read_text())
    assert manifest["weights"]["sha256"] == file_sha256(trained)
    assert manifest["data"]["hash"] == dataset.data_hash()
    assert manifest["settings"]["seed"] == 0
    assert len(manifest["losses"]) == 2
    ts = read_events(dataset).ts_event
    first, second = manifest["training_window"], manifest["validation_window"]
    assert first["end_ns"] == second["start_ns"]
    assert first["events"] + second["events"] == len(ts)
    assert training_window(trained) == (ts[0], ts[-1] + 1)
    assert (first["start_ns"], second["end_ns"]) == (ts[0], ts[-1] + 1)


def test_validation_is_what_the_weights_give(dataset: Dataset, trained: Path) -> None:
    manifest = json.loads(trained.with_suffix(".manifest.json").read_text())
    start = manifest["validation_window"]["start_ns"]
    events = read_events(dataset, start=start, features=True)
    targets = read_targets(dataset, start=start)
    model = load_weights(trained)
    states: dict[int, Any] = {}
    found = np.empty_like(targets)
    assert events.features is not None
    with torch.inference_mode():
        for k, symbol in enumerate(events.symbol.tolist()):
            state = states.get(symbol) or model.init_state(1)
            y, states[symbol] = model(torch.from_numpy(events.features[k : k + 1].copy()), state)
            found[k] = y[0].numpy()
    losses = np.mean((found - targets) ** 2, axis=0) / np.mean(targets**2)
    stated = manifest["losses"][manifest["best_epoch"]]
    np.testing.assert_allclose(losses, stated["by_target"], rtol=1e-3)


def test_it_learns(dataset: Dataset, trained: Path) -> None:
    losses = json.loads(trained.with_suffix(".manifest.json").read_text())["losses"]
    assert losses[-1]["training"] < 0.95 < losses[0]["training"]
    assert losses[-1]["validation"] < 1


def test_runs_that_overlap_the_training_window_are_marked(
    dataset: Dataset, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {
        "dataset": dataset.location,
        "strategy": {"name": "stateless", "weights": str(trained)},
        "latency": {"service": "constant:1ms"},
        "limit": 50,
        "runs": tmp_path,
        "undropped": False,
    }
    run = backtest.run(**settings)
    assert run.manifest["in_sample"] is True
    with pytest.raises(SystemExit):
        main(["compare", str(run.folder)])
    assert "in-sample" in capsys.readouterr().err


def test_a_later_run_is_out_of_sample(dataset: Dataset, trained: Path, tmp_path: Path) -> None:
    later = tmp_path / "later"
    market = Market(symbols=4, features=6, targets=4, offset_half_life=2_000_000_000)
    generate(market, later, events=20, skip=3000)
    run = backtest.run(
        dataset=str(later),
        strategy={"name": "stateless", "weights": str(trained)},
        latency={"service": "constant:1ms"},
        runs=tmp_path,
        undropped=False,
    )
    assert run.manifest["in_sample"] is False


def test_lanes_hold_every_event_once_in_order(dataset: Dataset) -> None:
    events = read_events(dataset)
    data, held_out = read_window(dataset, None, None, 0.25, 16)
    assert len(held_out.lanes) == 4
    cut = len(data.features)
    assert held_out.window[0] == events.ts_event[cut]
    for part, symbol in ((data, events.symbol[:cut]), (held_out, events.symbol[cut:])):
        for lane in part.lanes:
            rows = lane[lane >= 0]
            assert (np.diff(rows) > 0).all()
            assert len(set(symbol[rows].tolist())) == 1
        rows = part.lanes[part.lanes >= 0]
        assert sorted(rows.tolist()) == list(range(len(symbol)))


def test_scales_are_folded_into_the_weights(dataset: Dataset) -> None:
    data, _ = read_window(dataset, None, None, 0.2, 4)
    mean, deviation = ([1, 2, 3, 4, 5, 6], [2, 2, 2, 1, 1, 3])
    scales = Scales(np.array(mean, np.float32), np.array(deviation, np.float32), 10.0)
    config = EnsembleConfig(32, 16, 1, 2, features=6)
    plain = init_weights(config, 3)
    folded = FreeParameters(plain, scales).ensemble()
    x = torch.from_numpy(data.features[:5])
    wanted, _ = plain((x - torch.tensor(scales.mean)) / torch.tensor(scales.deviation),
                      plain.init_state(5))  # fmt: skip
    found, _ = folded(x, folded.init_state(5))
    torch.testing.assert_close(found, 10 * wanted, rtol=1e-4, atol=1e-4)
    again = FreeParameters(folded, scales, scaled=False).ensemble().state_dict()
    torch.testing.assert_close(again, folded.state_dict(), rtol=1e-5, atol=1e-5)


def test_scales_do_not_depend_on_the_pieces() -> None:
    random = np.random.default_rng(2)
    features = 1e5 + random.normal(size=(100, 3)).astype(np.float32) * [0.5, 3, 0]
    features, targets = features.astype(np.float32), np.ones((100, 2), np.float32)
    scales = Scales.of(zip(np.split(features, [1, 30]), np.split(targets, [1, 30]), strict=True))
    np.testing.assert_allclose(scales.mean, features.mean(axis=0, dtype=np.float64), rtol=1e-7)
    wanted = features.std(axis=0, dtype=np.float64)
    np.testing.assert_allclose(scales.deviation, [*wanted[:2], 1], rtol=1e-6)
    assert scales.target == 1


def test_one_target_is_every_tower_s(tmp_path: Path) -> None:
    generate(Market(symbols=2, features=4, targets=1), tmp_path / "m", events=300)
    settings = FitSettings(hidden=32, mlp=16, heads=2, epochs=1, lanes=4, chunk=16)
    made = train(open_dataset(tmp_path / "m"), tmp_path / "w.safetensors", settings)
    assert len(json.loads(made.manifest.read_text())["losses"][0]["by_target"]) == 4


def test_training_that_diverges_stops(dataset: Dataset, tmp_path: Path) -> None:
    settings = FitSettings(hidden=32, mlp=16, heads=2, lanes=16, chunk=8, rate=1e30)
    with pytest.raises(RunError, match="the loss is"):
        train(dataset, tmp_path / "w.safetensors", settings)


def test_what_cannot_be_trained(dataset: Dataset, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="already exists"):
        train(dataset, trained, SMALL)
    with pytest.raises(UsageError, match="safetensors"):
        train(dataset, tmp_path / "w.pt", SMALL)
    with pytest.raises(UsageError, match="too few"):
        train(dataset, tmp_path / "w.safetensors", FitSettings(end=1))
    with pytest.raises(UsageError, match="no device"):
        train(dataset, tmp_path / "w.safetensors", FitSettings(device="abacus"))
    with pytest.raises(UsageError, match="multiple of 32"):
        train(dataset, tmp_path / "w.safetensors", FitSettings(hidden=33))
    generate(Market(symbols=2, features=4, targets=2), tmp_path / "two", events=10)
    with pytest.raises(UsageError, match="1 or 4"):
        train(open_dataset(tmp_path / "two"), tmp_path / "w.safetensors", SMALL)


def test_from_the_command_line(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "train.toml"
    config.write_text("mlp = 16\nheads = 2\nlanes = 16\nepochs = 5\n")
    output = tmp_path / "w.safetensors"
    with pytest.raises(SystemExit) as left:
        main(["train", dataset.location, str(output), "--config", str(config), "--epochs", "1"])
    assert not left.value.code
    assert "epoch 0: loss" in capsys.readouterr().err
    assert output.exists()
    losses = json.loads(output.with_suffix(".manifest.json").read_text())["losses"]
    page = output.with_suffix(".loss.html").read_text()
    drawn = re.search(r'<script type="application/json">(\{"x".*?)</script>', page)
    assert drawn is not None
    data = json.loads(drawn[1])
    for line, name in zip(data["series"], ("training", "validation"), strict=True):
        assert line["name"] == name
        assert line["y"] == pytest.approx([epoch[name] for epoch in losses], rel=1e-4)
    for setting, problem in (("depht=2", "depth"), ("epochs=0", "at least 1")):
        with pytest.raises(SystemExit) as left:
            main(["train", dataset.location, str(output), "--set", setting])
        assert left.value.code == 2
        assert problem in capsys.readouterr().err


def test_every_setting_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs/training.md").read_text()
    assert not [f.name for f in fields(FitSettings) if f"`{f.name}`" not in text]
