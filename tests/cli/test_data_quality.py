"""``backtest data describe`` and ``validate`` end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtest.cli import main
from backtest.data.dataset import open_dataset
from backtest.data.quality.validate import validate
from tests.data.made import quote_dataset
from tests.data.quality.test_describe import hostile_figures
from tests.data.quality.test_validate import clean, put, write


def run(*arguments: object) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        main(["data", *map(str, arguments)])
    return caught.value.code


def test_a_description_as_tables_json_and_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quote_dataset(tmp_path / "d", 300)
    assert run("describe", tmp_path / "d") == 0
    assert "BBB" in capsys.readouterr().out
    page = tmp_path / "new" / "page.html"
    assert run("describe", tmp_path / "d", "--json", "--html", page) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 300
    assert page.read_text().lower().startswith("<!doctype html>")
    assert [p.name for p in page.parent.iterdir()] == ["page.html"]


def test_hostile_names_do_not_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile_figures(tmp_path / "d")
    assert run("describe", tmp_path / "d") == 0
    assert run("validate", tmp_path / "d") == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\\x1b[31m" in printed
    assert "[/x]" in printed


def test_a_sound_dataset_is_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "d", clean())
    assert run("validate", tmp_path / "d") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'd'}: usable, 200 rows in 1 file\n"


def test_a_bad_dataset_exits_with_3_and_names_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = clean()
    put("symbol", [5, 6], "\x1b[2J")(columns)
    write(tmp_path / "d", columns)
    assert run("validate", tmp_path / "d") == 3
    printed = capsys.readouterr().out
    assert "not usable" in printed
    assert "error: symbol: 2 ×" in printed
    assert "events-00000.parquet, row 5: '\\x1b[2J'" in printed
    assert "\x1b" not in printed
    assert run("validate", tmp_path / "d", "--json") == 3
    output = json.loads(capsys.readouterr().out)
    assert output["usable"] is False
    assert [(f["rule"], f["count"], f["row"]) for f in output["findings"]] == [("symbol", 2, 5)]


def test_quarantine_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = clean()
    put("f0", [5, 6, 9], float("nan"))(columns)
    write(tmp_path / "d", columns)
    asked = ("validate", tmp_path / "d", "--quarantine", tmp_path / "out")
    assert run(*asked) == 3
    assert "197 rows kept, quarantined: 3 for 'nonfinite'" in capsys.readouterr().out
    assert validate(open_dataset(tmp_path / "out")).usable
    assert run("validate", tmp_path / "out") == 0
    capsys.readouterr()
    assert run(*asked) == 3
    assert "already exists" in capsys.readouterr().err
    assert run(*asked, "--overwrite", "--json") == 3
    output = json.loads(capsys.readouterr().out)
    assert output["quarantine"] == {"kept": 197, "refused": {"nonfinite": 3}, "unread": 0}


def test_no_dataset_is_an_error_not_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("describe", "validate"):
        assert run(command, tmp_path) == 3
        assert "not a dataset" in capsys.readouterr().err
