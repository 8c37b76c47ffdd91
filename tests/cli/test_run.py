"""``backtest run`` and ``backtest compare`` as a person meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtest.cli import main

RULE = [
    "--strategy", "imbalance", "--service", "affine:1ms,0.1ms", "--entry", "constant:50us"
]  # fmt: skip


def call(*arguments: object) -> int | str | None:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    return caught.value.code


@pytest.fixture
def run(small_dataset: Path, tmp_path: Path) -> list[object]:
    """The words of a run that works."""
    return ["run", "--dataset", small_dataset, "--runs", tmp_path / "runs", *RULE]


def test_a_run_prints_its_figures_and_its_folder(
    run: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*run) == 0
    captured = capsys.readouterr()
    assert "affine:1ms,100us" in captured.out
    assert "Where the money went (USD)" in captured.out
    (folder,) = (path for path in (tmp_path / "runs").iterdir() if path.name != "predictions")
    assert f"Written to {folder}" in captured.err
    assert call(*run) == 0
    assert "was reused" in capsys.readouterr().err


def test_json_is_all_of_stdout(run: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*run, "--json", "--limit", 100) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["manifest"]["partial"] is True
    assert output["metrics"]["timing"]["events"] == 100


def test_flags_override_the_file_and_settings_override_both(
    small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        f"""
        dataset = '{small_dataset}'
        strategy = "imbalance"
        policy = "one"
        warmup = 5
        sizing = {{ name = "sign", lots = 2 }}
        [latency]
        service = {{ name = "affine", base = "3ms" }}
        [window]
        start = 2023-11-14T00:00:00Z
        """
    )
    words = ["run", config, "--runs", tmp_path / "runs", "--policy", "all", "--json"]
    settings = ["latency.service.per_event=7us", "warmup=6", "strategy.smoothing=0.5"]
    assert call(*words, *(w for s in settings for w in ("--set", s))) == 0
    resolved = json.loads(capsys.readouterr().out)["manifest"]["config"]
    assert resolved["policy"] == {"name": "all"}
    assert resolved["warmup"] == 6
    assert resolved["strategy"] == {"name": "imbalance", "smoothing": 0.5}
    assert resolved["sizing"] == {"name": "sign", "lots": 2, "threshold": 0.0}
    assert resolved["latency"]["service"] == {
        "name": "affine", "base": 3_000_000, "per_event": 7_000
    }  # fmt: skip
    assert resolved["window"]["start"] == 1_699_920_000_000_000_000


def test_flags_of_resting_orders(run: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--quoting", "two-sided:away=1", "--queue", "power:3", "--cancel", "constant:70us"]
    words += ["--replace", "constant:80us", "--json"]
    assert call(*run, *words) == 0
    output = json.loads(capsys.readouterr().out)
    resolved = output["manifest"]["config"]
    assert resolved["quoting"]["away"] == 1
    assert resolved["fills"]["queue"] == {"name": "power", "n": 3}
    assert resolved["latency"]["cancel"] == {"name": "constant", "span": 70_000}
    assert resolved["latency"]["replace"] == {"name": "constant", "span": 80_000}
    assert "sizing" not in resolved
    assert output["metrics"]["orders"]["accepted"]["reports"] > 0


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        ([], 2, "strategy: missing; give for example --strategy batched; latency: missing"),
        (["--dataset", "samples"], 3, "samples"),
        (["--strategy", "imbalanse"], 2, "Did you mean 'imbalance'?"),
        (["--policy", "at-most:0"], 2, "n is 0"),
        (["--service", "affine:5"], 2, "write a number and a unit"),
        (["--set", "nonsense"], 2, "Write KEY=VALUE"),
        (["--set", "seed.x=1"], 2, "seed: should be a valid integer"),
        (["--start", "noon"], 2, "window.start"),
        (["--queue", "optimistic"], 2, "none rest"),
        (["--cancel", "constant:1ms"], 2, "Choose a quoting rule"),
        (["--quoting", "two-sidet"], 2, "Did you mean 'two-sided'?"),
        (["--quoting", "two-sided", "--queue", "power:5"], 2, "n is 5"),
        (["absent.toml"], 2, "absent.toml"),
        (["--plugin", "absent.py"], 2, "absent.py"),
    ],
)
def test_mistakes_are_named_without_a_traceback(
    run: list[object],
    words: list[str],
    code: int,
    problem: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    full = ["run", "--dataset", run[2], "--runs", run[4]] if not words else [*run, *words]
    assert call(*full) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert problem in " ".join(captured.err.split())
    assert "Traceback" not in captured.err
    assert not list((tmp_path / "runs").glob("*/manifest.json"))


def test_compare_lists_runs_in_the_order_given(
    run: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*run) == 0
    assert call(*run, "--policy", "one") == 0
    assert call(*run, "--limit", 50) == 0
    folders = [p for p in (tmp_path / "runs").iterdir() if p.name != "predictions"]
    capsys.readouterr()
    assert call("compare", *folders, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["run"] for row in rows] == [p.name for p in folders]
    assert call("compare", *folders) == 0
    captured = capsys.readouterr()
    assert "did not see the same events" in captured.err
    assert "*: partial run" in captured.err


def test_a_half_written_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "half"
    folder.mkdir()
    (folder / "metrics.json").write_text("{}")
    assert call("compare", folder) == 3
    captured = capsys.readouterr()
    assert "half/manifest.json" in captured.err
    assert "Name the folder of a finished run" in captured.err
