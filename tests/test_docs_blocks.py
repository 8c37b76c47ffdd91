"""Every command and every block in the README and the docs works as it stands, or says why not."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main

from backtest.cli import app
from tests.doc_pages import PAGES, ROOT, Block, all_blocks, blocks, commands

pytestmark = pytest.mark.one_python

LANGUAGES = {"console", "python", "toml", "text", "json", "mermaid"}
RUN = [page for page in PAGES if any(block.runs for block in blocks(page))]
SLOW = {
    "README.md",
    *(f"docs/{name}.md" for name in ("data", "reports", "runs", "sample", "sweeps", "tournament")),
}
"""Pages that take half a minute and longer."""


@pytest.mark.parametrize("block", all_blocks(), ids=str)
def test_a_block_says_what_it_is(block: Block) -> None:
    assert block.language in LANGUAGES
    for reason in block.marks.get("not run", []):
        assert len(reason.split()) >= 3, "say why it is not run"
    if block.language == "text":
        assert block.marks.keys() & {"not run", "output"}, "say what prints it"
    if block.language == "python":
        ast.parse(block.text)
    if block.language == "toml":
        tomllib.loads(block.text)
    if block.language == "json":
        json.loads(block.text)


def words(command: str) -> list[str]:
    """The words of a command without what a shell does with it and without comments."""
    lexer = shlex.shlex(command.replace("\\\n", " "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)


@pytest.mark.parametrize("block", [b for b in all_blocks() if b.language == "console"], ids=str)
def test_commands_exist_and_take_their_options(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = [*commands(block.text)]
    assert found, "a console block begins its commands with '$ '"
    for command in found:
        for part in re.split(r"\n\s*|; do\s+|&& ", re.sub(r"\\\n\s*", "", command)):
            if not part.startswith("backtest "):
                continue
            parser: Any = typer.main.get_command(app)
            arguments = words(part)[1:]
            if arguments[0].startswith("--"):
                parser.make_context("backtest", arguments, resilient_parsing=True)
                continue
            context = parser.make_context("backtest", [arguments[0]], resilient_parsing=True)
            while hasattr(parser, "commands"):
                assert arguments[0] in parser.commands, part
                parser = parser.commands[arguments.pop(0)]
            parser.make_context("command", arguments, parent=context)


@pytest.mark.parametrize("block", [b for b in all_blocks() if b.language == "console"], ids=str)
def test_targets_of_make_and_modules_exist(block: Block) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in commands(block.text):
        given = words(command)
        if given[0] == "make":
            assert re.search(rf"^[^\t#]*\b{given[1]}\b[^=]*:", makefile, re.M), command
        if given[:2] == ["python", "-m"] and given[2].startswith("benchmarks."):
            assert (ROOT / given[2].replace(".", "/")).with_suffix(".py").exists(), command


@pytest.mark.parametrize("page", PAGES)
def test_python_that_is_not_run_names_nothing_undefined(page: str, tmp_path: Path) -> None:
    source = "\n".join(block.text for block in blocks(page) if block.language == "python")
    (tmp_path / "page.py").write_text(source)
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "F821"]
    done = subprocess.run(
        [*ruff, "page.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_are_there(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), target
    for name in re.findall(
        r"`((?:docs|examples|tests|benchmarks|strategies|plugins)/[\w./-]+)`", text
    ):
        assert "NAME" in name or (ROOT / name).exists(), name
    for page_name in re.findall(r"`backtest docs ([\w/-]+)`", text):
        assert (ROOT / "docs" / f"{page_name}.md").exists(), page_name


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """The environment of a reader: the command on the PATH, a home of their own."""
    programs = tmp_path / "programs"
    programs.mkdir()
    command = programs / "backtest"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m backtest "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": cache}
    return os.environ | home | {"PATH": path, "PYTHONPATH": str(ROOT)}


def run(command: list[str], block: Block, folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=pytest.mark.slow) if p in SLOW else p for p in RUN]
)
def test_a_page_runs_as_it_stands(page: str, tmp_path: Path, shell: dict[str, str]) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    for name in ("examples", "datasets"):  # a reader of these pages has a checkout
        (folder / name).symlink_to(ROOT / name)
    source = ""
    for block in blocks(page):
        for file in block.marks.get("file", []):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(block.text)
        script = [*block.marks.get("first", [])]
        if block.runs and block.language == "console":
            script += commands(block.text)
        if script:
            run(["bash", "-euc", "\n".join(script)], block, folder, shell)
        if block.runs and block.language == "python":
            # Names of earlier blocks are known, as to a reader who follows the page.
            source += block.text + "\n"
            (folder / "page.py").write_text(source)
            run([sys.executable, "page.py"], block, folder, shell)


def test_all_pages_show_the_same_demo() -> None:
    shown = [block.text for block in all_blocks() if "output" in block.marks]
    assert len(shown) == 2
    assert len(set(shown)) == 1


@pytest.mark.slow
def test_the_demo_prints_what_the_pages_show(tmp_path: Path, shell: dict[str, str]) -> None:
    command = ["backtest", "demo"]
    done = subprocess.run(
        command, cwd=tmp_path, env=shell, capture_output=True, text=True, check=True
    )
    (shown, *_) = (block.text for block in all_blocks() if "output" in block.marks)
    assert done.stdout.startswith(shown)
    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(r"Written to runs/demo/report\.html \(\d\.\d MB\)", last)
    assert "</html>" in (tmp_path / "runs" / "demo" / "report.html").read_text()
