"""The report sections that come with the project, in the order in which a trader reads them."""

from __future__ import annotations

from collections.abc import Callable

from backtest.plugins.hookspecs import hookimpl
from backtest.plugins.report_sections.accuracy import AccuracySection, AgreementSection
from backtest.plugins.report_sections.capacity import CapacitySection
from backtest.plugins.report_sections.folds import FoldsSection
from backtest.plugins.report_sections.frontier import Frontier
from backtest.plugins.report_sections.leaderboard import Effects, Leaderboard
from backtest.plugins.report_sections.limits import LimitsSection
from backtest.plugins.report_sections.money import (
    Attribution,
    Equity,
    LatencyScale,
    Markouts,
)
from backtest.plugins.report_sections.provenance import DataSummary, WhatWasRun
from backtest.plugins.report_sections.resting import RestingSection
from backtest.plugins.report_sections.speed import LatencyDistributions, Load, ServiceTime
from backtest.plugins.report_sections.tear_sheet import Drawdowns, ExposureSection, KeyFigures
from backtest.plugins.report_sections.trades import LargestFills, RoundTripSection
from backtest.plugins.report_sections.verdict import VerdictSection
from backtest.plugins.report_sections.when import WhenAndWhere
from backtest.report.sections import ReportSection

_SECTIONS: dict[str, type[ReportSection]] = {
    "verdict": VerdictSection,
    "key-figures": KeyFigures,
    "leaderboard": Leaderboard,
    "effects": Effects,
    "frontier": Frontier,
    "equity": Equity,
    "drawdowns": Drawdowns,
    "exposure": ExposureSection,
    "folds": FoldsSection,
    "attribution": Attribution,
    "when-and-where": WhenAndWhere,
    "round-trips": RoundTripSection,
    "largest-fills": LargestFills,
    "resting-orders": RestingSection,
    "limits": LimitsSection,
    "capacity": CapacitySection,
    "latency": LatencyDistributions,
    "load": Load,
    "latency-scale": LatencyScale,
    "markouts": Markouts,
    "accuracy": AccuracySection,
    "agreement": AgreementSection,
    "service-time": ServiceTime,
    "what-was-run": WhatWasRun,
    "data": DataSummary,
}


@hookimpl
def backtest_register_report_sections(register: Callable[[str, type[ReportSection]], None]) -> None:
    for name, section in _SECTIONS.items():
        register(name, section)
