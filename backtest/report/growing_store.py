"""A folder of runs as it grows: what has finished, which sweeps are under way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backtest.comparison.rows import facts
from backtest.comparison.run_selection import runs_at, runs_of_sweep
from backtest.core.json_text import read_json_table
from backtest.errors import BacktestError, DataError
from backtest.experiments.sweep import FOLDER
from backtest.runs.folder import MANIFEST, Run, run_folders


@dataclass(frozen=True, slots=True)
class SweepState:
    """How far a sweep is.

    Attributes:
        counts: number of runs by state, such as ``done``.
    """

    id: str
    name: str
    counts: Mapping[str, int]

    @property
    def total(self) -> int:
        """Its runs, in whatever state."""
        return sum(self.counts.values())


class GrowingStore:
    """Reads the runs and sweeps in a folder; what has not changed is not read again.

    Args:
        folder: holds run folders, and ``sweeps``. It need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: dict[Path, tuple[int, dict[str, Any]]] = {}

    def signature(self) -> tuple[Any, ...]:
        """A value that changes when a run ends or vanishes, or a sweep gets on."""
        manifests = [(path.parent.name, _changed(path)) for path in self._manifests()]
        sweeps = [(path.name, _changed(path)) for path in self._sweep_files()]
        return (*manifests, *sweeps)

    def rows(self) -> list[dict[str, Any]]:
        """The facts of every finished run, and when it was ``created``, the newest first; damaged
        ones are left out."""
        found = []
        for path in self._manifests():
            changed = _changed(path)
            known = self._rows.get(path)
            if known is None or known[0] != changed:
                try:
                    known = changed, _row(Run(path.parent))
                except (BacktestError, KeyError, TypeError, ValueError):
                    continue
                self._rows[path] = known
            found.append(known[1])
        return sorted(found, key=lambda row: (row["created"], row["run"]), reverse=True)

    def sweeps(self) -> list[SweepState]:
        """The sweeps, by name; damaged files are left out."""
        found = []
        for path in self._sweep_files():
            try:
                table = read_json_table(path)
                counts = Counter(str(run["state"]) for run in table["runs"])
            except (BacktestError, KeyError, TypeError):
                continue
            found.append(SweepState(path.stem, str(table.get("name") or path.stem), counts))
        return sorted(found, key=lambda sweep: (sweep.name, sweep.id))

    def runs(self, ids: list[str]) -> list[Run]:
        """The runs of some ids.

        Raises:
            DataError: there is none of that id, or it is damaged.
        """
        known = {path.name for path in run_folders(self._folder)}
        missing = [name for name in ids if name not in known]
        if missing:
            raise DataError(f"there is no run {missing[0]!r}", place=str(self._folder))
        return runs_at([self._folder / name for name in ids])

    def runs_of_sweep(self, sweep: str) -> tuple[list[Run], list[Any]]:
        """A sweep's finished runs, and those that failed or were not reached."""
        return runs_of_sweep(self._folder, sweep)

    def _manifests(self) -> list[Path]:
        return [path / MANIFEST for path in run_folders(self._folder)]

    def _sweep_files(self) -> list[Path]:
        return sorted((self._folder / FOLDER).glob("[!.]*.json"))


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # it was removed meanwhile
        return 0


def _row(run: Run) -> dict[str, Any]:
    return facts(run) | {"created": str(run.manifest.get("created", ""))}
