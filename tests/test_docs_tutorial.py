"""The tutorial, block by block, as a reader would follow it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from docs.generate import FOLDER

_BLOCK = re.compile(r"```(python|toml|console)\n(.*?)```", re.DOTALL)


def test_every_block_of_the_tutorial_works(tmp_path: Path) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    # The command of this checkout, whatever is installed.
    (commands / "backtest").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m backtest "$@"\n')
    (commands / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    for name in ("backtest", "python"):
        (commands / name).chmod(0o755)
    path = [str(FOLDER.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(path),
    }
    outputs = {}
    for language, text in _BLOCK.findall((FOLDER / "tutorial.md").read_text(encoding="utf-8")):
        if language != "console":
            found = re.match(r"# file: (\S+)\n", text)
            assert found is not None, text
            (tmp_path / found[1]).write_text(text, encoding="utf-8")
            continue
        for line in text.splitlines():
            command = line.removeprefix("$ ")
            assert command != line, "a tutorial shows commands alone"
            done = subprocess.run(
                ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True,
                text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            outputs[command] = done.stdout + done.stderr
    written = next(text for command, text in outputs.items() if " ingest " in command)
    assert "20000 rows read, 20000 events written" in written
    assert len(list((tmp_path / "runs").glob("pressure-*/manifest.json"))) == 9 - 1
    assert "What each setting does" in (tmp_path / "report.html").read_text(encoding="utf-8")
