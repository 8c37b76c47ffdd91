"""The report: complete, the same every time, inert, and whole even where a section breaks."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from backtest.api import run
from backtest.comparison.comparison import Comparison, compare
from backtest.comparison.run_selection import runs_at
from backtest.errors import UsageError
from backtest.plugins.manager import load_plugins
from backtest.report.page import render_report
from backtest.runs.folder import MANIFEST
from tests.report.hostile import hostile_runs

TITLES = [
    "Verdict", "Leaderboard", "What each setting does", "Speed, accuracy and PnL",
    "Equity and drawdown", "Where the money went", "Latency", "Queue and response rate",
    "PnL against latency", "Markouts", "Accuracy against the targets",
    "Agreement with the reference", "Service time against batch size", "What was run", "Data",
]  # fmt: skip


@pytest.fixture(scope="module")
def compared(finished_runs: Path) -> Comparison:
    return compare(runs_at([finished_runs])).where("not partial")


def html(compared: Comparison, *sections: str) -> str:
    rendered = render_report(compared, load_plugins(entry_points=False), sections)
    assert rendered.failures == ()
    return rendered.html


def test_every_section_is_there_in_order(compared: Comparison) -> None:
    text = html(compared)
    assert re.findall(r"<h2[^>]*>([^<]*)</h2>", text) == TITLES
    assert "nets" in text
    assert "break-even scale" in text
    assert re.findall(r'href="#([^"]*)"', text)[1:] == re.findall(r'<section id="([^"]*)"', text)


def test_the_same_runs_give_the_same_bytes(finished_runs: Path, compared: Comparison) -> None:
    again = compare(runs_at([finished_runs])).where("not partial")
    assert html(again) == html(compared)


def test_twenty_variants_fit(finished_runs: Path, tmp_path: Path) -> None:
    folder = next(finished_runs.glob(f"*/{MANIFEST}")).parent
    manifest = json.loads((folder / MANIFEST).read_text())
    for k in range(20):
        shutil.copytree(folder, tmp_path / f"v{k}")
        manifest["run"] = f"v{k}"
        manifest["labels"]["strategy"] = f"variant-{k}"
        (tmp_path / f"v{k}" / MANIFEST).write_text(json.dumps(manifest))
    assert len(html(compare(runs_at([tmp_path]))).encode()) < 3_000_000


def test_chosen_sections(compared: Comparison) -> None:
    text = html(compared, "data", "verdict")
    assert re.findall(r"<h2[^>]*>([^<]*)</h2>", text) == ["Verdict", "Data"]
    with pytest.raises(UsageError, match="Did you mean 'verdict'"):
        html(compared, "verdit")


def test_charts_of_too_many_runs_are_left_out_and_said_to_be(
    compared: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backtest.report.page.MOST_RUNS", len(compared.runs) - 1)
    text = html(compared)
    titles = re.findall(r"<h2[^>]*>([^<]*)</h2>", text)
    assert titles == ["Leaderboard", "What each setting does", "What was run"]
    assert "there are no charts: choose fewer, or a section" in text
    assert '<figure class="chart">' in html(compared, "equity")
    # Without charts there is nothing to pick runs for, but where they are served.
    picks = '<script type="application/json" id="entries">{"names":['
    assert picks + "]" in text
    assert picks + '"' in html(compared, "equity")
    live = render_report(compared, load_plugins(entry_points=False), live=True).html
    assert picks + '"' in live


def test_manifests_of_many_runs_are_left_to_their_folders(
    compared: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert html(compared, "what-was-run").count("determined_by") == len(compared.runs)
    monkeypatch.setattr("backtest.plugins.report_sections.provenance.MANIFESTS", 2)
    text = html(compared, "what-was-run")
    assert text.count("determined_by") == 2
    assert "of the best 2 runs" in text


class Elements(HTMLParser):
    """Counts elements and collects attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.scripts += tag == "script" and ("type", "application/json") not in attrs
        self.attributes += attrs


def test_nothing_is_loaded_and_nothing_injected(finished_runs: Path, tmp_path: Path) -> None:
    text = html(compare(runs_at([hostile_runs(finished_runs, tmp_path)])))
    seen = Elements()
    seen.feed(text)
    assert seen.scripts == 1
    assert seen.names.count("style") == 1
    assert not {"img", "iframe", "object", "embed", "base", "form"} & set(seen.names)
    for name, value in seen.attributes:
        assert not name.startswith("on")
        assert name != "style"
        if name in ("href", "src"):
            assert value is not None
            assert value.startswith(("#", "data:,"))
    # No address but uPlot's own, in its licence note.
    own = "https://github.com/leeoniya/uPlot"
    assert "http" not in text.replace("http-equiv", "").replace(own, "")
    policy = next(v for n, v in seen.attributes if n == "content" and v and "default-src" in v)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "\\u003c/script\\u003e" in text


