"""A wheel carries what the commands print, write and point to; no checkout is needed beside it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.test_imports import sources

pytestmark = pytest.mark.one_python

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the project's wheel is unpacked to."""
    folder = tmp_path_factory.mktemp("wheel")
    offline = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--no-cache-dir"]
    pip = [sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(pip, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def backtest(site: Path, folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-P", "-m", "backtest", *arguments]
    environment = os.environ | {"PYTHONPATH": str(site)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def strings(source: str) -> list[str]:
    """The texts of a module, without docstrings but those of commands, which are help."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    internal = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
        if not (isinstance(node, ast.FunctionDef) and "Annotated" in ast.dump(node.args))
    }
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [c.value for c in constants if isinstance(c.value, str) and id(c) not in internal]


def test_messages_name_pages_by_the_command_that_prints_them(site: Path) -> None:
    pages = set()
    for module, source in sources().items():
        for text in strings(source):
            assert not re.search(r"(docs|examples|tests)/[\w/-]+\.(md|toml|py)", text), (
                module,
                text,
            )
            pages |= set(re.findall(r"`backtest\s+docs\s+([\w/-]+)`", text))
    assert {"data", "training", "tournament"} <= pages
    for page in pages:
        assert (site / "backtest" / "docs" / f"{page}.md").exists(), page


def test_pages_are_those_of_the_repository(site: Path, tmp_path: Path) -> None:
    in_wheel = {
        p.relative_to(site / "backtest/docs") for p in (site / "backtest/docs").rglob("*.*")
    }
    assert in_wheel == {p.relative_to(ROOT / "docs") for p in (ROOT / "docs").rglob("*.md")}
    listed = [line.split()[0] for line in backtest(site, tmp_path, "docs").splitlines()[1:]]
    assert {Path(f"{name}.md") for name in listed} == in_wheel
    for name in ("simulation", "parts/strategy"):
        printed = backtest(site, tmp_path, "docs", name).splitlines()
        page = (ROOT / f"docs/{name}.md").read_text().splitlines()
        # Comments are for those who render or check the page.
        assert printed == [line for line in page if not line.startswith("<!-- ")]
        assert len(printed) < len(page)


def test_what_commands_need_is_in_it(site: Path, tmp_path: Path) -> None:
    backtest(site, tmp_path, "init", "mine")
    words = ["--dataset", "sample", "--limit", "300", "--service", "profile:h200-eager"]
    backtest(site, tmp_path, "run", "--strategy", "mine", "--plugin", "mine.py", *words)
    backtest(site, tmp_path, "report", "runs", "-o", "report.html")
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert "backtest itself" in backtest(site, tmp_path, "doctor")


def test_a_page_that_is_not_there_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "backtest", "docs", "simulaton"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Did you mean 'simulation'?" in done.stderr
