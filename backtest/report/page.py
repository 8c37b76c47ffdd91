"""The report as one HTML file that needs no network and lets no other scripts run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from backtest.comparison.comparison import Comparison
from backtest.core.grammar import parse_spec
from backtest.core.parts import Parts
from backtest.core.text import escape_lines
from backtest.core.version import __version__
from backtest.core.zones import clock_text
from backtest.report.charts import embedded
from backtest.report.material import Material
from backtest.report.sections import MOST_RUNS, ReportSection

_STYLES = ("uplot.css", "style.css")
_SCRIPTS = ("uplot.js", "picks.js", "charts.js", "tables.js", "effects.js")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A page, and the sections that failed while it was made, with their errors."""

    html: str
    failures: tuple[tuple[str, str], ...]


def render_report(
    compared: Comparison,
    plugins: Parts,
    sections: Sequence[str] = (),
    title: str | None = None,
    *,
    live: bool = False,
) -> Rendered:
    """The report of a comparison; the same runs give the same bytes.

    Args:
        sections: which, as text or tables; by default all that are registered and available.
        title: the page's; by default made from the datasets.
        live: as for ``page``.

    Raises:
        UsageError: there is no such section.
    """
    material = Material(compared)
    failures: list[tuple[str, str]] = []
    chapters = []
    chosen = _sections(plugins, sections)
    # Runs are picked for charts, and where they are served, also to compare them.
    picked = live or bool(sections) or len(compared.runs) <= MOST_RUNS
    if len(compared.runs) > MOST_RUNS and not sections:
        chosen = [(name, section) for name, section in chosen if section.many]
    for name, section in chosen:
        content: Markup | None
        try:
            content = section.render(material)
        except Exception as error:
            # A broken section must not affect the others; the page and the command both report it.
            failures.append((name, f"{type(error).__name__}: {error}"))
            content = Markup('<p class="warning">This section failed: {}</p>').format(
                failures[-1][1]
            )
        if content is not None:
            chapters.append({"name": name, "title": section.title, "content": content})
    html = page(
        title or _title(compared), _subtitle(compared), chapters,
        entries=material.names if picked else (), first=material.first if picked else (),
        live=live,
    )  # fmt: skip
    return Rendered(html, tuple(failures))


def page(
    title: str,
    subtitle: str,
    chapters: Sequence[dict[str, Any]],
    *,
    entries: Sequence[str],
    first: Sequence[int],
    live: bool = False,
) -> str:
    """The HTML of some chapters.

    Args:
        title, subtitle: of the page.
        chapters: each a ``name``, a ``title`` and ``content`` (escaped HTML).
        entries: names of what readers can pick, such as runs; ``Series.entry`` counts them from 0.
            Rows of tables that stand for an entry without a name cannot be picked.
        first: entries that are picked at first.
        live: whether ``backtest open`` serves it, and tells it of changes.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("backtest.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = "\n".join(map(_asset, _STYLES))
    script = "\n".join(map(_asset, (*_SCRIPTS, *(["live.js"] if live else []))))
    # Names may hold what reverses the text around them, or what no file can hold.
    return escape_lines(
        environment.get_template("page.html.j2").render(
            title=title,
            subtitle=subtitle,
            chapters=chapters,
            entries=embedded({"names": list(entries), "first": list(first)}),
            version=__version__,
            connect="; connect-src 'self'" if live else "",
            style=Markup(style),
            script=Markup(script),
            style_hash=_hash(style),
            script_hash=_hash(script),
        )
    )


def _sections(plugins: Parts, chosen: Sequence[str]) -> list[tuple[str, ReportSection]]:
    specs = chosen or [
        part.name for part in plugins.parts("report section") if part.unavailable is None
    ]
    place = "--section"
    made = [
        (parse_spec(spec, place=place).name, plugins.create("report section", spec, place=place))
        for spec in specs
    ]
    return sorted(made, key=lambda item: (item[1].place, item[0]))


def _asset(name: str) -> str:
    return (files("backtest.report") / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _title(compared: Comparison) -> str:
    datasets = dict.fromkeys(row["dataset"] for row in compared.rows)
    if len(compared.runs) == 1:
        return f"Tear sheet: {compared.labels[0]} on {', '.join(datasets)}"
    return f"Which variant to deploy on {', '.join(datasets)}"


def _subtitle(compared: Comparison) -> str:
    if len(compared.runs) == 1:
        (run,), (earned,) = compared.runs, compared.profits
        span = ""
        if len(earned.ends):
            ends = (earned.start, earned.ends[-1])
            first, last = (clock_text(int(t), compared.zone) for t in ends)
            span = f" from {first} to {last} {compared.zone}"
        return f"Run {run.id}{span}"
    strategies = dict.fromkeys(row["strategy"] for row in compared.rows)
    text = f"{len(compared.runs):,} runs of {', '.join(strategies)}"
    if len(compared.runs) > MOST_RUNS:
        text += f". For more than {MOST_RUNS:,} there are no charts: choose fewer, or a section."
    return text
