"""Which runs are meant: by folder, by pattern, or by the sweep that made them."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backtest.core.json_text import read_json_table
from backtest.errors import DataError, UsageError
from backtest.runs.folder import MANIFEST, Run, open_run

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run of a sweep that came to nothing, and why."""

    id: str
    state: str
    error: str


def runs_at(places: Iterable[Path]) -> list[Run]:
    """Runs in the order named, each once.

    Args:
        places: folders of runs, folders that hold such folders, or glob patterns of either.
            In the latter two, anything that is not a run is skipped.

    Raises:
        DataError: a named folder neither is a run nor contains any, or a run cannot be read.
        UsageError: a pattern matches nothing.
    """
    found: dict[Path, Run] = {}
    for place in places:
        if glob.has_magic(str(place)) and not place.exists():
            matches = [Path(match) for match in sorted(glob.glob(str(place)))]
            runs = [run for match in matches for run in _inside(match)]
            if not runs:
                raise UsageError("matches no finished run", place=str(place))
        else:
            # A folder that holds no runs is opened as one for the sake of the error.
            runs = _inside(place) or [open_run(place)]
        for run in runs:
            found.setdefault(run.folder.resolve(), run)
    return list(found.values())


def _inside(place: Path) -> list[Run]:
    if (place / MANIFEST).exists():
        return [open_run(place)]
    return [open_run(path.parent) for path in sorted(place.glob(f"*/{MANIFEST}"))]


def runs_of_sweep(runs: Path, sweep: str) -> tuple[list[Run], list[FailedRun]]:
    """A sweep's finished runs, and those that failed or were not reached.

    Args:
        runs: the folder of run folders; its ``sweeps`` folder describes the sweep.
        sweep: its id, or its name where only one sweep has it.

    Raises:
        DataError: the sweep's file is damaged, or a finished run is missing.
        UsageError: there is no such sweep, or several of its name.
    """
    table = _sweep_table(runs / "sweeps", sweep)
    place = f"sweep {sweep!r}"
    done: list[Run] = []
    failed: list[FailedRun] = []
    try:
        for entry in table["runs"]:
            if entry["id"] is None:
                name = f"a run of {entry['config']['strategy']}"
                error = entry.get("error") or "it has not been run"
                failed.append(FailedRun(name, str(entry["state"]), str(error)))
                continue
            run_id = str(entry["id"])
            if not _ID.fullmatch(run_id):
                raise DataError(f"{run_id!r} is not the id of a run", place=place)
            if (runs / run_id / MANIFEST).exists():
                done.append(open_run(runs / run_id))
            else:
                error = entry.get("error") or "it has not been run"
                failed.append(FailedRun(run_id, str(entry["state"]), str(error)))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"its file is damaged: {error!r}", place=place) from None
    return done, failed


def _sweep_table(folder: Path, sweep: str) -> dict[str, Any]:
    if not _ID.fullmatch(sweep):
        raise UsageError(f"{sweep!r} is not the id of a sweep", place="--sweep")
    paths = sorted(folder.glob("*.json"))
    tables: dict[str, dict[str, Any]] = {}
    for path in [p for p in paths if p.stem == sweep] or paths:
        table = read_json_table(path)
        if sweep in (path.stem, table.get("name")):
            tables[path.stem] = table
    if len(tables) != 1:
        known = ", ".join(tables or (p.stem for p in paths)) or "none"
        problem = "several sweeps are called" if tables else "there is no sweep"
        raise UsageError(f"{problem} {sweep!r}", place="--sweep", remedy=f"Ids: {known}.")
    return next(iter(tables.values()))
