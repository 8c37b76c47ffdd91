"""Verification of a quoting rule: what a run relies on, however it groups the rows.

Each ``check_*`` takes an ``Asking`` and a seed and raises AssertionError where something fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.conformance.inputs import random_cuts, uneven_cuts
from backtest.conformance.verification import Check, Verdict
from backtest.core.arrays import Float32Array, Int64Array
from backtest.core.grammar import format_spec, parse_spec
from backtest.core.tracebacks import describe
from backtest.errors import BacktestError
from backtest.market.quotes import UNLIMITED, Quotes

if TYPE_CHECKING:
    from backtest.core.callbacks import StepCallback
    from backtest.core.parts import Parts

Asker = Callable[[Any, Float32Array, Quotes], Int64Array]
"""What a run makes of a rule, predictions [n, outputs] and quotes [n]: int64 [n, 4]. It raises
``RunError`` where a run would stop."""

ROWS = 400

_OUTPUTS = (15, 1)
"""Outputs of the strategies that a rule is tried with: the first number that it takes."""

_NAMES = ("bid offset", "bid lots", "ask offset", "ask lots")


@dataclass
class Asking:
    """A rule under test, and what it is asked about.

    Attributes:
        make: a new rule of the same parameters.
        asker: of ``trading.quoting``.
        keep: the number that leaves a side as it is.
        outputs: of the predictions.
    """

    make: Callable[[], Any]
    asker: Asker
    keep: int
    outputs: int

    def given(self, seed: int) -> tuple[Float32Array, Quotes]:
        """Predictions [n, outputs] and quotes [n]."""
        return random_rows(seed, self.outputs)

    def wanted(self, rule: Any, given: tuple[Float32Array, Quotes], rows: Int64Array) -> Int64Array:
        """What a rule wants at some rows, which it is given alone."""
        predictions, quotes = given
        return self.asker(rule, predictions[rows], quotes.take(rows))


def verify_quoting(
    plugins: Parts,
    spec: str | Mapping[str, Any],
    *,
    asker: Asker,
    keep: int,
    seed: int,
    on_step: StepCallback,
) -> Verdict:
    """The verdict on a quoting rule.

    Args:
        asker, keep: as ``Asking`` has them.

    Raises:
        BacktestError: it cannot be made.
    """

    def make() -> Any:
        return plugins.create("quoting rule", spec, place="STRATEGY")

    make()
    outputs = _outputs_of(make, seed)
    asking = Asking(make, asker, keep, outputs)
    text = format_spec(parse_spec(spec, place="STRATEGY"))
    verdict = Verdict(text, "cpu", "quick", seed, None, kind="quoting rule")
    verdict.notes.append(f"it was asked with {outputs} outputs and {ROWS} quotes")
    for name, check in CHECKS.items():
        began = time.perf_counter()
        problem = _problem(check, asking, seed)
        detail = problem or (check.__doc__ or "").partition("\n")[0].replace("``", "")
        seconds = time.perf_counter() - began
        verdict.checks.append(Check(name, problem is None, True, detail, seconds))
        found = verdict.checks[-1].result + ("" if problem is None else f"; {problem}")
        on_step(f"{text}: {name}: {found}")
    return verdict


def random_rows(seed: int, outputs: int, n: int = ROWS) -> tuple[Float32Array, Quotes]:
    """Predictions, normal and now and then 0, and quotes of eight symbols in the order of time.

    Spreads are 0 (locked) to 4 ticks; one symbol has no displayed sizes, one has prices below 0.
    """
    random = np.random.default_rng(seed)
    predictions = random.normal(size=(n, outputs)).astype(np.float32)
    predictions[random.random(n) < 0.1] = 0
    symbol = random.integers(0, 8, n).astype(np.int32)
    bid = 10_000 + np.cumsum(random.integers(-3, 4, n)) - 30_000 * (symbol == 7)
    sizes = np.where(symbol == 6, UNLIMITED, random.integers(1, 60, (2, n)))
    ts_event = 1_700_000_000_000_000_000 + np.cumsum(random.integers(0, 10**9, n))
    ask = bid + random.integers(0, 5, n)
    return predictions, Quotes(symbol, ts_event, bid, ask, sizes[0], sizes[1])


def check_form(asking: Asking, seed: int) -> None:
    """Whole numbers [n, 4] within what a market has, also of a single row."""
    given = asking.given(seed)
    for rows in (np.arange(ROWS), np.arange(1)):
        try:
            asking.wanted(asking.make(), given, rows)
        except BacktestError as error:
            problem = error.problem if error.remedy is None else f"{error.problem}. {error.remedy}"
            raise AssertionError(problem) from None


def check_keep(asking: Asking, seed: int) -> None:
    """``KEEP`` is given as it is: nothing is added to it, and it is not scaled or rounded."""
    predictions, quotes = asking.given(seed)
    with np.errstate(all="ignore"):
        wanted = np.asarray(asking.make().quote(predictions, quotes))
    near = (np.abs(wanted.astype(np.float64)) > 2.0**62) & (wanted != asking.keep)
    if near.any():
        row, column = np.argwhere(near)[0].tolist()
        raise AssertionError(
            f"{_NAMES[column]} of row {row} is {wanted[row, column]}: KEEP ({asking.keep}) was "
            "calculated with"
        )


def check_inputs(asking: Asking, seed: int) -> None:
    """What it is given is not written to."""
    predictions, quotes = asking.given(seed)
    before, quotes_before = asking.given(seed)
    asking.asker(asking.make(), predictions, quotes)
    assert np.array_equal(predictions, before, equal_nan=True), "it changed the predictions"
    for column in fields(quotes):
        same = np.array_equal(getattr(quotes, column.name), getattr(quotes_before, column.name))
        assert same, f"it changed {column.name} of the quotes"


def check_determinism(asking: Asking, seed: int) -> None:
    """The same rows give the same quotes, asked again, after others, and by a new rule."""
    rule, rows = asking.make(), np.arange(ROWS)
    given = asking.given(seed)
    wanted = asking.wanted(rule, given, rows).copy()
    _same(asking.wanted(rule, given, rows), wanted, rows, "asked again")
    asking.wanted(rule, asking.given(seed + 1), rows)
    _same(asking.wanted(rule, given, rows), wanted, rows, "asked again after other rows")
    _same(asking.wanted(asking.make(), given, rows), wanted, rows, "asked of a new rule")


def check_batching(asking: Asking, seed: int) -> None:
    """Quotes do not depend on which other rows are asked for with a row, nor on their order."""
    random = np.random.default_rng(seed)
    given, rows = asking.given(seed), np.arange(ROWS)
    wanted = asking.wanted(asking.make(), given, rows).copy()
    ways = {
        "one row at a time": range(1, ROWS),
        "cut at random": random_cuts(ROWS, random),
        "cut unevenly": uneven_cuts(ROWS, random),
    }
    for way, cuts in ways.items():
        rule = asking.make()
        parts = [asking.wanted(rule, given, part).copy() for part in np.split(rows, [*cuts])]
        _same(np.concatenate(parts), wanted, rows, way)
    order = random.permutation(ROWS)
    _same(asking.wanted(asking.make(), given, order), wanted[order], order, "in another order")


CHECKS: Mapping[str, Callable[[Asking, int], None]] = {
    "form": check_form,
    "keep": check_keep,
    "inputs": check_inputs,
    "determinism": check_determinism,
    "batching": check_batching,
}


def _same(found: Int64Array, wanted: Int64Array, rows: Int64Array, way: str) -> None:
    apart = np.argwhere(found != wanted)
    if len(apart):
        row, column = apart[0].tolist()
        raise AssertionError(
            f"{way}: {_NAMES[column]} of row {rows[row]} is {found[row, column]}, not "
            f"{wanted[row, column]}"
        )


def _outputs_of(make: Callable[[], Any], seed: int) -> int:
    """A number of outputs that a rule takes; the last where it takes none, which is a finding."""
    for outputs in _OUTPUTS[:-1]:
        try:
            make().quote(*random_rows(seed, outputs))
        except Exception:  # it may want fewer
            continue
        return outputs
    return _OUTPUTS[-1]


def _problem(check: Callable[[Asking, int], None], asking: Asking, seed: int) -> str | None:
    """What a check found wrong; a crash counts, too."""
    try:
        check(asking, seed)
    except AssertionError as error:
        return str(error)
    except Exception as error:
        return " ".join(describe(error).split())[:300]
    return None
