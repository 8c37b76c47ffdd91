"""The challenge's accountant: every answer is paid for accuracy and pays for its latency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from backtest.core.parameters import Nanoseconds
from backtest.errors import UsageError
from backtest.trading.accountant import Account, Accountant, Ledger


@dataclass(frozen=True)
class ChallengeAccountant(Accountant):
    """Pays by accuracy and latency against the dataset's targets; it needs no prices.

    An answer with mean absolute error e over the outputs and sojourn time t earns
    ``reward x exp(-e / error_scale) - reward x t / break_even``: a perfect answer earns nothing if
    it takes ``break_even``, and loses if it takes longer. An event without an answer costs
    ``silence``. The public challenge's own score was a black box; this formula is the project's.

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
            raise ValueError("error_scale and break_even must be above 0")

    def account(self, ledger: Ledger) -> Account:
        import pyarrow as pa

        targets = ledger.targets
        assert targets is not None  # needs_targets
        outputs = ledger.answers.predictions.shape[1]
        if outputs != targets.shape[1]:
            raise UsageError(
                f"the strategy gives {outputs} outputs an event, the dataset {targets.shape[1]} "
                "targets",
                place="accountant 'challenge'",
                remedy="Choose a strategy that predicts every target.",
            )
        paid = np.arange(len(targets)) >= ledger.warmup
        answered = ledger.answers.answered & paid
        error = np.abs(ledger.answers.predictions - targets)[answered].astype(np.float64)  # [n, T]
        timing = ledger.timing
        sojourn = (timing.ended - timing.received)[answered]  # ns
        accuracy = np.exp(-error.mean(axis=1) / self.error_scale)
        earned = self.reward * (accuracy - sojourn / self.break_even)
        silent = int((paid & ~answered).sum())
        points = np.where(paid, -self.silence, 0.0)
        points[answered] = earned
        metrics = {
            "net_points": float(points.sum()),
            "points_answered": float(earned.sum()),
            "points_silence": -self.silence * silent,
            **_evaluator(int(paid.sum()), sojourn, error),
        }
        table = pa.table(
            {
                "ts": pa.array(ledger.events.ts_event, pa.timestamp("ns", "UTC")),
                "symbol": pa.array([ledger.symbols[s] for s in ledger.events.symbol], pa.string()),
                "points": points,
            }
        )
        return Account(metrics, {"points": table})


def _evaluator(requests: int, sojourn: Any, error: Any) -> dict[str, Any]:
    """What the challenge's local evaluator prints; errors are by output, ``None`` if no answer."""
    responses = len(sojourn)
    return {
        "total_requests": requests,
        "total_responses": responses,
        "response_rate": responses / requests if requests else None,
        "average_latency_ms": float(sojourn.mean()) / 1e6 if responses else None,
        "max_absolute_error": error.max(axis=0).tolist() if responses else None,
        "mean_absolute_error": error.mean(axis=0).tolist() if responses else None,
    }
