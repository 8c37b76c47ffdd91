"""``backtest data`` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

from backtest.cli import data
from backtest.data.sources import IngestReport
from backtest.errors import DataError, UsageError


def run(*arguments: str) -> None:
    app = typer.Typer()
    data.register(app)
    app(["data", *arguments], standalone_mode=False)


@pytest.fixture
def challenge_file(tmp_path: Path) -> Path:
    names = [f"feature_{i:02d}" for i in range(79)] + ["delay_ms"]
    names += [f"target_{i:02d}" for i in range(4)]
    columns = {name: pa.array(np.ones(3, dtype=np.float32)) for name in names}
    pq.write_table(pa.table(columns | {"symbol": ["B", "A", "B"]}), tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def test_ingests_and_reports(
    challenge_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    run("ingest", "challenge", str(challenge_file), out)
    assert capsys.readouterr().out == f"{out}: 3 rows read, 3 events written\n"
    settings = ["--set", "layout=packed", "--overwrite", "--json"]
    run("ingest", "challenge", str(challenge_file), out, *settings)
    report = json.loads(capsys.readouterr().out)
    assert report == {"read": 3, "written": 3, "refused": {}, "repaired": {}, "ignored": {}}
    assert "packed = " in (tmp_path / "out" / "dataset.toml").read_text()
    run("ingest", "challenge:layout=wide", str(challenge_file), out, *settings)
    assert "packed = " in (tmp_path / "out" / "dataset.toml").read_text()


def test_mistakes_are_named(challenge_file: Path, tmp_path: Path) -> None:
    def ingest(source: str, *options: str) -> None:
        run("ingest", source, str(challenge_file), str(tmp_path / "out"), *options)

    with pytest.raises(UsageError, match="no source is called 'chalenge'"):
        ingest("chalenge")
    with pytest.raises(UsageError, match="'layout' is not KEY=VALUE"):
        ingest("challenge", "--set", "layout")
    with pytest.raises(UsageError, match="'layout' is given twice"):
        ingest("challenge:layout=packed,layout=wide")
    with pytest.raises(UsageError, match=r"not one of wide, packed\. Did you mean 'packed'"):
        ingest("challenge", "--set", "layout=paked")
    with pytest.raises(UsageError, match="no parameter 'layuot'"):
        ingest("challenge", "--set", "layuot=wide")
    with pytest.raises(UsageError, match="not an instant"):
        ingest("challenge", "--set", "start=now")
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="already exists"):
        ingest("challenge")


def test_the_summary_names_what_was_refused_and_repaired() -> None:
    report = IngestReport(10, 7, {"crossed": 3}, {"shifted": 7})
    assert data.summary(report) == (
        "10 rows read, 7 events written, 3 refused (crossed), 7 repaired (shifted)"
    )