def test_hostile_names_reach_the_terminal_escaped(
    finished_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from backtest.cli import main

    runs = hostile_runs(finished_runs, tmp_path)
    for words in ([], ["--csv"], ["--markdown"], ["--differences"], ["--sort", "net"]):
        with pytest.raises(SystemExit) as caught:
            main(["compare", str(runs), *words])
        assert caught.value.code == 0
        captured = capsys.readouterr()
        assert "\x1b" not in captured.out + captured.err


BROKEN = """
    import backtest
    from backtest.report.sections import ReportSection

    class Mine(ReportSection):
        title = "Mine"
        place = 5
        def render(self, material):
            return None

    class Broken(ReportSection):
        title = "Broken"
        def render(self, material):
            raise KeyError("<b>oops</b>")

    class Silent(ReportSection):
        title = "Silent"
        place = 1
        def render(self, material):
            from markupsafe import Markup
            return Markup("<p>{}</p>").format(len(material.compared.runs))

    @backtest.hookimpl
    def backtest_register_report_sections(register):
        register("mine", Mine)
        register("broken", Broken)
        register("silent", Silent)
"""


def test_sections_are_plugins_and_a_broken_one_affects_no_other(
    compared: Comparison, tmp_path: Path
) -> None:
    path = tmp_path / "sections.py"
    path.write_text(dedent(BROKEN))
    plugins = load_plugins([path], entry_points=False)
    rendered = render_report(compared, plugins, ("mine", "broken", "silent", "data"))
    titles = re.findall(r"<h2[^>]*>([^<]*)</h2>", rendered.html)
    assert titles == ["Silent", "Data", "Broken"]
    assert "<p>4</p>" in rendered.html
    assert "This section failed: KeyError" in rendered.html
    assert "<b>oops" not in rendered.html
    assert [name for name, _ in rendered.failures] == ["broken"]


def test_runs_paid_in_points_and_runs_without_answers(small_dataset: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {"dataset": str(small_dataset), "strategy": "imbalance"}
    runs = [
        run(runs=tmp_path, latency={"service": "1"} | latency, **common, **settings)
        for latency, settings in (
            ({"service": "constant:1ms"}, {"accountant": "challenge"}),
            ({"service": "constant:5ms"}, {"accountant": "challenge"}),
            ({"service": "constant:1h"}, {"undropped": False}),
        )
    ]
    text = html(compare(runs))
    assert "points" in text
    assert ">nan<" not in text.lower()


def test_a_run_whose_dataset_and_predictions_are_gone(finished_runs: Path, tmp_path: Path) -> None:
    folder = next(finished_runs.glob(f"*/{MANIFEST}")).parent
    shutil.copytree(folder, tmp_path / "alone")
    manifest = json.loads((tmp_path / "alone" / MANIFEST).read_text())
    manifest["config"]["dataset"] = str(tmp_path / "absent")
    (tmp_path / "alone" / MANIFEST).write_text(json.dumps(manifest))
    titles = re.findall(r"<h2[^>]*>([^<]*)</h2>", html(compare(runs_at([tmp_path]))))
    assert "Agreement with the reference" not in titles
    assert "Accuracy against the targets" in titles
    assert "Markouts" not in titles
    assert "Latency" in titles


def test_no_name_steers_the_text_around_it(finished_runs: Path, tmp_path: Path) -> None:
    folder = next(finished_runs.glob(f"*/{MANIFEST}")).parent
    shutil.copytree(folder, tmp_path / "run")
    manifest = json.loads((folder / MANIFEST).read_text())
    steering = "\x1b[31m\x00\u202e\u2066\u200b\u2028\ufeff\x9b"
    manifest["labels"]["strategy"] = manifest["dataset"] = f"a{steering}b"
    manifest["conformance"] = steering
    (tmp_path / "run" / MANIFEST).write_text(json.dumps(manifest))
    text = html(compare(runs_at([tmp_path / "run"])))
    assert r"\x1b[31m\x00\u202e\u2066\u200b\u2028\ufeff\x9b" in text
    assert not set(steering) - set("[31m") & set(text)
