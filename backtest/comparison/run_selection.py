"""Which runs are meant: by folder, by pattern, or by the sweep that made them."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backtest.core.atomic import is_unfinished
from backtest.core.json_text import read_json_table
from backtest.core.text import suggestion_or_list
from backtest.errors import DataError, UsageError
from backtest.runs.folder import Run, find_run, open_run, runs_in

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
            In the latter two, anything that is not a run is skipped, as are hidden and unfinished
            folders, and runs that are removed meanwhile.

    Raises:
        DataError: a named folder neither is a run nor contains any, or a run cannot be read.
        UsageError: a pattern matches nothing.
    """
    found: dict[Path, Run] = {}
    for place in places:
        if glob.has_magic(str(place)) and not place.exists():
            matches = [Path(match) for match in sorted(glob.glob(str(place)))]
            matches = [match for match in matches if not is_unfinished(match)]
            runs = [run for match in matches for run in _inside(match)]
            if not runs:
                raise UsageError(
                    "the pattern matches no finished run",
                    place=str(place),
                    remedy="Name the folders of finished runs, or the folder that holds them.",
                )
        else:
            # A folder that holds no runs is opened as one for the sake of the error.
            runs = _inside(place) or [open_run(place)]
        for run in runs:
            found.setdefault(run.folder.resolve(), run)
    return list(found.values())


def _inside(place: Path) -> list[Run]:
    run = find_run(place)
    return runs_in(place) if run is None else [run]


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
            run = find_run(runs / run_id)
            if run is not None:
                done.append(run)
            else:
                error = entry.get("error") or "it has not been run"
                failed.append(FailedRun(run_id, str(entry["state"]), str(error)))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"its file is damaged: {error!r}",
            place=place,
            remedy="Run the sweep again, which writes it anew.",
        ) from None
    return done, failed


def _sweep_table(folder: Path, sweep: str) -> dict[str, Any]:
    if not _ID.fullmatch(sweep):
        raise UsageError(
            f"{sweep!r} is neither the id nor the name of a sweep",
            place="--sweep",
            remedy="The sweeps of a folder of runs are listed in its folder sweeps.",
        )
    paths = sorted(folder.glob("[!.]*.json"))
    tables: dict[str, dict[str, Any]] = {}
    names: list[str] = []
    for path in [p for p in paths if p.stem == sweep] or paths:
        try:
            table = read_json_table(path, remedy="Run the sweep again, which writes it anew.")
        except DataError:
            if not path.exists():  # it was removed meanwhile
                continue
            raise
        names.append(str(table.get("name")))
        if sweep in (path.stem, table.get("name")):
            tables[path.stem] = table
    if len(tables) != 1:
        if tables:
            raise UsageError(
                f"several sweeps are called {sweep!r}",
                place="--sweep",
                remedy=f"Name one by its id: {', '.join(tables)}.",
            )
        known = [*names, *(p.stem for p in paths)]
        raise UsageError(
            f"no sweep is called {sweep!r}",
            place="--sweep",
            remedy=suggestion_or_list(sweep, list(dict.fromkeys(known)), "Sweeps"),
        )
    return next(iter(tables.values()))
