"""Options that name an output file, given a pipe or a link."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from backtest.cli import main

OPTIONS = [["report", "-o"], ["compare", "--html"], ["data", "describe", "--html"]]


def call(option: list[str], runs: Path, dataset: Path, target: Path) -> int | str | None:
    *command, flag = option
    named = dataset if command[0] == "data" else runs
    with pytest.raises(SystemExit) as caught:
        main([*command, str(named), flag, str(target)])
    return caught.value.code


@pytest.mark.parametrize("option", OPTIONS, ids=" ".join)
def test_a_pipe_gets_the_page_and_stays(
    option: list[str], finished_runs: Path, small_dataset: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()), daemon=True)
    reader.start()
    assert call(option, finished_runs, small_dataset, pipe) == 0
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    reader.join(60)
    assert received[0].rstrip().endswith("</html>")


@pytest.mark.parametrize("option", OPTIONS, ids=" ".join)
def test_a_link_stays_and_what_it_names_is_replaced(
    option: list[str], finished_runs: Path, small_dataset: Path, tmp_path: Path
) -> None:
    real, link = tmp_path / "real.html", tmp_path / "link.html"
    real.write_text("old")
    link.symlink_to(real)
    assert call(option, finished_runs, small_dataset, link) == 0
    assert link.is_symlink()
    assert real.read_text().rstrip().endswith("</html>")
