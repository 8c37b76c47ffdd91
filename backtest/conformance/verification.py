"""Verification of a strategy: invariances, errors against the right answers, and the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backtest.conformance.comparison import (
    CLOSE_MAX,
    CLOSE_RMS,
    WITHOUT_DOUBLE,
    Error,
    holds,
    output_errors,
    state_errors,
    weakest,
)
from backtest.conformance.decisions import check_decisions
from backtest.conformance.inputs import InputSet, answers
from backtest.conformance.properties import CHECKS, Case
from backtest.conformance.reference import References, Truth, free_memory, judge_of
from backtest.conformance.trials import Trials
from backtest.core.arrays import Float32Array
from backtest.core.callbacks import StepCallback
from backtest.core.grammar import format_spec, parse_spec
from backtest.core.tracebacks import describe
from backtest.errors import BacktestError
from backtest.strategies.base import Conformance, Strategy
from backtest.strategies.reacting import decides

if TYPE_CHECKING:
    from backtest.core.parts import Parts


@dataclass(frozen=True, slots=True)
class Check:
    """One property, or one comparison.

    Attributes:
        claimed: whether the strategy claims this property; if not, failing it is no fault.
        detail: what was found.
        seconds: how long it took.
    """

    name: str
    passed: bool
    claimed: bool
    detail: str
    seconds: float

    @property
    def result(self) -> str:
        """``pass``, ``FAIL``, or ``fails, as declared`` for a property that is not claimed."""
        if self.passed:
            return "pass"
        return "FAIL" if self.claimed else "fails, as declared"


@dataclass
class Verdict:
    """The result of a verification.

    Attributes:
        claimed: the class that the strategy claims; ``None``: it defines its own function.
        measured: the class that its errors make; ``None`` where there is nothing to hold it to.
        source: where the right answers come from.
        errors: by input set.
        notes: what else a reader should know.
        kind: ``strategy``, or ``quoting rule``.
    """

    strategy: str
    device: str
    level: str
    seed: int
    claimed: Conformance | None
    measured: Conformance | None = None
    source: str | None = None
    checks: list[Check] = field(default_factory=list)
    errors: dict[str, list[Error]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    kind: str = "strategy"

    @property
    def holds(self) -> bool:
        """Whether the strategy is what it claims to be."""
        return not self.failures

    @property
    def failures(self) -> list[Check]:
        """The checks that failed although the strategy claims what they check."""
        return [check for check in self.checks if check.claimed and not check.passed]

    def raise_for_failures(self) -> None:
        """Fail a test unless the strategy is what it claims to be.

        Raises:
            AssertionError: it is not; the message names every failed check, and the seed.
        """
        failed = "".join(f"\n  {check.name}: {check.detail}" for check in self.failures)
        if failed:
            problem = f"{self.strategy} is not what it claims to be (seed {self.seed})"
            raise AssertionError(f"{problem}:{failed}")


class Verification:
    """Verifies strategies on one device with the same events; right answers are computed once.

    Args:
        plugins: where strategies come from.
        trials: the events.
        reference: the name of the strategy to hold all to; by default what each names.
        on_step: called with each step as it begins.
    """

    def __init__(
        self, plugins: Parts, trials: Trials, *, reference: str | None = None, on_step: StepCallback
    ) -> None:
        self._plugins = plugins
        self._trials = trials
        self._reference = reference
        self._on_step = on_step
        self._references = References(trials.session, trials.sets)

    def verify(self, spec: str | Mapping[str, Any]) -> Verdict:
        """The verdict on a strategy.

        Raises:
            BacktestError: it cannot be made or bound.
        """
        make = _maker(self._plugins, spec)
        strategy = make()
        parsed = parse_spec(spec, place="STRATEGY")
        trials = self._trials
        verdict = Verdict(
            format_spec(parsed),
            trials.session.device,
            trials.level,
            trials.seed,
            strategy.conformance,
            notes=list(trials.notes),
        )
        self._on_step(f"{verdict.strategy}: the right answers")
        began = time.perf_counter()
        try:
            self._judge(verdict, strategy, parsed.name)
        except BacktestError:
            raise
        except Exception as error:  # a crash is a finding, too
            seconds = time.perf_counter() - began
            self._note(verdict, Check("answers", False, True, _describe(error), seconds))
        rms, most = _slack(verdict)
        del strategy
        free_memory()
        case = Case(make, trials.small_session, trials.small_events, most, rms, reuse=True)
        for check in self._properties(make(), case):
            self._note(verdict, check, brief=check.passed)  # what it is about is in the docs
        return verdict

    def _note(self, verdict: Verdict, check: Check, *, brief: bool = False) -> None:
        """Keep a check, and report it at once: the next may take minutes."""
        verdict.checks.append(check)
        found = check.result if brief else f"{check.result}; {check.detail}"
        self._on_step(f"{verdict.strategy}: {check.name}: {found}")

    def _judge(self, verdict: Verdict, strategy: Strategy, name: str) -> None:
        """Compare answers and state with the correct ones, where there is a reference."""
        judge, judge_name = judge_of(self._plugins, strategy, name, self._reference)
        if strategy.scope == "market":
            verdict.notes.append("state is shared across symbols, so only look-ahead is checked")
            return
        truths = self._references.by(judge, judge_name, other=judge is not strategy)
        del judge  # which may hold much of a device's memory
        if truths is None:
            verdict.notes.append("it has no reference, so only invariances are checked")
        else:
            self._compare(verdict, strategy, truths)

    def _compare(self, verdict: Verdict, strategy: Strategy, truths: Mapping[str, Truth]) -> None:
        self._on_step(f"{verdict.strategy}: binding")
        strategy.bind(self._trials.session)
        claimed = verdict.claimed
        every: list[Error] = []
        for given in self._trials.sets:
            truth = truths[given.name]
            verdict.source = truth.source
            for way, cuts in _groupings(given, strategy):
                began = time.perf_counter()
                strategy.reset(range(len(self._trials.session.symbols)))
                found = answers(strategy, given.events, cuts)
                seconds = time.perf_counter() - began
                if found.shape != truth.answers.shape:
                    detail = f"{found.shape[1]} outputs, not {truth.answers.shape[1]}"
                    passed = claimed in (None, "approximate")
                    check = Check("answers", passed, claimed is not None, detail, 0.0)
                    self._note(verdict, check)
                    verdict.measured = "approximate"
                    return
                errors = _errors(strategy, given, truth, found)
                for what, of in errors.items():
                    measured = weakest(of)
                    passed = claimed is None or holds(measured, claimed)
                    detail = f"{measured}; {_worst(of)}"
                    check = Check(f"{what}, {way}", passed, claimed is not None, detail, seconds)
                    self._note(verdict, check)
                    every += of
                verdict.errors[way] = [*errors["answers"], *errors.get("state", [])]
        verdict.measured = weakest(every)
        lost = max((error.plain_rms or 0.0 for error in every), default=0.0)
        if lost > CLOSE_RMS:
            verdict.notes.append(
                f"plain steps in the model's own precision are off by {lost:.1e} themselves: it "
                "does not give the same answers twice, or that precision is not enough for it"
            )

    def _properties(self, strategy: Strategy, case: Case) -> Iterable[Check]:
        unclaimed = set() if strategy.batch_invariant else {"batching"}
        market = strategy.scope == "market"
        checks = {k: v for k, v in CHECKS.items() if not market or k == "no look-ahead"}
        if decides(strategy):
            checks["decisions"] = check_decisions
        del strategy
        for name, check in checks.items():
            began = time.perf_counter()
            problem = _problem(check, case, self._trials.seed)
            if name == "reset" and problem is not None:
                case.distrust_reset()
            detail = problem or (check.__doc__ or "").partition("\n")[0].replace("``", "")
            seconds = time.perf_counter() - began
            yield Check(name, problem is None, name not in unclaimed, detail, seconds)


_ENOUGH = 200
"""Events in the last tenth that make a long run."""

_HISTORY = 8192
"""Events in a call where answers of a whole history are wanted (pass 2)."""


def _groupings(given: InputSet, strategy: Strategy) -> Iterator[tuple[str, Sequence[int]]]:
    """The ways to cut an input set into calls: their names, and where they cut."""
    yield given.name, given.cuts
    if strategy.batch_invariant:
        yield f"{given.name} as history", range(_HISTORY, len(given.events), _HISTORY)


def _errors(
    strategy: Strategy, given: InputSet, truth: Truth, found: Float32Array
) -> dict[str, list[Error]]:
    """Errors of the answers, of the last ones in a long run, and of the state after them."""
    errors = {"answers": output_errors(found, truth.answers, truth.plain_answers)}
    last = given.last_tenth()
    if len(last) >= _ENOUGH:
        plain = None if truth.plain_answers is None else truth.plain_answers[last]
        errors["answers at the end"] = output_errors(found[last], truth.answers[last], plain)
    if strategy.stateful and truth.state:
        kept = strategy.snapshot(given.shown)
        errors["state"] = state_errors(kept, truth.state, truth.plain_state)
    return errors


def _maker(plugins: Parts, spec: str | Mapping[str, Any]) -> Callable[[], Strategy]:
    def make() -> Strategy:
        strategy: Strategy = plugins.create("strategy", spec, place="STRATEGY")
        return strategy

    return make


def _slack(verdict: Verdict) -> tuple[float, float]:
    """How far two groupings may differ: twice what each may differ from the correct answers."""
    if verdict.measured is None or verdict.claimed is None:
        return WITHOUT_DOUBLE, WITHOUT_DOUBLE
    if verdict.claimed == "exact":
        outputs = [e for errors in verdict.errors.values() for e in errors if e.kind == "output"]
        most = max((e.max_bound for e in outputs), default=0.0)
        return WITHOUT_DOUBLE + 2 * most, WITHOUT_DOUBLE + 2 * most
    return 2 * CLOSE_RMS, 2 * CLOSE_MAX


def _worst(errors: list[Error]) -> str:
    if not errors:
        return "nothing to compare"
    worst = max(errors, key=lambda error: error.rms)
    text = f"worst {worst.kind} {worst.name}: RMS {worst.rms:.1e}, max {worst.max:.1e}"
    if worst.plain_rms is None:
        return text
    return f"{text} (plain float32: {worst.plain_rms:.1e}, {worst.plain_max:.1e})"


def _problem(check: Callable[[Case, int], None], case: Case, seed: int) -> str | None:
    """What a check found wrong; a crash counts, too."""
    try:
        check(case, seed)
    except BacktestError:
        raise
    except Exception as error:
        return _describe(error)
    return None


def _describe(error: Exception) -> str:
    """An exception as text: the message of a check's assertion, or a crash with its place."""
    text = str(error) if isinstance(error, AssertionError) else describe(error)
    return " ".join(text.split())[:300]
