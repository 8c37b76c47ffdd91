"""Progress of a sweep on stderr: a bar and the leaders on a terminal, a line per run elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from backtest.cli.console import err, escape_text
from backtest.cli.sweep_table import figure, title
from backtest.cli.tables import drawn, fits

if TYPE_CHECKING:
    from backtest.experiments.matrix import Matrix
    from backtest.experiments.sweep import Point, Sweep, Watcher

LEADERS = 8
"""Rows of the running leaderboard."""

FEW_LEADERS = 2
"""Rows of it on a terminal so narrow that each takes several lines."""


@contextmanager
def watching(matrix: Matrix) -> Iterator[Watcher]:
    """A watcher that shows every step."""
    for note in matrix.notes:
        err.print(f"Note: {note}", soft_wrap=True)
    if not err.is_terminal:
        yield _lines
        return
    view = _View()
    with Live(get_renderable=view.render, console=err, refresh_per_second=2, transient=True):
        yield view.watch


def span(seconds: float) -> str:
    """A time for people to read: ``1 h 02 min``, ``3 min 20 s``, ``45 s``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _lines(swept: Sweep, point: Point | None) -> None:
    total = len(swept.points)
    if point is None:
        if swept.planned == total:
            err.print(_planned(swept), soft_wrap=True)
        return
    result = f"net {figure(point, 'net')}" if point.figures.get("net") is not None else point.state
    if point.state == "failed":
        result = f"failed: {(point.error or '').partition(chr(10))[0]}"
    elif point.figures.get("net") is None and point.earned is not None:
        result = f"points {figure(point, 'net_points')}"
    err.print(
        f"{_ended(swept)}/{total} {title(point)}: {result}; {_rest(swept)}",
        soft_wrap=True,
    )


def _planned(swept: Sweep) -> str:
    pending = swept.pending()
    missing = {key for point in pending for key in swept.missing(point)}
    return (
        f"{len(swept.points)} runs, {len(pending)} to do with {len(missing)} inferences to "
        f"compute, {swept.slots} at once"
    )


def _ended(swept: Sweep) -> int:
    return len(swept.points) - len(swept.pending())


def _rest(swept: Sweep) -> str:
    if not swept.costs.runs:
        return "time left unknown"
    return f"{span(swept.seconds_left() / swept.slots)} left"


class _View:
    """The picture at a terminal; drawn between steps too, for the clock in it."""

    def __init__(self) -> None:
        self._began = monotonic()
        self._picture: RenderableType = Text("Planning")

    def watch(self, swept: Sweep, point: Point | None) -> None:
        """Draw anew after a step."""
        total = len(swept.points)
        if point is None and swept.planned < total:
            bar, words = swept.planned, f"planning {swept.planned}/{total}"
        else:
            bar, words = _ended(swept), f"{_ended(swept)}/{total} runs, {_rest(swept)}"
            if failed := len(swept.failed()):
                words += f", {failed} failed"
        line = Table.grid(padding=(0, 1))
        line.add_row(
            Text(escape_text(swept.matrix.name)), ProgressBar(total, bar, width=40), Text(words)
        )
        self._picture = Group(_leaders(swept), line)

    def render(self) -> RenderableType:
        """The last picture, with the time since the beginning."""
        return Group(self._picture, Text(f"{span(monotonic() - self._began)} so far", style="dim"))


def _leaders(swept: Sweep) -> RenderableType:
    done = [p for p in swept.leaderboard() if p.state == "done"][:LEADERS]
    if not done:
        return Text("")
    names = ("response_rate", "p99_ms", "net", "net_points")
    shown = [f for f in names if any(p.figures.get(f) is not None for p in done)]
    headers = [header.rpartition(".")[2] for header in done[0].settings] + shown
    rows = [[*p.settings.values(), *(figure(p, name) for name in shown)] for p in done]
    width = err.width
    if not fits(headers, rows, right=shown, width=width):
        rows = rows[:FEW_LEADERS]  # the bar below has to stay in sight
    return drawn(headers, rows, right=shown, width=width)
