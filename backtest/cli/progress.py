"""Progress of a run on stderr: a bar on a terminal, one line per stage elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from backtest.cli.console import err, escape_text

_STAGES = {
    "time": "timing arrivals",
    "loop": "running the closed loop",
    "answers": "answering events",
    "reference": "answering all events (reference)",
    "undropped": "answering all events (ideal)",
    "charge": "settling",
    "generate": "generating events",
    "train": "training",
}


@contextmanager
def reporting(prefix: str = "") -> Iterator[Callable[[str, int, int], None]]:
    """A progress callback: (stage, done, total)."""
    if not err.is_terminal:
        yield _lines(prefix)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bars:
        tasks = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                shown = escape_text(prefix + _STAGES.get(stage, stage))
                tasks[stage] = bars.add_task(shown, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report


def _lines(prefix: str) -> Callable[[str, int, int], None]:
    shown: set[str] = set()

    def report(stage: str, done: int, total: int) -> None:
        if stage not in shown:
            shown.add(stage)
            err.print(f"{prefix}{_STAGES.get(stage, stage)}", soft_wrap=True)

    return report
