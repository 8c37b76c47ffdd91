"""Pages in a real browser, looked at by axe-core: no serious violation, complaint or request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from backtest.api import sweep
from backtest.comparison.comparison import compare
from backtest.comparison.run_selection import runs_at
from backtest.data.dataset import open_dataset
from backtest.data.quality.describe import describe
from backtest.plugins.manager import load_plugins
from backtest.report.dataset_page import render
from backtest.report.loss_page import loss_page
from backtest.report.page import render_report
from tests.report.test_app import TOKEN, Site
from tests.report.test_browser import BROWSER

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")

pytestmark = [
    pytest.mark.one_python,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine"),
]

SWEEP = {
    "name": "sample",
    "dataset": "sample",
    "strategy": "imbalance",
    "policy": ["one", "all"],
    "sizing": "sign:lots=3,threshold=0.3",
    "latency": {"service": ["affine:1ms,0.5ms", "affine:20ms,2ms"], "entry": "constant:1ms"},
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of four runs of a sweep of the sample."""
    runs = tmp_path_factory.mktemp("swept")
    sweep(SWEEP, runs=runs, executor="inline")
    return runs


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


def check(browser: Any, url: str) -> None:
    """Open a page, draw its charts, and look at it wide and light, and narrow and dark."""
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_page(viewport={"width": 1300, "height": 900})
    messages: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(url)
    page.evaluate("document.querySelectorAll('figure.chart').forEach((box) => charts.of(box))")
    found = Axe().run(page).response["violations"]
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 400, "height": 900})
    found += Axe().run(page).response["violations"]
    page.close()
    bad = [
        (violation["help"], [(node["html"], node["failureSummary"]) for node in violation["nodes"]])
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]
    assert bad == []
    assert messages == []
    place = urlsplit(url)
    own = url if place.scheme == "file" else f"{place.scheme}://{place.netloc}/"
    assert [asked for asked in requests if not asked.startswith((own, "data:", "blob:"))] == []


def test_a_report_and_a_tear_sheet(browser: Any, swept: Path, tmp_path: Path) -> None:
    file, compared = tmp_path / "report.html", compare(runs_at([swept]))
    for some in (compared, compare(compared.runs[:1])):
        file.write_text(render_report(some, load_plugins(entry_points=False)).html)
        check(browser, file.as_uri())


def test_pages_that_are_served(browser: Any, swept: Path) -> None:
    site = Site(swept)
    try:
        (state,) = (swept / "sweeps").glob("*.json")
        for path in ("/", f"/sweep/{state.stem}"):
            check(browser, f"http://127.0.0.1:{site.port}{path}?token={TOKEN}")
    finally:
        site.close()


def test_a_dataset_and_a_training(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    for text in (
        render(describe(open_dataset("sample"))),
        loss_page("weights", [0.9, 0.8, 0.7], [0.9, 0.85, 0.86], 1),
    ):
        file.write_text(text)
        check(browser, file.as_uri())
