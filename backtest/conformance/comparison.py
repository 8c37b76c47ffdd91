"""How far answers and state are from the right ones, and which class that makes.

Errors are measured in units of what is right: an answer's over the standard deviation of that
output, a state leaf's over the leaf's own root mean square.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backtest.strategies.base import ERROR_BOUNDS, Conformance

Floats = NDArray[np.float64]

ROUNDING = 1e-6
"""Eight roundings of a float32; smaller errors count as zero."""

WITHOUT_DOUBLE = ERROR_BOUNDS["exact"]
"""Bounds of an exact strategy where no float64 reference shows what float32 loses."""

CLOSE_RMS, CLOSE_MAX = ERROR_BOUNDS["close"], 0.3


@dataclass(frozen=True, slots=True)
class Error:
    """Of one output, or of one leaf of the state.

    Attributes:
        kind: what it is of.
        name: the output's number, or the leaf's path.
        rms: root mean square of the error, in units of what is right; infinite where one of the two
            is finite and the other is not, or where an integer differs.
        max: the largest one.
        plain_rms, plain_max: the same for the plain step in the model's own precision; ``None``
            where it is not known.
    """

    kind: Literal["output", "state"]
    name: str
    rms: float
    max: float
    plain_rms: float | None = None
    plain_max: float | None = None

    @property
    def measured(self) -> Conformance:
        """The narrowest class that this error allows."""
        if self.rms <= self.rms_bound and self.max <= self.max_bound:
            return "exact"
        # State is bounded in its norm only: one element may be small compared with others' errors.
        if self.rms <= CLOSE_RMS and (self.kind == "state" or self.max <= CLOSE_MAX):
            return "close"
        return "approximate"

    @property
    def rms_bound(self) -> float:
        """What ``rms`` may be in the exact class: four times the plain step's."""
        return WITHOUT_DOUBLE if self.plain_rms is None else max(4 * self.plain_rms, ROUNDING)

    @property
    def max_bound(self) -> float:
        """What ``max`` may be in the exact class: ten times the plain step's."""
        return 10 * WITHOUT_DOUBLE if self.plain_max is None else max(10 * self.plain_max, ROUNDING)


def output_errors(
    found: NDArray[Any], right: NDArray[Any], plain: NDArray[Any] | None = None
) -> list[Error]:
    """One error for each output.

    Args:
        found, right, plain: answers [n, outputs] under test, in float64, and of the plain step.
    """
    errors = []
    for i in range(right.shape[1]):
        wanted = right[:, i]
        finite = wanted[np.isfinite(wanted)]
        spread = float(np.std(finite)) if len(finite) else 0.0
        unit = spread or float(np.max(np.abs(finite), initial=0)) or 1.0
        errors.append(
            _error(
                "output", str(i), found[:, i], wanted, None if plain is None else plain[:, i], unit
            )
        )
    return errors


def state_errors(
    found: Mapping[str, NDArray[Any]],
    right: Mapping[str, NDArray[Any]],
    plain: Mapping[str, NDArray[Any]] | None = None,
) -> list[Error]:
    """One error for each leaf of the right state; infinite for one that was not found.

    Args:
        found, right, plain: ``{leaf: array [symbols, ...]}``, as ``Strategy.snapshot`` gives it.
    """
    errors = []
    for name, wanted in right.items():
        if name not in found or found[name].shape != wanted.shape:
            errors.append(Error("state", name, np.inf, np.inf))
            continue
        finite = np.abs(wanted[np.isfinite(wanted)]).astype(np.float64)
        unit = float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0
        own = None if plain is None else plain[name]
        errors.append(_error("state", name, found[name], wanted, own, unit or 1.0))
    return errors


def weakest(errors: Sequence[Error]) -> Conformance:
    """The class of the worst of them."""
    found = {error.measured for error in errors}
    if "approximate" in found:
        return "approximate"
    return "close" if "close" in found else "exact"


def holds(measured: Conformance, claimed: Conformance) -> bool:
    """Whether a class is at least as narrow as the one that is claimed."""
    order: list[Conformance] = ["exact", "close", "approximate"]
    return order.index(measured) <= order.index(claimed)


def distance(found: NDArray[Any], right: NDArray[Any]) -> Floats:
    """Absolute differences; 0 where both are the same infinity or both NaN, else infinite there."""
    if not np.issubdtype(right.dtype, np.inexact):
        return np.where(found == right, 0.0, np.inf)
    same = (found == right) | (np.isnan(found) & np.isnan(right))
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(found.astype(np.result_type(found, np.float64)) - right)
    apart[same] = 0
    return np.where(np.isnan(apart), np.inf, apart)


def _error(
    kind: Literal["output", "state"],
    name: str,
    found: NDArray[Any],
    right: NDArray[Any],
    plain: NDArray[Any] | None,
    unit: float,
) -> Error:
    rms, most = _size(distance(found, right) / unit)
    if plain is None:
        return Error(kind, name, rms, most)
    return Error(kind, name, rms, most, *_size(distance(plain, right) / unit))


def _size(apart: Floats) -> tuple[float, float]:
    if not apart.size:
        return 0.0, 0.0
    with np.errstate(over="ignore"):
        return float(np.sqrt(np.mean(apart**2))), float(np.max(apart))
