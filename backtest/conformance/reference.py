"""The right answers to input sets, computed once and shared by all who are held to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backtest.conformance.inputs import InputSet, answers
from backtest.core.parameters import as_table, as_text, parameters
from backtest.strategies.base import Session, Strategy

if TYPE_CHECKING:
    from backtest.core.parts import Parts
    from backtest.strategies.plain_steps import PlainSteps


@dataclass(frozen=True, slots=True)
class Truth:
    """What is right for an input set, and how well plain steps in the model's precision do.

    Attributes:
        source: a description of where it comes from.
        answers: float64 [n, outputs].
        state: of the shown symbols after the last event, by leaf.
        plain_answers, plain_state: the same by plain steps in the model's own precision; ``None``
            where ``answers`` are those already.
    """

    source: str
    answers: NDArray[Any]
    state: Mapping[str, NDArray[Any]]
    plain_answers: NDArray[Any] | None = None
    plain_state: Mapping[str, NDArray[Any]] | None = None


class References:
    """Truths by judge and input set.

    Args:
        session: what judges are bound to.
        sets: the input sets.
    """

    def __init__(self, session: Session, sets: list[InputSet]) -> None:
        self._session = session
        self._sets = sets
        self._truths: dict[str, dict[str, Truth] | None] = {}

    def by(self, judge: Strategy, name: str, *, other: bool) -> Mapping[str, Truth] | None:
        """Truth by input set; ``None`` if the judge has no plain steps and judges itself.

        Args:
            name: what the judge is registered as.
            other: it is not the strategy under test, so its own answers, one event at a time, serve
                where there are no plain steps.
        """
        key = f"{as_text(judge, name)} {other}"
        if key not in self._truths:
            self._truths[key] = self._compute(judge, name, other)
            free_memory()
        return self._truths[key]

    def _compute(self, judge: Strategy, name: str, other: bool) -> dict[str, Truth] | None:
        double = judge.plain_steps(self._session, double=True)
        if double is not None:
            right = self._stepped(double)
            del double
            free_memory()
            single = judge.plain_steps(self._session, double=False)
            assert single is not None  # one that can be cast need not be
            plain = self._stepped(single)
            source = f"plain steps of {name} in float64"
            return {s: Truth(source, *right[s], *plain[s]) for s in right}
        single = judge.plain_steps(self._session, double=False)
        if single is not None:
            source = f"plain steps of {name} in its own precision (it cannot be cast to float64)"
            return {s: Truth(source, *found) for s, found in self._stepped(single).items()}
        if not other:
            return None
        judge.bind(self._session)
        truths = {}
        for given in self._sets:
            judge.reset(range(len(self._session.symbols)))
            found = answers(judge, given.events, range(1, len(given.events)))
            state = judge.snapshot(given.shown)
            truths[given.name] = Truth(
                f"{name}, one event at a time", found.astype(np.float64), state
            )
        return truths

    def _stepped(self, steps: PlainSteps) -> dict[str, tuple[NDArray[Any], dict[str, Any]]]:
        found = {}
        for given in self._sets:
            assert given.events.features is not None  # input sets have them
            found[given.name] = steps.run(given.events.features, given.events.symbol, given.shown)
        return found


def judge_of(
    plugins: Parts, strategy: Strategy, name: str, reference: str | None
) -> tuple[Strategy, str]:
    """The strategy that another is held to, unbound, and its name.

    It is the one called ``reference``, else the one that the strategy names as its reference, else
    the strategy itself; it gets the parameters that both have.

    Raises:
        UsageError: there is none of that name.
    """
    wanted = reference or strategy.reference
    if wanted is None or wanted == name:
        return strategy, name
    known = {p.name for p in parameters(plugins.get("strategy", wanted, place="--reference"))}
    shared = {key: value for key, value in as_table(strategy, name).items() if key in known}
    spec = {**shared, "name": wanted}
    return plugins.create("strategy", spec, place="--reference"), wanted


def free_memory() -> None:
    """Give back what dropped strategies held on a device."""
    import gc
    import sys

    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
