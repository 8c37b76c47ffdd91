"""Components are made from text or tables, every parameter parsed to its declared type."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.core.grammar import Spec, parse_spec
from backtest.core.parameters import (
    Nanoseconds,
    as_table,
    build,
    convert,
    format_value,
    parameters,
)
from backtest.core.text import suggestion
from backtest.core.times import format_duration, parse_duration
from backtest.errors import UsageError

LONGEST = 2**63 - 1


@dataclass
class Deadline:
    n: int
    d: Nanoseconds = 5_000_000
    mode: Literal["soft", "hard"] = "soft"
    rate: float | None = None
    sizes: tuple[int, ...] = (1, 2)
    table: Path | None = None
    strict: bool = False
    cache: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError("n must be at least 1")


def make(text: str | dict[str, Any]) -> Any:
    return build(Deadline, parse_spec(text, place="--policy"), place="--policy")


@given(st.integers(-LONGEST, LONGEST))
def test_durations_round_trip(ns: int) -> None:
    assert parse_duration(format_duration(ns)) == ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("35.8ms", 35_800_000),
        ("0ns", 0),
        ("250us", 250_000),
        ("250µs", 250_000),
        (" 1.5 s ", 1_500_000_000),
        ("-2min", -120_000_000_000),
        ("1h", 3_600_000_000_000),
        ("1e-3s", 1_000_000),
        ("0.000000001s", 1),
        ("9223372036854775807ns", LONGEST),
    ],
)
def test_durations(text: str, ns: int) -> None:
    assert parse_duration(text) == ns


@pytest.mark.parametrize(
    "text",
    ["", "5", "ms", "5 days", "5MS", "1..2s", ".s", "nan s", "infs", "5msms", "1e999999s"],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time span"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0.5ns", "1e-99s", "0.10000000000000000000000000000001s"])
def test_fractions_of_a_nanosecond_are_refused_not_rounded(text: str) -> None:
    with pytest.raises(ValueError, match="not a whole number of nanoseconds"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["9223372036854775808ns", "1e99h", "-300000000h"])
def test_durations_beyond_int64_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "0ns"), (999, "999ns"), (35_800_000, "35.8ms"), (100 * 10**9, "100s"), (-1500, "-1.5us")],
)
def test_durations_are_written_in_the_largest_unit_that_fits(ns: int, text: str) -> None:
    assert format_duration(ns) == text


def test_a_spec_from_text() -> None:
    assert parse_spec("affine:35.8ms, 0.5ms", place="x") == Spec("affine", ("35.8ms", "0.5ms"))
    assert parse_spec("d:1,k = v", place="x") == Spec("d", ("1",), {"k": "v"})
    assert parse_spec("one", place="x") == Spec("one")


def test_a_spec_from_a_table() -> None:
    table = {"name": "affine", "base": "5ms"}
    assert parse_spec(table, place="x") == Spec("affine", (), {"base": "5ms"})
    assert table == {"name": "affine", "base": "5ms"}


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (":5", "name is missing"),
        ("", "name is missing"),
        ("a:k=1,2", "has no name, but follows"),
        ("a:k=1,k=2", "given twice"),
        ({"base": 1}, "needs a name"),
        ({"name": 3}, "needs a name"),
    ],
)
def test_malformed_specs(spec: str | dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        parse_spec(spec, place="--policy")
    assert str(caught.value.place).startswith("--policy")


def test_parameters_are_the_fields_of_the_constructor() -> None:
    declared = {p.name: p for p in parameters(Deadline)}
    assert list(declared) == ["n", "d", "mode", "rate", "sizes", "table", "strict"]
    assert declared["n"].required
    assert not declared["d"].required
    assert [p.type_name for p in declared.values()] == [
        "a whole number",
        "a time span",
        "soft | hard",
        "a number",
        "a list (a whole number, joined by '+')",
        "a path",
        "true or false",
    ]
    assert parameters(int) == []


def test_building_from_text() -> None:
    made = make("deadline:8,d=1.5ms,mode=hard,rate=none,sizes=4+8,table=a/b,strict=yes")
    assert made == Deadline(8, 1_500_000, "hard", None, (4, 8), Path("a/b"), True)
    assert make("deadline:n=8,rate=0.5") == Deadline(8, rate=0.5)


def test_building_from_a_table() -> None:
    table = {"name": "deadline", "n": 8, "d": "1.5ms", "sizes": [4, 8], "rate": 1, "strict": True}
    made = make(table)
    assert made == Deadline(8, 1_500_000, rate=1.0, sizes=(4, 8), strict=True)
    assert type(made.rate) is float


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("deadline", "'n' is missing"),
        ("deadline:m=1", "no parameter 'm'"),
        ("deadline:n=1,modd=soft", "Did you mean 'mode'"),
        ("deadline:8,n=8", "given twice"),
        ("deadline:1,2s,soft,1,1,x,no,8", "8 values for 7 parameters"),
        ("deadline:x", "'x' is not a whole number"),
        ("deadline:1.5", "'1.5' is not a whole number"),
        ("deadline:0", "n must be at least 1"),
        ("deadline:1,5", "not a time span"),
        ("deadline:1,mode=firm", "not one of soft, hard"),
        ("deadline:1,rate=nan", "not a number"),
        ("deadline:1,rate=inf", "not a number"),
        ("deadline:1,strict=maybe", "not true or false"),
        ("deadline:1,sizes=1+x", "'x' is not a whole number"),
        ("deadline:1,cache=1", "no parameter 'cache'"),
        ({"name": "deadline", "n": True}, "True is not a whole number"),
        ({"name": "deadline", "n": 1.0}, "1.0 is not a whole number"),
        ({"name": "deadline", "n": 1, "d": 1.5}, "not a time span"),
        ({"name": "deadline", "n": 1, "rate": math.inf}, "inf is not a finite number"),
        ({"name": "deadline", "n": 1, "table": 3}, "3 is not a path"),
    ],
)
def test_refused_parameters_name_themselves_and_their_place(
    spec: str | dict[str, Any], problem: str
) -> None:
    with pytest.raises(UsageError) as caught:
        make(spec)
    assert problem in str(caught.value)
    assert str(caught.value.place).startswith("--policy 'deadline'")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 3),
        (float, 0.1),
        (str, "a"),
        (bool, True),
        (Path, Path("a/b")),
        (Nanoseconds, 1_500),
        (Nanoseconds | None, 1_500),
        (Nanoseconds | None, None),
        (tuple[int, ...], (1, 2)),
        (tuple[Nanoseconds, ...], (1, 1_000_000)),
        (Literal["a", 2], 2),
    ],
)
def test_values_are_written_as_they_are_read(kind: Any, value: object) -> None:
    assert convert(format_value(value, kind), kind) == value


def test_anything_goes_where_anything_is_declared() -> None:
    assert convert([1], Any) == [1]


def test_a_component_as_a_table() -> None:
    assert as_table(Deadline(8, table=Path("a/b")), "deadline") == {
        "name": "deadline",
        "n": 8,
        "d": 5_000_000,
        "mode": "soft",
        "rate": None,
        "sizes": (1, 2),
        "table": "a/b",
        "strict": False,
    }


def test_a_table_builds_the_component_again() -> None:
    made = Deadline(8, 1, "hard", 0.5, (3,), Path("x"), True)
    assert make(as_table(made, "deadline")) == made


def test_suggestions() -> None:
    assert suggestion("momentun", ["momentum", "mean"]) == "Did you mean 'momentum'?"
    assert suggestion("zzz", ["momentum"]) is None
