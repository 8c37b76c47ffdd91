"""What the tests of strategies take from the conformance suite."""

from backtest.conformance.inputs import answers, random_cuts, random_events
from backtest.conformance.properties import CHECKS, Case, check_batching

__all__ = ["CHECKS", "Case", "answers", "check_batching", "random_cuts", "random_events"]
