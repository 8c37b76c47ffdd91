"""The trials of a sweep that a run was chosen from, and what having had so many is worth."""

from __future__ import annotations

from dataclasses import dataclass

from backtest.comparison.comparison import Comparison
from backtest.comparison.intervals import Estimate, independent_buckets, sharpe_estimate
from backtest.comparison.multiple_testing import BestOfMany, best_of_many
from backtest.comparison.overfitting import (
    deflated_benchmark,
    independent_trials,
    least_track_record,
    moments,
    overfitting_probability,
    probabilistic_sharpe,
)
from backtest.comparison.profits import gains
from backtest.comparison.run_settings import settings, ticks
from backtest.runs.folder import Run

_CONDITIONS = ("latency.feed", "latency.entry", "latency.response", "latency.scale", "accountant")


@dataclass(frozen=True, slots=True)
class Trials:
    """What a sweep's trials say of a run that was chosen from them. Ratios are a bucket.

    Attributes:
        count: trials on the same ticks under the same latencies and costs, this run included.
        independent: how many independent ones they amount to.
        sharpe: the run's Sharpe ratio, with its interval.
        probabilistic: probability that its true ratio exceeds 0.
        benchmark: the highest ratio to expect if all of the trials are worth nothing.
        deflated: probability that its true ratio exceeds ``benchmark``.
        buckets: how many independent buckets its profits amount to.
        needed: how many it takes for ``deflated`` to be 95 %; infinite if no number will do.
        overfitting: probability that the best of half of the window is no better than the median
            in the other; ``None`` if buckets are too few.
        best: whether the best trial earns more than nothing; ``None`` likewise.
    """

    count: int
    independent: float
    sharpe: Estimate
    probabilistic: float
    benchmark: float
    deflated: float
    buckets: float
    needed: float
    overfitting: float | None
    best: BestOfMany | None

    def sentence(self, name: str) -> str:
        """Such as ``eager was chosen from 24 trials of the sweep (9.3 independent ones): ...``."""
        figures = [f"deflated Sharpe ratio {100 * self.deflated:.1f} %"]
        if self.overfitting is not None:
            figures.append(f"probability of overfitting {100 * self.overfitting:.0f} %")
        if self.best is not None:
            figures.append(f"SPA p = {self.best.spa:.2g}")
        return (
            f"{name} was chosen from {self.count} trials of the sweep ({self.independent:.1f} "
            f"independent ones): {', '.join(figures)}."
        )


def trials_behind(compared: Comparison, chosen: int) -> Trials | None:
    """The trials of the comparison's sweep that compete with one of its runs.

    Args:
        compared: runs and, if they come from a sweep, all runs of it.
        chosen: the position of the run.

    Returns:
        ``None`` if it comes from no sweep or is its only trial, or if its profits do not vary.
    """
    run = compared.runs[chosen]
    rivals = [trial for trial in compared.trials if _conditions(trial) == _conditions(run)]
    ids = [trial.id for trial in rivals]
    if len(rivals) < 2 or run.id not in ids:
        return None
    earned = gains([compared.trial_profits[name] for name in ids])
    own = earned[ids.index(run.id)]
    sharpe = sharpe_estimate(own)
    if sharpe is None:
        return None
    ratio, skewness, kurtosis = moments(own)
    varying = earned[earned.std(axis=1) > 0]
    ratios = varying.mean(axis=1) / varying.std(axis=1, ddof=1)
    variance = float(ratios.var(ddof=1)) if len(ratios) > 1 else 0.0
    independent, buckets = independent_trials(earned), independent_buckets(own)
    benchmark = deflated_benchmark(variance, independent)
    shape = {"skewness": skewness, "kurtosis": kurtosis}
    return Trials(
        count=len(rivals),
        independent=independent,
        sharpe=sharpe,
        probabilistic=probabilistic_sharpe(ratio, buckets, **shape),
        benchmark=benchmark,
        deflated=probabilistic_sharpe(ratio, buckets, than=benchmark, **shape),
        buckets=buckets,
        needed=least_track_record(ratio, than=benchmark, **shape),
        overfitting=overfitting_probability(earned),
        best=best_of_many(earned),
    )


def _conditions(run: Run) -> tuple[object, ...]:
    """What a trial does not choose: the ticks, the way to the venue, and how it is paid."""
    table = settings(run)
    return (ticks(run), *(str(table[name]) for name in _CONDITIONS))
