"""Quoting rules are held to what a run relies on, and what they do wrong is named."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest.cli import main
from backtest.conformance.quoting import ROWS, random_rows
from backtest.market.quotes import UNLIMITED
from backtest.testing import verify
from backtest.trading.quoting import KEEP, QuotingRule

# What rules give is what is tested, so they may give anything.


def touch(quotes: Any, n: int) -> Any:
    """A lot on either side of the touch."""
    offset, lots = quotes.ask - quotes.bid, np.ones(n, dtype=np.int64)
    return np.stack([offset, lots, offset, lots], axis=1)


@dataclass(frozen=True)
class Sound(QuotingRule):
    """Keeps the ask while the first output is below 0."""

    lots: int = 1

    def quote(self, predictions: Any, quotes: Any) -> Any:
        wanted = self.lots * touch(quotes, len(predictions))
        wanted[predictions[:, 0] < 0, 3] = KEEP
        return wanted


class OneOutput(Sound):
    def quote(self, predictions: Any, quotes: Any) -> Any:
        assert predictions.shape[1] == 1
        return super().quote(predictions, quotes)


class Fractional(Sound):
    def quote(self, predictions: Any, quotes: Any) -> Any:
        return 0.5 * super().quote(predictions, quotes)


class OneDimension(Sound):
    def quote(self, predictions: Any, quotes: Any) -> Any:
        return super().quote(predictions, quotes)[0]


class NegativeLots(Sound):
    def quote(self, predictions: Any, quotes: Any) -> Any:
        return touch(quotes, len(predictions)) * [1, -1, 1, 1]


class KeepsMore(Sound):
    def quote(self, predictions: Any, quotes: Any) -> Any:
        return super().quote(predictions, quotes) + np.array([0, 0, 0, 2])


class Writes(Sound):
    def quote(self, predictions: Any, quotes: Any) -> Any:
        predictions *= 2
        return super().quote(predictions, quotes)


class Widens(Sound):
    def quote(self, predictions: Any, quotes: Any) -> Any:
        quotes.ask_size[:] = 1
        return super().quote(predictions, quotes)


class Centred(Sound):
    def quote(self, predictions: Any, quotes: Any) -> Any:
        wanted = super().quote(predictions, quotes)
        wanted[:, 0] += np.floor(9 * (predictions - predictions.mean())).astype(np.int64)[:, 0]
        return wanted


class Previous(Sound):
    def quote(self, predictions: Any, quotes: Any) -> Any:
        return super().quote(np.roll(predictions, 1, axis=0), quotes)


CALLS = [0]


class Counting(Sound):
    def quote(self, predictions: Any, quotes: Any) -> Any:
        CALLS[0] += 1
        return super().quote(predictions, quotes) + np.array([CALLS[0], 0, 0, 0])


class Crashing(Sound):
    def quote(self, predictions: Any, quotes: Any) -> Any:
        raise ZeroDivisionError("of lots")


@pytest.mark.parametrize(
    "rule", ["two-sided", "leaning:gain=3,pull=0.5", Sound, Sound(2), OneOutput]
)
@pytest.mark.parametrize("seed", range(3))
def test_a_sound_rule_passes(rule: Any, seed: int) -> None:
    verdict = verify(rule, seed=seed)
    verdict.raise_for_failures()
    assert [check.name for check in verdict.checks] == [
        "form", "keep", "inputs", "determinism", "batching"
    ]  # fmt: skip
    assert verdict.kind == "quoting rule"
    outputs = 1 if rule is OneOutput else 15
    assert verdict.notes == [f"it was asked with {outputs} outputs and {ROWS} quotes"]


@pytest.mark.parametrize(
    ("rule", "check", "problem"),
    [
        (Fractional, "form", "it gave float64 [400, 4], not whole numbers [400, 4]"),
        (OneDimension, "form", "it gave int64 [4], not whole numbers [400, 4]"),
        (NegativeLots, "form", "it wants bid lots of -1. Offsets are half ticks"),
        (KeepsMore, "keep", f"is {KEEP + 2}: KEEP ({KEEP}) was calculated with"),
        (Writes, "inputs", "it changed the predictions"),
        (Widens, "inputs", "it changed ask_size of the quotes"),
        (Centred, "batching", "one row at a time: bid offset of row "),
        (Previous, "batching", "one row at a time: ask lots of row "),
        (Counting, "determinism", "asked again: bid offset of row 0 is "),
        (Crashing, "form", "ZeroDivisionError: of lots"),
    ],
)
def test_what_is_wrong_is_named(rule: type, check: str, problem: str) -> None:
    verdict = verify(rule, seed=4)
    found = {failed.name: failed.detail for failed in verdict.failures}
    assert problem in found[check]
    with pytest.raises(AssertionError, match=r"is not what it claims to be \(seed 4\)"):
        verdict.raise_for_failures()


def test_the_rows_hold_what_markets_have() -> None:
    predictions, quotes = random_rows(0, 2)
    assert predictions.shape == (ROWS, 2)
    assert {0, 4} <= set((quotes.ask - quotes.bid).tolist())
    assert quotes.bid.min() < 0 < quotes.bid.max()
    assert (quotes.bid_size == UNLIMITED).any()
    assert (np.diff(quotes.ts_event) >= 0).all()
    assert (predictions == 0).all(axis=1).any()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["verify", *arguments, "--seed", "5"])
        return caught.value.code, *capsys.readouterr()

    code, printed, _ = run("leaning:gain=2", "imbalance", "--json")
    assert code == 0
    verdicts = json.loads(printed)
    assert [(v["kind"], v["strategy"]) for v in verdicts] == [
        ("quoting rule", "leaning:gain=2"), ("strategy", "imbalance")
    ]  # fmt: skip
    file = tmp_path / "odd.py"
    file.write_text(
        "import backtest\nfrom backtest.trading.quoting import QuotingRule\n"
        "class Odd(QuotingRule):\n"
        "    def quote(self, predictions, quotes):\n"
        "        return predictions\n"
        "@backtest.hookimpl\n"
        "def backtest_register_quoting_rules(register):\n"
        "    register('odd', Odd)\n"
    )
    code, printed, told = run("odd", "--plugin", str(file))
    assert code == 1
    assert "The quoting rule odd FAILS: form" in printed
    assert "odd: form: FAIL; it gave float32 [400, 15]" in told
    assert run("leaning:gian=2")[0] == 2
