"""The checks of ``backtest doctor``; each works whatever else is missing or broken."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Literal

from backtest.cli.project import Project, find_project, read_project
from backtest.core.tracebacks import describe
from backtest.core.version import __version__
from backtest.errors import BacktestError

LEAST_FREE = 1_000_000_000
"""Bytes below which the disk of the runs counts as full."""

_OPTIONAL = {
    "databento-dbn": "Databento's files: pip install 'ticktoll[databento]'",
    "triton": "kernels on the GPU: pip install 'ticktoll[kernels]'",
    "ray": "sweeps on a cluster: pip install 'ticktoll[ray]'",
}
_PYTHONS = (3, 11), (3, 13)
_REQUIREMENT = re.compile(r"([A-Za-z0-9_-]+)(?:>=([0-9.]+))?")
_SIGNS = "±µ†→─"
"""Characters that tables and figures are written with."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        topic: what was looked at.
        state: ``note`` is worth knowing, and not wrong.
        found: what is there.
        remedy: what to do about it.
    """

    topic: str
    state: Literal["ok", "note", "problem"]
    found: str
    remedy: str | None = None


def examine(
    root: Any, runs: Path | None, plugins: Sequence[Path], disabled: Sequence[str]
) -> list[Finding]:
    """The findings of all checks.

    Args:
        root: the group of all commands, for the project file.
        runs: the folder of runs; by default the project's.
        plugins: files to load as plugins besides the project's.
        disabled: names of plugins to leave out.
    """
    project, of_project = _project(root)
    files = [*(project.plugins if project else ()), *plugins]
    folder = runs or (project.runs if project else None) or Path("runs")
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "Python": _python,
        "packages": _packages,
        "project file": lambda: of_project,
        "plugins": partial(_plugins, files, disabled),
        "devices": _devices,
        "datasets": _datasets,
        "compiled code": _compiled_code,
        "runs": partial(_runs, folder),
        "terminal": _terminal,
    }
    found: list[Finding] = []
    for topic, check in checks.items():
        try:
            found += check()
        except Exception as error:  # of a package that is broken, say; the other checks go on
            found.append(
                Finding(topic, "problem", describe(error), "Mend the problems above first.")
            )
    return found


def _python() -> Iterator[Finding]:
    version, (least, most) = sys.version_info[:2], _PYTHONS
    found = f"{sys.version.split()[0]} ({sys.executable})"
    if least <= version <= most:
        yield Finding("Python", "ok", found)
    else:
        yield Finding("Python", "problem", found, "Use Python 3.11, 3.12 or 3.13.")
    yield Finding("backtest", "ok", f"{__version__} ({Path(__file__).parents[1]})")


def _packages() -> Iterator[Finding]:
    for name, least in _requirements():
        remedy = f"pip install '{name}{f'>={least}' if least else ''}'"
        try:
            version = metadata.version(name)
            import_module(name)
        except metadata.PackageNotFoundError:
            yield Finding(name, "problem", "not installed", remedy)
        except Exception as error:  # a broken package can raise anything
            found = f"{version}, which cannot be imported: {describe(error)}"
            yield Finding(name, "problem", found, f"Install it anew: {remedy} --force-reinstall")
        else:
            if least and _numbers(version) < _numbers(least):
                yield Finding(name, "problem", f"{version}, older than {least}", remedy)
            else:
                yield Finding(name, "ok", version)
    for name, purpose in _OPTIONAL.items():
        try:
            yield Finding(name, "ok", metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(name, "ok", f"not installed; for {purpose}")


def _requirements() -> list[tuple[str, str | None]]:
    """The packages that are needed, and their oldest versions that will do."""
    own = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if own.exists():  # a checkout: if it is installed at all, an older state of it may be
        listed = tomllib.loads(own.read_text(encoding="utf-8"))["project"]["dependencies"]
    else:
        listed = metadata.requires("ticktoll") or []
    matches = [_REQUIREMENT.match(line) for line in listed if "extra ==" not in line]
    return [(match[1], match[2]) for match in matches if match is not None]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version.partition("+")[0])[:3])


def _project(root: Any) -> tuple[Project | None, list[Finding]]:
    file = find_project(Path.cwd())
    if file is None:
        return None, [Finding("project file", "ok", "none (no backtest.toml)")]
    try:
        project = read_project(file, root)
    except BacktestError as error:
        found = f"{file}: {error.problem}"
        return None, [Finding("project file", "problem", found, error.remedy or "Correct it.")]
    return project, [Finding("project file", "ok", str(file))]


def _plugins(files: Sequence[Path], disabled: Sequence[str]) -> Iterator[Finding]:
    from backtest.plugins.manager import load_plugins

    plugins = load_plugins(disabled=disabled)
    shipped = [p for p in plugins.loaded if p.origin.distribution == "ticktoll"]
    yield Finding("plugins", "ok", f"{len(shipped)} of backtest itself")
    for loaded in plugins.loaded:
        if loaded not in shipped:
            yield Finding("plugin", "ok", f"{loaded.origin}: {', '.join(loaded.hooks)}")
    for failed in plugins.failures:
        name = failed.origin.plugin
        yield Finding(
            "plugin",
            "problem",
            f"{failed.origin}: {failed.error}",
            f"Mend or uninstall it, or leave it out with --no-plugin {name}.",
        )
    for file in files:
        try:
            hooks = load_plugins([file], disabled=disabled).loaded[-1].hooks
            yield Finding("plugin", "ok", f"{file}: {', '.join(hooks)}")
        except BacktestError as error:
            remedy = error.remedy or "Mend the file, or do not name it."
            yield Finding("plugin", "problem", f"{file}: {error.problem}", remedy)


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding("device", "ok", f"cpu, {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(number)
            found = f"cuda:{number}, {card.name}, {card.total_memory / 1e9:.0f} GB"
            yield Finding("device", "ok", found)
        return
    driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")
    if driver and torch.version.cuda is None:
        yield Finding(
            "device",
            "problem",
            "there is an NVIDIA driver, but torch was built without CUDA",
            "Install a CUDA build of torch into this environment.",
        )
    elif driver:
        yield Finding(
            "device",
            "problem",
            f"there is an NVIDIA driver, but torch {torch.__version__} sees no device",
            "Check `nvidia-smi` and CUDA_VISIBLE_DEVICES; the driver may be too old.",
        )


def _datasets() -> Iterator[Finding]:
    from backtest.data.dataset import open_dataset, packaged_datasets

    here = [
        path.parent for depth in ("", "*/", "*/*/") for path in Path().glob(f"{depth}dataset.toml")
    ]
    for place in [*packaged_datasets(), *sorted(here)]:
        try:
            dataset = open_dataset(str(place))
            rows = sum(group.rows for footer in dataset.footers for group in footer.row_groups)
            found = f"{place}: {rows:,} events, {len(dataset.symbols):,} symbols"
            yield Finding("dataset", "ok", found)
        except BacktestError as error:
            remedy = error.remedy or f"`backtest data validate {place}` tells more."
            yield Finding("dataset", "problem", f"{place}: {error.problem}", remedy)


def _compiled_code() -> Iterator[Finding]:
    from backtest.core.compiled import cache_folder

    folder = cache_folder()
    files = [path for path in folder.glob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    if not _writable(folder):
        yield Finding(
            "compiled code",
            "problem",
            f"{folder} cannot be written to, so every process compiles for seconds",
            "Name a folder that can be written to in the environment variable NUMBA_CACHE_DIR.",
        )
    elif files:
        yield Finding("compiled code", "ok", f"{folder}: {len(files)} files, {size / 1e6:,.1f} MB")
    else:
        yield Finding("compiled code", "ok", f"{folder}: empty, so the first run takes longer")
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        yield Finding(
            "compiled code",
            "note",
            "NUMBA_DISABLE_JIT is set, so loops run as plain Python, a hundred times as slow",
            "Unset it, unless you are debugging.",
        )


def _runs(folder: Path) -> Iterator[Finding]:
    there = folder.exists()
    count = len(list(folder.glob("[!.]*/manifest.json"))) if there else 0
    free = shutil.disk_usage(_existing(folder)).free
    found = f"{folder}: {count} finished, {free / 1e9:,.1f} GB free"
    if not _writable(folder):
        yield Finding(
            "runs", "problem", f"{folder} cannot be written to", "Name another folder with --runs."
        )
    elif free < LEAST_FREE:
        remedy = "Free some: `backtest runs rm`, `backtest predictions prune`."
        yield Finding("runs", "problem", found, remedy)
    else:
        yield Finding("runs", "ok", found)


def _terminal() -> Iterator[Finding]:
    encoding = sys.stdout.encoding or "ascii"
    try:
        _SIGNS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        yield Finding(
            "terminal",
            "problem",
            f"its encoding is {encoding}, so signs such as ± are shown as escapes",
            "Set PYTHONUTF8=1, or a UTF-8 locale such as LC_ALL=C.UTF-8.",
        )
    else:
        yield Finding("terminal", "ok", encoding)


def _existing(path: Path) -> Path:
    """The path, or the first of its parents that is there."""
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())


def _writable(folder: Path) -> bool:
    nearest = _existing(folder)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
