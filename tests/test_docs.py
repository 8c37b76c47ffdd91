"""The docs' generated parts are current, and their examples work when pasted."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from backtest.cli import main
from backtest.comparison.comparison import compare
from backtest.comparison.run_selection import runs_at
from backtest.core.settings import read_table
from backtest.experiments.folds import Folds
from backtest.experiments.matrix import parse_matrix
from backtest.experiments.study_plan import Tune, parse_study
from backtest.experiments.tournament import parse_tournament
from backtest.market.events import EventBatch
from backtest.plugins.manager import load_plugins
from backtest.report.page import render_report
from backtest.runs.run_config import RunConfig, parse_config
from docs.generate import FOLDER, GENERATED, regenerated

pytestmark = pytest.mark.one_python


@pytest.mark.parametrize("page", sorted({page for page, _ in GENERATED}))
def test_generated_parts_are_current(page: str) -> None:
    text = (FOLDER / page).read_text()
    assert regenerated(page, text) == text, "run `make docs`"


def test_a_page_without_the_marks_is_an_error() -> None:
    with pytest.raises(ValueError, match="<!-- hooks -->"):
        regenerated("plugins.md", "# Plugins\n")


def test_the_plugin_in_the_docs_works_when_pasted(tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", (FOLDER / "plugins.md").read_text(), re.DOTALL)
    assert example is not None
    path = tmp_path / "pressure.py"
    path.write_text(example[1])
    strategy = load_plugins([path], entry_points=False).create(
        "strategy", "pressure:gain=2", place="test"
    )
    answers = strategy.predict(
        EventBatch(
            symbol=np.zeros(2, np.int32),
            ts_event=np.arange(2),
            bid_size=np.array([3, 0]),
            ask_size=np.array([1, 0]),
        )
    )
    assert answers.dtype == np.float32
    assert answers.tolist() == [[1.0], [0.0]]


def first_block(page: Path, language: str) -> str:
    """The first code block of a language in a page."""
    block = re.search(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)
    assert block is not None
    return block[1]


def test_the_strategy_in_the_readme_works_when_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = first_block(FOLDER.parent / "README.md", "python")
    assert len([line for line in source.splitlines() if line.strip()]) <= 15
    path = tmp_path / "pressure.py"
    path.write_text(source)
    words = ["run", "--plugin", path, "--strategy", "pressure:gain=2", "--dataset", "sample"]
    words += ["--service", "constant:1ms", "--limit", 500, "--runs", tmp_path / "runs"]
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    assert left.value.code == 0
    assert "pressure:2.0" in capsys.readouterr().out


def test_the_settings_in_the_docs_are_accepted() -> None:
    table = tomllib.loads(first_block(FOLDER / "runs.md", "toml"))
    config = parse_config(table, place="docs/runs.md")
    assert config.server.max_age == 1_000_000_000


def test_the_settings_of_resting_orders_in_the_docs_are_accepted(tmp_path: Path) -> None:
    table = tomllib.loads(first_block(FOLDER / "orders.md", "toml"))
    path = tmp_path / "maker.toml"
    path.write_text(first_block(FOLDER / "orders.md", "toml"))
    with pytest.raises(SystemExit) as left:
        main(["run", str(path), "--limit", "300", "--runs", str(tmp_path)])
    assert left.value.code == 0
    assert table["fills"] == {"queue": "power:2"}


def test_every_setting_is_documented() -> None:
    text = (FOLDER / "runs.md").read_text()
    for name, field in RunConfig.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        for key in [f"{name}.{k}" for k in inner] if inner else [name]:
            assert f"`{key}`" in text, key


def test_the_example_sweep_is_the_one_that_the_docs_describe() -> None:
    plugins = load_plugins(entry_points=False)
    path = FOLDER.parent / "examples" / "sweep.toml"
    matrix = parse_matrix(read_table(path), plugins, name="x", place=str(path))
    assert matrix.notes == ()
    assert len(matrix.configs) >= 60
    assert f"{len(matrix.configs)} runs" in (FOLDER / "sweeps.md").read_text()
    assert f"{len(matrix.configs)} runs" in path.read_text()


def test_the_example_walk_forward_runs_as_the_docs_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = FOLDER.parent / "examples"
    source = (examples / "ridge.py").read_text()
    block = first_block(FOLDER / "walk-forward.md", "python")
    assert source.partition("\n\n")[2] == block
    words = ["sweep", examples / "walk-forward.toml", "--plugin", examples / "ridge.py"]
    words += ["--runs", tmp_path, "--executor", "inline"]
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert len(re.findall(r"^ ?ridge-\w{12} +\d ", shown, re.M)) == 10  # two penalties, five folds


def test_the_folds_in_the_docs_are_accepted() -> None:
    table = tomllib.loads(first_block(FOLDER / "walk-forward.md", "toml"))
    assert Folds.model_validate(table["folds"]).train == 4 * 3600 * 1_000_000_000
    text = (FOLDER / "walk-forward.md").read_text()
    for name in Folds.model_fields:
        assert f"| `{name}` |" in text


def test_the_study_in_the_docs_is_one() -> None:
    plugins = load_plugins([FOLDER.parent / "examples" / "ridge.py"], entry_points=False)
    text = (FOLDER / "tuning.md").read_text()
    table = tomllib.loads(first_block(FOLDER / "tuning.md", "toml"))
    plan = parse_study(table, plugins, name="x", place="docs")
    assert len(plan.space) == 4
    for name in Tune.model_fields:
        assert f"| `{name}` |" in text


def test_the_section_in_the_docs_works_when_pasted(finished_runs: Path, tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", (FOLDER / "reports.md").read_text(), re.DOTALL)
    assert example is not None
    path = tmp_path / "fills.py"
    path.write_text(example[1])
    plugins = load_plugins([path], entry_points=False)
    rendered = render_report(compare(runs_at([finished_runs])), plugins, ("fills",))
    assert rendered.failures == ()
    assert "Fills of each run" in rendered.html


def test_the_tournament_in_the_docs_is_one() -> None:
    example = re.search(r"```toml\n(.*?)```", (FOLDER / "tournament.md").read_text(), re.DOTALL)
    assert example is not None
    config = parse_tournament(tomllib.loads(example[1]), place="docs")
    assert [len(config.team), len(config.round)] == [4, 2]


@pytest.mark.parametrize("page", sorted(path.name for path in FOLDER.glob("*.md")))
def test_pictures_are_there_and_small(page: str) -> None:
    for name in re.findall(r"images/[\w.-]+", (FOLDER / page).read_text()):
        assert (FOLDER / name).stat().st_size < 150_000
