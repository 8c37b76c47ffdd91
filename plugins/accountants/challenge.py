"""The challenge's accountant: answers earn points for accuracy and lose them for latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from backtest.core.arrays import Float64Array
from backtest.core.parameters import Nanoseconds
from backtest.errors import UsageError
from backtest.trading.accountant import (
    Account,
    Accountant,
    RunTerms,
    SettledEvents,
    Settlement,
)


@dataclass(frozen=True)
class ChallengeAccountant(Accountant):
    """Points for accuracy against the dataset's targets, minus a charge for latency; no prices.

    An answer with mean absolute error e over the outputs and sojourn time t earns
    ``reward x exp(-e / error_scale) - reward x t / break_even``: a perfect answer earns nothing if
    it takes ``break_even``, and loses if it takes longer. An event without an answer, or whose
    answer is no opinion, costs ``silence``. The public challenge's own score was a black box; this
    formula is the project's.

    Attributes:
        reward: earned by a perfect answer in no time, in points.
        error_scale: mean absolute error at which the reward has fallen to 1/e.
        break_even: sojourn time at which a perfect answer earns nothing.
        silence: lost by an event without an answer, in points.
    """

    reward: float = 1.0
    error_scale: float = 0.1
    break_even: Nanoseconds = 1_000_000_000
    silence: float = 1.0

    needs_targets: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.error_scale <= 0 or self.break_even <= 0:
            raise ValueError(
                f"error_scale and break_even must be above 0, not {self.error_scale} and"
                f" {self.break_even}"
            )

    def join(
        self, accounts: Sequence[Mapping[str, Any]], shares: Sequence[float]
    ) -> Mapping[str, Any]:
        added = ("net_points", "points_answered", "points_silence")
        counts = {
            name: sum(account[name] for account in accounts)
            for name in (*added, "total_requests", "total_responses")
        }
        requests, responses = counts["total_requests"], counts["total_responses"]
        answered = [account for account in accounts if account["total_responses"]]
        weights = [account["total_responses"] for account in answered]
        average, errors, worst = None, None, None
        if answered:
            latencies = [account["average_latency_ms"] for account in answered]
            average = float(np.average(latencies, weights=weights))
            means = [account["mean_absolute_error"] for account in answered]
            errors = np.average(means, axis=0, weights=weights).tolist()
            worst = np.max([account["max_absolute_error"] for account in answered], axis=0).tolist()
        return counts | {
            "response_rate": responses / requests if requests else None,
            "average_latency_ms": average,
            "max_absolute_error": worst,
            "mean_absolute_error": errors,
        }

    def open(self, terms: RunTerms) -> Settlement:
        if terms.outputs != terms.targets:
            raise UsageError(
                f"the strategy has {terms.outputs} outputs per event, the dataset {terms.targets} "
                "targets",
                place="accountant 'challenge'",
                remedy="Choose a strategy that predicts every target.",
            )
        return _ChallengeSettlement(self, terms)


class _ChallengeSettlement(Settlement):
    """Sums the points, chunk by chunk."""

    def __init__(self, accountant: ChallengeAccountant, terms: RunTerms) -> None:
        self._accountant = accountant
        self._terms = terms
        self._requests = self._responses = 0
        self._sojourn = 0
        self._net = self._earned = 0.0
        self._error: Float64Array = np.zeros(terms.outputs)
        self._worst: Float64Array = np.zeros(terms.outputs)

    def add(self, settled: SettledEvents) -> None:
        import pyarrow as pa

        rules, targets = self._accountant, settled.targets
        assert targets is not None  # needs_targets
        paid = np.arange(settled.first, settled.first + len(settled)) >= self._terms.warmup
        answered = settled.answered & paid & ~np.isnan(settled.answers.forecast)
        error = np.abs(settled.answers.predictions - targets)[answered].astype(np.float64)  # [n, T]
        sojourn = (settled.timing.ended - settled.timing.received)[answered]  # ns
        accuracy = np.exp(-error.mean(axis=1) / rules.error_scale)
        earned = rules.reward * (accuracy - sojourn / rules.break_even)
        points = np.where(paid, -rules.silence, 0.0)
        points[answered] = earned
        self._requests += int(paid.sum())
        self._responses += len(sojourn)
        self._sojourn += int(sojourn.sum())
        self._net += float(points.sum())
        self._earned += float(earned.sum())
        self._error += error.sum(axis=0)
        self._worst = np.maximum(self._worst, error.max(axis=0, initial=0.0))
        names = pa.array(self._terms.symbols, pa.string())
        codes = pa.array(settled.events.symbol.copy())
        when = pa.array(settled.events.ts_event.copy(), pa.timestamp("ns", "UTC"))
        self._terms.sink.write(
            "points",
            pa.RecordBatch.from_pydict(
                {
                    "ts": when,
                    "symbol": pa.DictionaryArray.from_arrays(codes, names),
                    "points": points,
                }
            ),
        )

    def finish(self) -> Account:
        silent = self._requests - self._responses
        metrics = {
            "net_points": self._net,
            "points_answered": self._earned,
            "points_silence": -self._accountant.silence * silent,
        }
        return Account(metrics | self._evaluator())

    def _evaluator(self) -> dict[str, Any]:
        """The figures of the challenge's local evaluator; errors are ``None`` without answers."""
        responses = self._responses
        return {
            "total_requests": self._requests,
            "total_responses": responses,
            "response_rate": responses / self._requests if self._requests else None,
            "average_latency_ms": self._sojourn / responses / 1e6 if responses else None,
            "max_absolute_error": self._worst.tolist() if responses else None,
            "mean_absolute_error": (self._error / responses).tolist() if responses else None,
        }
