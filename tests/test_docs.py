"""The docs' generated parts are current, and their examples work when pasted."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from backtest.comparison import compare
from backtest.events import EventBatch
from backtest.plugins.manager import load_plugins
from backtest.report.page import render_report
from backtest.selection import runs_at
from backtest.tournament import parse_tournament
from docs.generate import FOLDER, GENERATED, regenerated


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
