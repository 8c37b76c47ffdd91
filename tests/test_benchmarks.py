"""Benchmarks that replace parts of the package still find those parts."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OWN = [path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py") if "peer_" not in path.name]
"""All but those that run in environments of their own."""


@pytest.mark.parametrize(
    ("script", "texts"),
    [
        ("stages", ("what is read", "pass 2: the strategy", "its answers stored", "wall")),
        (
            "writers",
            ("as they are ", "differences, zstd-1 ", "bytes an event: equity", "the digest"),
        ),
    ],
)
def test_it_runs(script: str, texts: tuple[str, ...], tmp_path: Path) -> None:
    options = ("--events", "3000", "--repeats", "1", "--scratch", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{script}", *options],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for text in texts:
        assert text in done.stdout


@pytest.mark.parametrize("name", sorted(OWN))
def test_it_finds_what_it_imports(name: str) -> None:
    if name in {"fused", "lstm", "sequences"}:
        pytest.importorskip("torch")
    assert importlib.import_module(f"benchmarks.{name}").__doc__
