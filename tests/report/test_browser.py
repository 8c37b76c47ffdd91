"""The report in a real browser: nothing complains, nothing is fetched, nothing injected runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from html import unescape
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from markupsafe import Markup

from backtest.comparison.comparison import compare
from backtest.comparison.run_selection import runs_at
from backtest.plugins.manager import load_plugins
from backtest.report.charts import Axis, Chart, Series
from backtest.report.page import page, render_report
from tests.report.hostile import hostile_runs

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.one_python,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine"),
]

QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom",
)  # fmt: skip

DRIVER = """
<script>
const plot = document.querySelector("figure.chart .plot");
const press = (key) => plot.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const note = (name, value) => document.documentElement.setAttribute("data-" + name, value);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
addEventListener("load", async () => {
  await pause(200);
  charts.of(plot.parentNode);
  await pause(50);
  press("ArrowRight"); press("ArrowRight");
  await pause(50);
  note("readout", plot.parentNode.querySelector(".readout").textContent);
  note("shown", picks.shown().length);
  document.querySelector(".chip").click();
  note("left", picks.shown().length);
  const board = document.querySelector("#leaderboard .scroll.data");
  const firsts = () => [...board.querySelectorAll("tbody tr")]
    .map((row) => row.cells[1].textContent).join("|");
  board.querySelector("thead th:nth-child(2) button").click();
  note("falling", firsts());
  board.querySelector("thead th:nth-child(2) button").click();
  note("rising", firsts());
  note("rows", charts.of(plot.parentNode).rows().length);
  dispatchEvent(new Event("beforeprint"));
  note("drawn", document.querySelectorAll("figure.chart canvas").length);
  note("figures", document.querySelectorAll("figure.chart").length);
});
</script>
"""


NARROW = r"""<style>body { width: 400px; }</style><script>
const written = [], write = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
  const half = this.measureText(text).width / 2;
  if (this.textAlign === "center" && /\d/.test(text)) written.push([y, x - half, x + half, text]);
  return write.apply(this, arguments);
};
</script>"""
"""The texts that are drawn, and where."""

WRITTEN = """<script>
addEventListener("load", async () => {
  await new Promise((resolve) => setTimeout(resolve, 200));
  written.length = 0;
  const chart = charts.of(document.querySelector("figure.chart"));
  await new Promise((resolve) => setTimeout(resolve, 50));
  written.length = 0;
  chart.u.redraw();
  await new Promise((resolve) => setTimeout(resolve, 50));
  document.documentElement.setAttribute("data-written", JSON.stringify(written));
});
</script>"""


@dataclass
class Visit:
    """What a browser made of a page: the document, its console, and what it asked for."""

    dom: str
    console: list[str]
    requests: list[str]


def visit(html: str, folder: Path) -> Visit:
    file, log = folder / "page.html", folder / "net.json"
    file.write_text(html, encoding="utf-8")
    assert BROWSER is not None
    command = [
        BROWSER, *QUIET, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}",
        file.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    urls = set()
    for event in json.loads(log.read_text())["events"]:
        params = event.get("params") or {}
        url = params.get("url", "")
        # What the browser asks for on its own account has no origin.
        of_page = params.get("initiator", "not an origin") != "not an origin"
        if of_page and re.match(r"(https?|wss?)://", url):
            urls.add(url)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Visit(done.stdout, console, sorted(urls))


@pytest.fixture(scope="module")
def report(finished_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    runs = hostile_runs(finished_runs, tmp_path_factory.mktemp("hostile"))
    return render_report(compare(runs_at([runs])), load_plugins(entry_points=False)).html


def test_a_report_of_hostile_runs(report: str, tmp_path: Path) -> None:
    seen = visit(report, tmp_path)
    assert seen.console == []
    assert seen.requests == []
    title = re.search(r"<title>([^<]*)</title>", seen.dom)
    assert title is not None
    assert title[1].startswith("Which variant to deploy on")
    assert seen.dom.count("<h2") == report.count("<h2")


SHOWN_AND_PRINTED = """
<script>
addEventListener("load", () => {
  dispatchEvent(new Event("beforeprint"));
  const note = (name, value) => document.documentElement.setAttribute("data-" + name, value);
  note("drawn", document.querySelectorAll("figure.chart canvas").length);
  note("figures", document.querySelectorAll("figure.chart").length);
  note("wide", document.documentElement.scrollWidth - document.documentElement.clientWidth);
});
</script>
"""


def test_the_tear_sheet_of_a_hostile_run(finished_runs: Path, tmp_path: Path) -> None:
    runs = runs_at([hostile_runs(finished_runs, tmp_path)])[:1]
    sheet = render_report(compare(runs), load_plugins(entry_points=False))
    assert sheet.failures == ()
    assert 'id="round-trips"' in sheet.html
    seen = visit(sheet.html, tmp_path)
    assert seen.console == []
    assert seen.requests == []
    assert "<title>Tear sheet: " in seen.dom
    driven = re.sub(r"<meta http-equiv[^>]*>", "", sheet.html)
    seen = visit(driven.replace("</body>", SHOWN_AND_PRINTED + "</body>"), tmp_path)
    told = dict(re.findall(r'data-([a-z]+)="([^"]*)"', seen.dom[:2000]))
    assert seen.console == []
    assert told["drawn"] == told["figures"]
    assert told["wide"] == "0"


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("2024-10-14T23:50:00", "2024-10-15T00:40:00"),
        ("2024-10-14T21:00:00", "2024-10-15T05:00:00"),
        ("2024-10-14T12:59:59.800", "2024-10-14T13:00:00.700"),
        ("2024-12-31T23:59:58", "2025-01-01T00:00:02"),
    ],
)
def test_labels_of_times_do_not_overlap(tmp_path: Path, begin: str, end: str) -> None:
    """In a chart as narrow as on a phone, where the date changes near the left edge."""
    edges = [datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() for text in (begin, end)]
    x = np.linspace(edges[0], edges[1], 50)
    chart = Chart("Net", Axis.of_clock("UTC"), Axis("USD"), [Series("net", None, x, np.sin(x))])
    chapter = {"name": "a", "title": "A", "content": chart.render()}
    html = page("Title", "", [chapter], entries=(), first=())
    html = re.sub(r"<meta http-equiv[^>]*>", lambda _: NARROW, html)
    html = html.replace("</body>", WRITTEN + "</body>")
    seen = visit(html, tmp_path)
    assert seen.console == []
    (written,) = re.findall(r'data-written="([^"]*)"', seen.dom[:20000])
    labels = [(y, low, high, text) for y, low, high, text in json.loads(unescape(written))]
    assert any(re.fullmatch(r"\d{4}-\d\d-\d\d.*", text) for *_, text in labels)
    for (y, _, high, one), (below, low, _, other) in pairwise(sorted(labels)):
        assert y != below or high <= low, (one, other)


def test_the_policy_stops_what_escaping_would_let_through(tmp_path: Path) -> None:
    bad = (
        "<script>document.title='owned'</script>"
        "<p id=x onclick=\"document.title='owned'\" style='color:red'>x</p>"
        "<img src='http://127.0.0.1:9/x.png'>"
    )
    chapter = {"name": "bad", "title": "Bad", "content": Markup(bad)}
    seen = visit(page("Title", "", [chapter], entries=(), first=()), tmp_path)
    assert "<title>Title</title>" in seen.dom
    assert seen.requests == []
    assert len([line for line in seen.console if "Content Security Policy" in line]) >= 3


def test_without_the_policy_they_would_be_seen(tmp_path: Path) -> None:
    bad = "<title>x</title><script>document.title='owned'</script><img src='http://127.0.0.1:9/x'>"
    seen = visit(bad, tmp_path)
    assert "<title>owned</title>" in seen.dom
    assert seen.requests == ["http://127.0.0.1:9/x"]


def test_charts_keyboard_picks_and_sorting_work(report: str, tmp_path: Path) -> None:
    driven = re.sub(r"<meta http-equiv[^>]*>", "", report).replace("</body>", DRIVER + "</body>")
    seen = visit(driven, tmp_path)
    assert seen.console == []
    told = dict(re.findall(r'data-([a-z]+)="([^"]*)"', seen.dom[:2000]))
    assert "p99 sojourn time, ms" in told["readout"]
    assert int(told["left"]) == int(told["shown"]) - 1
    falling = [float(v.replace(",", "")) for v in told["falling"].split("|")]
    assert falling == sorted(falling, reverse=True)
    assert [float(v.replace(",", "")) for v in told["rising"].split("|")] == sorted(falling)
    assert len(set(falling)) > 1
    assert int(told["rows"]) > 1
    assert told["drawn"] == told["figures"]
