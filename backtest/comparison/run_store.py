"""The finished runs of a folder: found, chosen by id, and removed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from backtest.comparison.comparison import compare
from backtest.core.atomic import is_being_written, remove_folder
from backtest.core.text import first_of, suggested_path, suggestion
from backtest.errors import DataError, UsageError
from backtest.inference.fitted import WEIGHTS
from backtest.runs.folder import Run, open_run, run_folders


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A finished run and the bytes that it takes on the disk."""

    run: Run
    bytes: int

    @property
    def id(self) -> str:
        """The name of its folder, by which it is chosen."""
        return self.run.folder.name

    @property
    def created(self) -> str:
        """When it was finished, as ISO 8601 in UTC."""
        return str(self.run.manifest.get("created", ""))


def stored_runs(folder: Path) -> tuple[list[StoredRun], list[DataError]]:
    """The finished runs of a folder, the newest first, and why others cannot be read.

    Links are left out: what they lead to belongs to somewhere else.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(
            "there is no such folder of runs",
            place=str(folder),
            remedy=suggested_path(folder) or "Name another one with --runs.",
        )
    found, unreadable = [], []
    for home in run_folders(folder):
        if home.is_symlink():
            continue
        try:
            found.append(StoredRun(open_run(home), size_of(home)))
        except DataError as error:
            unreadable.append(error)
    found.sort(key=lambda stored: (stored.created, stored.id), reverse=True)
    return found, unreadable


def matching(stored: Sequence[StoredRun], condition: str | None) -> list[StoredRun]:
    """Those for which a condition of ``backtest compare --where`` holds; all for ``None``.

    Raises:
        UsageError: it is no condition, or matches no run.
    """
    if condition is None or not stored:
        return [*stored]
    kept = compare([s.run for s in stored]).where(condition).runs
    return [s for s in stored if s.run in kept]


def named(stored: Sequence[StoredRun], name: str) -> StoredRun:
    """The run of an id, or of the beginning of one.

    Raises:
        UsageError: none or several are meant.
    """
    exact = [s for s in stored if s.id == name]
    begun = exact or [s for s in stored if name and s.id.startswith(name)]
    if len(begun) == 1:
        return begun[0]
    ids = [s.id for s in begun or stored]
    problem = f"{name!r} is the id of no finished run"
    if begun:
        problem = f"{name!r} matches several runs"
    near = None if begun else suggestion(name, ids)
    raise UsageError(problem, remedy=near or f"Runs: {first_of(ids) or 'none'}.")


def chosen(stored: Sequence[StoredRun], names: Iterable[str]) -> list[StoredRun]:
    """The runs of ids, beginnings of ids, and patterns such as ``batched-*``, each once.

    Raises:
        UsageError: a name means none or several, or a pattern matches nothing.
    """
    found: dict[str, StoredRun] = {}
    for name in names:
        if any(c in name for c in "*?["):
            matched = [s for s in stored if fnmatchcase(s.id, name)]
            if not matched:
                raise UsageError(f"{name!r} matches no finished run")
        else:
            matched = [named(stored, name)]
        found |= {s.id: s for s in matched}
    return list(found.values())


def remove(stored: StoredRun) -> bool:
    """Remove a run's folder: at once, so that no half of it is ever found under its name.

    Returns:
        Whether it was removed; one that is being written anew, or removed by others, is left.

    Raises:
        DataError: it cannot be removed.
    """
    return not is_being_written(stored.run.folder) and remove_folder(stored.run.folder)


def remove_weights(folder: Path, stored: Sequence[StoredRun]) -> tuple[list[str], int]:
    """Remove the weights of trainings that none of a folder's runs used.

    Args:
        folder: of the runs.
        stored: all of its runs.

    Returns:
        The keys of the trainings, and the bytes of their weights.
    """
    used = {(s.run.manifest.get("training") or {}).get("key") for s in stored}
    removed, size = [], 0
    for path in sorted((folder / WEIGHTS).glob("[!.]*.safetensors")):
        # Whoever trains holds the lock until the weights are read back.
        if path.stem in used or path.with_suffix(".lock").exists():
            continue
        size += path.stat().st_size
        path.unlink()
        removed.append(path.stem)
    return removed, size


def size_of(folder: Path) -> int:
    """The bytes of all files in a folder and below."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
