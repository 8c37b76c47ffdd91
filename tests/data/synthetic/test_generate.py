"""Generated datasets: whole, reproducible, and the same whatever is written of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backtest.cli import main
from backtest.data.dataset import open_dataset
from backtest.data.reading.bus import read_events, read_targets
from backtest.data.synthetic.generate import generate
from backtest.data.synthetic.market import Market
from backtest.errors import DataError

SMALL = Market(symbols=3, features=8, targets=2, seed=5)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, market in (("a", SMALL), ("b", SMALL), ("c", Market(symbols=3, features=8, seed=6))):
        generate(market, tmp_path / name, events=1000, name="m")
    files = [(tmp_path / name / "events-00000.parquet").read_bytes() for name in "abc"]
    assert files[0] == files[1] != files[2]
    hashes = [open_dataset(tmp_path / name).data_hash() for name in "ab"]
    assert hashes[0] == hashes[1]


def test_a_later_stretch_is_the_same_market(tmp_path: Path) -> None:
    whole, tail = 70_000, 40_000  # across blocks
    generate(SMALL, tmp_path / "whole", events=whole)
    generate(SMALL, tmp_path / "tail", events=whole - tail, skip=tail)
    a, b = (read_events(open_dataset(tmp_path / n), features=True) for n in ("whole", "tail"))
    for name in ("symbol", "ts_event", "bid", "ask", "bid_size", "ask_size", "features"):
        assert np.array_equal(getattr(a, name)[tail:], getattr(b, name))
    a_targets, b_targets = (read_targets(open_dataset(tmp_path / n)) for n in ("whole", "tail"))
    assert np.array_equal(a_targets[tail:], b_targets)
    assert len(b) == whole - tail
    assert (np.diff(a.ts_event) >= 0).all()
    assert a.valid_quote().all()


def test_the_card_states_the_truth_and_the_parameters(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    card = generate(
        SMALL, tmp_path / "m", events=500, name="m", on_progress=lambda *at: calls.append(at)
    )
    found = open_dataset(tmp_path / "m")
    assert found.card.notes == card.notes
    assert found.card.notes["generator"]["half_life"] == 300_000_000
    truth = found.card.notes["truth"]
    assert truth["edge_half_ticks"] == pytest.approx(8 * truth["cost_half_ticks"], abs=1e-5)
    assert found.instruments[0].fee(1, 100) == 2_500_000
    assert found.instruments[0].half_tick_lot == 5_000_000  # so a fee of half a half tick-lot
    assert calls[-1] == (500, 500)


def test_a_dataset_is_not_replaced_unasked(tmp_path: Path) -> None:
    generate(SMALL, tmp_path / "m", events=10)
    with pytest.raises(DataError, match="already exists"):
        generate(SMALL, tmp_path / "m", events=10)
    generate(SMALL, tmp_path / "m", events=20, overwrite=True)
    assert len(read_events(open_dataset(tmp_path / "m"))) == 20


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "generate", str(tmp_path / "m"), "--events", "100", "--symbols", "2"]
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--set", "features=5", "--set", "half_life=1s", "--set", "symbols=3"])
    assert not left.value.code
    assert "100 events of 3 symbols" in " ".join(capsys.readouterr().out.split())
    assert len(open_dataset(tmp_path / "m").features) == 5


@pytest.mark.parametrize(
    ("setting", "message"),
    [("half_lfe=1s", "half_life"), ("a.b=1", "no parameter 'a'"), ("seed", "KEY=VALUE")],
)
def test_settings_that_are_refused(
    setting: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["data", "generate", str(tmp_path / "m"), "--symbols", "2", "--set", setting])
    assert left.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
