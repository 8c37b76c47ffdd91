"""Folds of a walk-forward: stretches to train on, each with the one after it to test on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backtest.core.times import format_duration
from backtest.errors import UsageError
from backtest.runs.run_config import Span


class Folds(BaseModel):
    """The table ``[folds]`` of a sweep file; all spans in ns.

    ``rolling``: each fold trains on a stretch of length ``train`` that begins ``step`` after the
    one before; ``expanding``: on everything from the beginning. ``test`` is the length of the
    stretches that are tested on. ``purge``: how far targets reach ahead; those that reach into the
    test stretch are not learnt from. ``embargo``: what is left out between train and test stretch.
    ``warmup``: of what precedes the test stretch, so much is answered first to fill the state,
    without trading; with 0, state begins as new.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    kind: Literal["rolling", "expanding"] = "rolling"
    train: Span = Field(gt=0)
    test: Span = Field(gt=0)
    step: Span | None = None
    purge: Span = 0
    embargo: Span = 0
    warmup: Span = 0

    @model_validator(mode="after")
    def _apart(self) -> Folds:
        if self.step is not None and self.step < self.test:
            raise ValueError("step is shorter than test, so that test stretches would overlap")
        return self


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold; instants in ns, stretches half-open.

    Attributes:
        number: from 1 on.
        train: the stretch that is learnt from.
        purge: targets of events less than this before the end of ``train`` are not.
        warm: where the events that fill the state begin.
        test: the stretch that is tested on.
    """

    number: int
    train: tuple[int, int]
    purge: int
    warm: int
    test: tuple[int, int]


def cut_folds(folds: Folds, start: int, end: int) -> list[Fold]:
    """The folds of a window; the last test stretch may be shorter than the others.

    Args:
        folds: what is asked for.
        start, end: the window, half-open, ns.

    Raises:
        UsageError: it is too short for one.
    """
    step = folds.test if folds.step is None else folds.step
    found: list[Fold] = []
    while True:
        moved = len(found) * step
        first = start + (moved if folds.kind == "rolling" else 0)
        trained = start + moved + folds.train
        test = trained + folds.embargo
        if test >= end:
            break
        found.append(
            Fold(
                number=len(found) + 1,
                train=(first, trained),
                purge=max(folds.purge - folds.embargo, 0),
                warm=max(test - folds.warmup, start),
                test=(test, min(test + folds.test, end)),
            )
        )
    if not found:
        raise UsageError(
            f"a window of {format_duration(end - start)} has no room for a fold",
            place="folds",
            remedy=f"Training and embargo take {format_duration(folds.train + folds.embargo)}.",
        )
    return found
