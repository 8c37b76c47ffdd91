"""Kinds of values in a run's ``manifest.json`` and ``metrics.json``."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

_LARGEST = 10**100
"""Money and figures: their squares are numbers of float64 still."""


def _money_unit(value: object) -> Decimal:
    if not isinstance(value, str) or len(value) > 40:
        raise ValueError("is not a decimal number as text")
    try:
        unit = Decimal(value)
    except ArithmeticError:
        raise ValueError("is not a decimal number") from None
    if not unit.is_finite() or not Decimal("1e-30") <= unit <= 1:
        raise ValueError("must be above 0 and at most 1")
    return unit


def _ordered(sessions: list[tuple[int, int]]) -> list[tuple[int, int]]:
    instants = [instant for session in sessions for instant in session]
    if instants != sorted(instants) or any(opens == closes for opens, closes in sessions):
        raise ValueError("are not in order, each closing after it opens")
    return sessions


Count: TypeAlias = Annotated[int, Field(ge=0, le=2**63 - 1)]
Instant: TypeAlias = Annotated[int, Field(ge=-(2**63) + 1, le=2**63 - 1)]
Figure: TypeAlias = Annotated[int | float, Field(ge=-_LARGEST, le=_LARGEST)]
Number: TypeAlias = Annotated[float, Field(ge=-1e100, le=1e100)]
Digest: TypeAlias = Annotated[str, Field(pattern="^[0-9a-f]{1,64}$")]
Unit: TypeAlias = Annotated[Decimal, BeforeValidator(_money_unit)]
Session: TypeAlias = Annotated[tuple[Instant, Instant], Field(strict=False)]
Sessions: TypeAlias = Annotated[list[Session], AfterValidator(_ordered)]
Length: TypeAlias = Annotated[int, Field(gt=0, le=2**63 - 1)]


class Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True, allow_inf_nan=False)
