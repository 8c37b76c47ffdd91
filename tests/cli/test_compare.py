"""``backtest compare`` and ``backtest report`` as a person or a CI job meets them."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from backtest.api import run
from backtest.cli import main
from backtest.cli.formats import to_csv, to_markdown
from backtest.report.pace import pace_of
from backtest.runs.folder import Run

HOSTILE = [
    "=cmd|' /C calc'!A0",
    "+1",
    "-1+2",
    "@SUM(A1)",
    "\t=1",
    " =1",
    "a|b",
    "</script>",
    "\x1b[2J",
]


def call(*arguments: object) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        main(["compare", *(str(a) for a in arguments)])
    return caught.value.code


def baseline(finished_runs: Path, capsys: pytest.CaptureFixture[str]) -> str:
    call(finished_runs, "--json", "--where", 'policy == "one"')
    return str(json.loads(capsys.readouterr().out)[0]["run"])


def test_all_runs_of_a_folder(finished_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--runs", finished_runs, "--where", "not partial", "--sort", "-net") == 0
    out = capsys.readouterr().out
    assert "Where the money went" in out
    assert "imbalance, " in out.splitlines()[-1]


def test_the_interval_of_the_p99_is_that_of_the_report(
    finished_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latency = {"service": "affine:1ms,1ms"}
    long = run(runs=tmp_path, dataset="sample", strategy="imbalance", latency=latency)
    short = Run(sorted(path.parent for path in finished_runs.glob("*/manifest.json"))[0])
    interval = pace_of(long).p99["sojourn"]
    assert interval is not None
    assert (
        interval[0] <= long.metrics["timing"]["latency_ns"]["sojourn"]["p99"] / 1e6 <= interval[1]
    )
    assert call(long.folder, short.folder, "--json") == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["p99_ms_low"], first["p99_ms_high"]) == interval
    assert (second["p99_ms_low"], second["p99_ms_high"]) == (None, None)
    assert call(long.folder, short.folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "p99 ms, 95 %" in lines[0]
    assert f"  {interval[0]:,.1f} to {interval[1]:,.1f}  " in lines[1]


def test_a_baseline_adds_columns(finished_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = baseline(finished_runs, capsys)
    assert call(finished_runs, "--baseline", base, "--where", "not partial", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    mine = next(row for row in rows if row["run"] == base)
    assert (mine["net_ratio"], mine["net_difference"]) == (1, 0)
    other = next(row for row in rows if row["run"] != base)
    assert other["net_difference"] == pytest.approx(other["net"] - mine["net"])
    low, high = other["net_difference_low"], other["net_difference_high"]
    assert low <= other["net_difference"] <= high


@pytest.mark.parametrize(
    ("gate", "code", "said"),
    [
        ("net_pnl < 1000000 * abs(baseline) + 1", 5, "holds for imbalance-"),
        ("net_pnl > 1000000 * abs(baseline) + 1", 0, ""),
        ("net_points > 1", 5, "cannot be judged"),
        ("response_rate < 0", 0, ""),
        ("nett > 1", 2, "Did you mean"),
    ],
)
def test_gates(
    finished_runs: Path, capsys: pytest.CaptureFixture[str], gate: str, code: int, said: str
) -> None:
    base = baseline(finished_runs, capsys)
    assert call(finished_runs, "--baseline", base, "--fail-if", gate) == code
    assert said in capsys.readouterr().err


def test_a_gate_on_the_baseline_needs_one(
    finished_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(finished_runs, "--fail-if", "net < baseline") == 2
    captured = capsys.readouterr()
    assert "--baseline RUN" in captured.err
    assert captured.out == ""


def test_csv_and_markdown_and_groups(
    finished_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(finished_runs, "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 5
    assert {row["policy"] for row in rows} == {"one", "all"}
    assert call(finished_runs, "--markdown", "--group", "policy") == 0
    assert capsys.readouterr().out.count("\n| ") == 3
    assert call(finished_runs, "--group", "policy") == 0
    assert "±" in capsys.readouterr().out
    assert call(finished_runs, "--csv", "--json") == 2


@pytest.mark.parametrize("name", HOSTILE)
def test_no_cell_starts_a_formula(name: str) -> None:
    text = to_csv([{"symbol": name, "net": -1.5}])
    cell, number = next(iter(list(csv.reader(io.StringIO(text)))[1:]))
    assert cell.lstrip()[:1] not in tuple("=+-@|%\t\r")
    assert number == "-1.5"
    assert "\x1b" not in text


def test_markdown_is_inert() -> None:
    text = to_markdown(["a"], [["<b>|[x](y)\n`"]])
    assert text.splitlines()[2] == "| &lt;b&gt;\\|\\[x\\](y)\\\\n\\` |"


def test_the_report_is_written_beside_the_tables(
    finished_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "r.html"
    assert call(finished_runs, "--html", file) == 0
    assert f"Written to {file}" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["report", str(finished_runs), "-o", str(tmp_path / "s.html")])
    assert caught.value.code == 0
    assert (tmp_path / "s.html").read_bytes() == file.read_bytes()
    with pytest.raises(SystemExit) as caught:
        main(["report", str(finished_runs), "-o", str(tmp_path)])
    assert caught.value.code in (1, 2, 3)


def test_a_run_that_vanishes_while_its_tables_are_read_is_left_out(
    finished_runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(finished_runs, runs)
    gone = sorted(runs.glob("[!.]*/manifest.json"))[2].parent
    read = Run.pieces

    def vanishing(run: Run, name: str, columns: Sequence[str]) -> Any:
        if run.folder == gone:
            shutil.rmtree(gone, ignore_errors=True)
        return read(run, name, columns)

    monkeypatch.setattr(Run, "pieces", vanishing)
    assert call(runs, "--json") == 0
    assert gone.name not in {row["run"] for row in json.loads(capsys.readouterr().out)}


def test_comparing_removes_nothing(finished_runs: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(finished_runs, runs)
    (runs / ".x.tmp-01234567").mkdir()
    assert call(runs) == 0
    assert (runs / ".x.tmp-01234567").exists()


def test_what_varies_is_a_column(finished_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(finished_runs, "--where", "not partial") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:6] == ["run", "strategy", "class", "policy", "service", "scale"]
    assert lines[0].split()[-3:] == ["USD", "drawdown", "turnover"]  # Sharpe needs days
    # In the order of their settings, where a folder of runs is named.
    policies = [line.split()[3:6:2] for line in lines[1:5]]
    assert policies == [["all", "0"], ["all", "1"], ["all", "4"], ["one", "1"]]
    ids = {line.split()[0] for line in lines[1:5]}
    assert all(any(p.name.endswith(i) for p in finished_runs.iterdir()) for i in ids)


def test_runs_that_differ_in_any_setting_can_be_told_apart(
    small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from backtest.api import run

    for sizing, warmup in (("sign", 0), ("sign:lots=2", 0), ("sign", 50)):
        latency = {"service": "affine:1ms,0.1ms"}
        run(
            runs=tmp_path,
            dataset=str(small_dataset),
            strategy="imbalance",
            policy="all",
            latency=latency,
            sizing=sizing,
            warmup=warmup,
        )
    assert call(tmp_path) == 0
    head, *rows = (line.split() for line in capsys.readouterr().out.splitlines()[:4])
    columns = [head.index(name) for name in ("sizing", "warmup")]
    assert sorted(tuple(row[k] for k in columns) for row in rows) == [
        ("sign", "0"),
        ("sign", "50"),
        ("sign:2", "0"),
    ]
    assert call(tmp_path, "--where", 'sizing == "sign" and warmup == 50', "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["accountant"] == "market"
    models = {kind: row[f"{kind}_model"] for kind in ("feed", "entry", "response")}
    assert models == {"feed": "recorded", "entry": "constant", "response": "constant"}
    assert call(tmp_path, "--baseline", row["run"][-6:]) == 0
    assert call(tmp_path, "--group", "sizing") == 0


def test_differences_are_a_row_a_run(
    finished_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(finished_runs, "--where", "not partial", "--differences") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["run", "policy", "latency.scale"]
    assert [line.split()[1:] for line in lines[1:]] == [
        ["all", "0"],
        ["all", "1"],
        ["all", "4"],
        ["one", "1"],
    ]
