"""The report sections that come with the project, in the order in which a trader reads them."""

from __future__ import annotations

from collections.abc import Callable

from backtest.plugins.hookspecs import hookimpl
from backtest.plugins.report_sections.accuracy import AccuracySection
from backtest.plugins.report_sections.folds import FoldsSection
from backtest.plugins.report_sections.money import (
    Attribution,
    Equity,
    LatencyScale,
    Markouts,
)
from backtest.plugins.report_sections.provenance import DataSummary, WhatWasRun
from backtest.plugins.report_sections.speed import LatencyDistributions, Load, ServiceTime
from backtest.plugins.report_sections.verdict import Frontier, Leaderboard, VerdictSection
from backtest.report.sections import ReportSection

_SECTIONS: dict[str, type[ReportSection]] = {
    "verdict": VerdictSection,
    "leaderboard": Leaderboard,
    "frontier": Frontier,
    "equity": Equity,
    "folds": FoldsSection,
    "attribution": Attribution,
    "latency": LatencyDistributions,
    "load": Load,
    "latency-scale": LatencyScale,
    "markouts": Markouts,
    "accuracy": AccuracySection,
    "service-time": ServiceTime,
    "what-was-run": WhatWasRun,
    "data": DataSummary,
}


@hookimpl
def backtest_register_report_sections(register: Callable[[str, type[ReportSection]], None]) -> None:
    for name, section in _SECTIONS.items():
        register(name, section)
