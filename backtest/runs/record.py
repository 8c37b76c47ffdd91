"""What readers rely on in a run's ``manifest.json`` and ``metrics.json``, checked as they are read.

Both may hold more than is named here: accountants add figures of their own.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from backtest.core.json_text import read_json_table
from backtest.core.text import first_of, suggested_path
from backtest.core.zones import known_zone
from backtest.errors import DataError

_REMEDY = "Name the folder of a finished run, or run it again with --no-reuse."
_OLDER = "Run it again with --no-reuse, or remove its folder."
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


_Count: TypeAlias = Annotated[int, Field(ge=0, le=2**63 - 1)]
_Instant: TypeAlias = Annotated[int, Field(ge=-(2**63) + 1, le=2**63 - 1)]
_Figure: TypeAlias = Annotated[int | float, Field(ge=-_LARGEST, le=_LARGEST)]
_Number: TypeAlias = Annotated[float, Field(ge=-1e100, le=1e100)]
_Digest: TypeAlias = Annotated[str, Field(pattern="^[0-9a-f]{1,64}$")]
_Unit: TypeAlias = Annotated[Decimal, BeforeValidator(_money_unit)]
_Session: TypeAlias = Annotated[tuple[_Instant, _Instant], Field(strict=False)]
_Sessions: TypeAlias = Annotated[list[_Session], AfterValidator(_ordered)]
_Length: TypeAlias = Annotated[int, Field(gt=0, le=2**63 - 1)]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True, allow_inf_nan=False)


class _Loop(_Table):
    kind: str
    why: str | None = None


class _Labels(_Table):
    strategy: str
    policy: str
    service: str
    feed: str
    entry: str
    response: str
    accountant: str
    sizing: str | None = None
    quoting: str | None = None
    queue: str | None = None
    cancel: str | None = None
    replace: str | None = None


class _Part(_Table):
    name: str


class _Entry(_Part):
    span: _Count | None = None

    @model_validator(mode="after")
    def _spanned(self) -> _Entry:
        if self.name == "constant" and self.span is None:
            raise ValueError("constant has no span")
        return self


class _Latency(_Table):
    service: _Part
    feed: _Part
    entry: _Entry
    response: _Part
    scale: Annotated[float, Field(ge=0)]


class _Window(_Table):
    start: _Instant | None
    end: _Instant | None


class _Config(_Table):
    dataset: str
    strategy: _Part
    latency: _Latency
    window: _Window
    limit: _Count | None
    symbols: list[str] | None
    seed: Annotated[int, Field(ge=0)]
    device: str
    undropped: bool = False
    warmup: _Count


class _Origin(_Table):
    sha256: str | None = None


class _Inputs(_Table):
    data: str
    fingerprint: dict[str, Any] | None = None
    versions: dict[str, Any] | None = None
    origins: dict[str, _Origin] | None = None


class _Resumed(_Table):
    event: _Count | None = None
    answered: _Count


class _Predictions(_Table):
    key: _Digest | None
    reused: bool = False
    strategy: str | None = None
    answered: _Count | None = None
    seconds: Annotated[float, Field(ge=0, le=1e15)] | None = None
    resumed: _Resumed | None = None


class _Notes(_Table):
    answers: _Predictions
    undropped: _Predictions | None = None
    reference: _Predictions | None = None


class _Calendar(_Table):
    zone: Annotated[str, AfterValidator(known_zone)]
    sessions: _Sessions | None
    open_ns_a_day: _Length
    open_ns_a_year: _Length


class _Manifest(_Table):
    run: str
    digest: str
    partial: bool
    in_sample: bool | None
    loop: _Loop
    conformance: str | None
    reference: str | None = None
    dataset: str
    calendar: _Calendar | None = None
    labels: _Labels
    config: _Config
    determined_by: _Inputs
    predictions: _Notes
    seconds: Annotated[float, Field(ge=0, le=1e15)] | None = None


class _Quantiles(_Table):
    p50: _Figure | None
    p99: _Figure | None
    max: _Figure | None


class _Delays(_Table):
    feed: _Quantiles | None = None
    queueing: _Quantiles | None = None
    service: _Quantiles | None = None
    sojourn: _Quantiles


class _Timing(_Table):
    events: _Count
    dropped: _Count
    expired: _Count
    conflated: _Count
    sojourn_growth: _Number | None = None
    response_rate: Annotated[float, Field(ge=0, le=1)] | None
    latency_ns: _Delays


class _Against(_Table):
    correlation: _Number | None = None
    rmse: _Number | None = None


class _ByTarget(_Table):
    forecast: dict[str, _Number]
    outputs: list[dict[str, _Number]]


class _AgainstTargets(_Table):
    ic: _Number | None = None
    r2: _Number | None = None
    by_target: dict[str, _ByTarget] | None = None


class _Accuracy(_Table):
    reference: _Against | None
    targets: _AgainstTargets | None = None
    no_opinion: Annotated[float, Field(ge=0, le=1)] | None = None


class _Account(_Table):
    currency: str | None = None
    money_unit: _Unit = Decimal("1e-9")
    net: _Figure | None = None
    ideal: _Figure | None = None
    missed: _Figure | None = None
    silence: _Figure | None = None
    liquidity: _Figure | None = None
    decision: _Figure | None = None
    feed: _Figure | None = None
    queueing: _Figure | None = None
    service: _Figure | None = None
    entry: _Figure | None = None
    rest: _Figure | None = None
    spread: _Figure | None = None
    impact: _Figure | None = None
    fees: _Figure | None = None
    turnover: _Figure | None = None
    exposure: _Figure | None = None
    net_points: _Number | None = None
    total_requests: _Count | None = None
    total_responses: _Count | None = None
    response_rate: _Number | None = None
    average_latency_ms: _Number | None = None
    max_absolute_error: list[_Number] | None = None
    mean_absolute_error: list[_Number] | None = None


class _Metrics(_Table):
    timing: _Timing
    accuracy: _Accuracy
    account: _Account


def read_manifest(path: Path) -> dict[str, Any]:
    """What was run.

    Raises:
        DataError: the file cannot be read, or a key that readers rely on is missing or wrong.
    """
    return _checked(path, _Manifest)


def read_metrics(path: Path) -> dict[str, Any]:
    """What came out, in figures.

    Raises:
        DataError: as ``read_manifest``.
    """
    return _checked(path, _Metrics)


def _checked(path: Path, model: type[BaseModel]) -> dict[str, Any]:
    folder = path.parent
    near = None if folder.exists() else suggested_path(folder)
    value = read_json_table(path, remedy=near or _REMEDY)
    try:
        model.model_validate(value)
    except ValidationError as error:
        errors = error.errors()
        keys = [".".join(map(str, each["loc"])) for each in errors]
        named = first_of(keys, 1)
        if {"run", "digest"} <= value.keys() and errors[0]["type"] == "missing":
            problem = f"is the folder of a run in an older format, without {named}"
            raise DataError(problem, place=str(path), remedy=_OLDER) from None
        problem = errors[0]["msg"].removeprefix("Value error, ")
        problem = f"is not the folder of a run: {named}: {problem}"
        raise DataError(problem, place=str(path), remedy=_REMEDY) from None
    return value
