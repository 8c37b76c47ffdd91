"""Runs whose names try to break out of whatever shows them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from backtest.runs.folder import MANIFEST

HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "=cmd|' /C calc'!A0",
    "[/x]\x1b[31m[bold]",
    "\" onmouseover=\"document.title='owned'",
)


def hostile_runs(finished_runs: Path, folder: Path) -> Path:
    """Copies of finished runs under ``folder``, each with hostile labels and datasets."""
    runs = folder / "hostile"
    for name, manifest_path in zip(
        HOSTILE, sorted(finished_runs.glob(f"*/{MANIFEST}")), strict=True
    ):
        copy = runs / manifest_path.parent.name
        shutil.copytree(manifest_path.parent, copy)
        manifest = json.loads(manifest_path.read_text())
        manifest["labels"]["strategy"] = name
        manifest["labels"]["policy"] = f"../../{name}"
        manifest["dataset"] = name
        manifest["conformance"] = name
        manifest["config"]["window"] = {"start": None, "end": None}
        manifest["note"] = name
        (copy / MANIFEST).write_text(json.dumps(manifest))
    return runs
