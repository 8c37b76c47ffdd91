"""Parts and settings as text: what each spelling means, and that what is written is read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.core.grammar import Spec, format_spec, parse_setting, parse_spec, parse_untyped, split
from backtest.core.parameters import (
    Nanoseconds,
    Parameter,
    as_text,
    build,
    convert_list,
    parameters,
)
from backtest.core.settings import override, override_part
from backtest.errors import UsageError
from backtest.runs.run_config import parse_config


@dataclass
class Model:
    file: Path
    base: Nanoseconds = 0
    sizes: tuple[int, ...] = (1,)
    names: tuple[str, ...] = ()


@dataclass
class Rule:
    lots: int = 1


def declared(name: str, *, place: str) -> Mapping[str, Parameter]:
    return {p.name: p for p in parameters({"model": Model, "rule": Rule}[name])}


@pytest.mark.parametrize(
    ("text", "positional", "named"),
    [
        ("model", (), {}),
        (" model : ", (), {}),
        ("model:35.8ms, 0.5ms", ("35.8ms", "0.5ms"), {}),
        ("model:8, d = 5ms", ("8",), {"d": "5ms"}),
        ("model:a=", (), {"a": ""}),
        ("model:random:1", ("random:1",), {}),
        ("model:file=C:/a b/c[1].pt", (), {"file": "C:/a b/c[1].pt"}),
        ("model:file=it's,b=1", (), {"file": "it's", "b": "1"}),
        ("model:sizes=BTC=0.01+ETH=1", (), {"sizes": "BTC=0.01+ETH=1"}),
        ("model:'a,b=c',\"d,'e'\"", ("a,b=c", "d,'e'"), {}),
        (r"""model:'a\n',"a\n\"," """, ("a\\n", 'a\n",'), {}),
        ("model:file = 'a, b' ,b=1", (), {"file": "a, b", "b": "1"}),
        ("model:[1, 2],b=[5ms,'a]b']", (["1", "2"],), {"b": ["5ms", "a]b"]}),
        ("model:[]", ([],), {}),
        ("model:[['a'],[b,c]]", ([["a"], ["b", "c"]],), {}),
        ("model:inner='affine:1ms,2ms'", (), {"inner": "affine:1ms,2ms"}),
        ("model:[a=1,b=2]", (["a=1", "b=2"],), {}),
    ],
)
def test_parts(text: str, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
    assert parse_spec(text, place="x") == Spec("model", positional, named)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model:'a", "is not closed"),
        ("model:'a'b", "text follows it"),
        ("model:[a", "is not closed"),
        ("model:[a]b", "text follows it"),
        ("model:[a]b]", "needs quotes"),
        ("model:[a[1]]", "needs quotes"),
        ('model:"C:\\data"', "Unescaped"),
        ("model:a=1,'b=2'", "has no name, but follows"),
        ("model:a=1,a=2", "'a' is given twice"),
        (":a", "name is missing"),
    ],
)
def test_malformed_parts(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        parse_spec(text, place="--policy")
    assert caught.value.place == f"--policy {text!r}"


VALUES = st.recursive(st.text(), st.lists, max_leaves=5)
NAMES = st.from_regex(r"[a-z_]{1,5}", fullmatch=True)


@given(st.lists(VALUES), st.dictionaries(NAMES, VALUES))
def test_parts_are_read_as_they_were_written(positional: list[Any], named: dict[str, Any]) -> None:
    spec = Spec("model", tuple(positional), named)
    assert parse_spec(format_spec(spec), place="x") == spec


@given(
    st.text(min_size=1).map(Path),
    st.integers(0, 2**62),
    st.lists(st.integers()).map(tuple),
    st.lists(st.text()).map(tuple),
)
def test_components_are_read_as_they_were_written(
    file: Path, base: int, sizes: tuple[int, ...], names: tuple[str, ...]
) -> None:
    made = Model(file, base, sizes, names)
    assert build(Model, parse_spec(as_text(made, "model"), place="x"), place="x") == made


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("0.5", 0.5),
        ("true", True),
        ("[0, 1]", [0, 1]),
        ("[0.5, 'a']", [0.5, "a"]),
        ("{ start = 1 }", {"start": 1}),
        ("'1'", "1"),
        ("5ms", "5ms"),
        ("", ""),
        ("affine:5ms,1ms", "affine:5ms,1ms"),
        ("[affine:5ms, 'affine:5ms,1ms']", ["affine:5ms", "affine:5ms,1ms"]),
        ("[[A,B],[A]]", [["A", "B"], ["A"]]),
        ("1\nseed = 2", "1\nseed = 2"),
    ],
)
def test_values_of_settings(text: str, value: Any) -> None:
    read = parse_untyped(text, place="x")
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("seed=2", {"seed": 2}),
        (" latency . scale = 2.0", {"latency": {"service": "model:a,1ms", "scale": 2.0}}),
        ("window.start=2024-01-01", {"window": {"start": date(2024, 1, 1)}}),
        ("strategy=rule:2", {"strategy": "rule:2"}),
        (
            "latency.service.base=5ms",
            {"latency": {"service": {"name": "model", "file": "a", "base": "5ms"}}},
        ),
        (
            "latency.service.file=b,c=d.pt",
            {"latency": {"service": {"name": "model", "file": "b,c=d.pt", "base": "1ms"}}},
        ),
        ("strategy.file=07", {"strategy": [{"name": "model", "file": "07"}, "rule"]}),
        (
            "strategy.lots=[1,2]",
            {"strategy": ["model:a", {"name": "rule", "lots": ["1", "2"]}]},
        ),
    ],
)
def test_settings(setting: str, changed: dict[str, Any]) -> None:
    table = {"seed": 1, "strategy": ["model:a", "rule"], "latency": {"service": "model:a,1ms"}}
    before = repr(table)
    parts = {"strategy": declared, "latency.service": declared}
    assert override(table, [setting], parts) == table | changed
    assert repr(table) == before


def test_the_last_setting_of_a_key_counts() -> None:
    assert override({"seed": 1}, ["seed=2", "a.b=1", "seed=3", "a.c=2"]) == {
        "seed": 3,
        "a": {"b": 1, "c": 2},
    }
    part = override_part("model:a,1ms", ["base=2ms", "base=3ms"], declared)
    assert part == {"name": "model", "file": "a", "base": "3ms"}


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("seed", "'seed' is not KEY=VALUE"),
        ("=1", "'=1' is not KEY=VALUE"),
        ("a..b=1", "is not KEY=VALUE"),
        ("seed.x=1", "'seed' has no keys"),
        ("strategy.a.b=1", "'strategy' has no keys"),
        ("strategy.fil=1", "no parameter 'fil'\n  Did you mean 'file'?"),
        ("strategy.width=1", "Its parameters are: file (a path), "),
        ("strategy.file='a", "text follows it"),
        ("symbols=[A", "is not closed"),
    ],
)
def test_malformed_settings(setting: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        override({"seed": 1, "strategy": "model:a"}, [setting], {"strategy": declared})
    assert problem in str(caught.value)
    assert str(caught.value.place).startswith("--set")


def test_settings_of_one_part_name_their_place() -> None:
    given = override_part("model:a", ["strategy.base=1ms"], declared, above=["strategy"])
    assert given == {"name": "model", "file": "a", "base": "1ms"}
    with pytest.raises(UsageError, match=r"'seed' cannot be set(.|\n)*strategy.PARAMETER=VALUE"):
        override_part("model:a", ["seed=1"], declared, above=["strategy"])
    with pytest.raises(UsageError, match=r"'strategy\.base' cannot be set"):
        override_part("model:a", ["strategy.base=1ms"], declared)


def test_options_that_are_lists() -> None:
    assert convert_list("0, 0.5,1", tuple[float, ...], place="--x") == (0.0, 0.5, 1.0)
    assert convert_list("A,'B,C'", tuple[str, ...], place="--x") == ("A", "B,C")
    assert convert_list(None, tuple[float, ...], place="--x") is None
    for text, problem in [
        ("", "the list is empty"),
        ("1,,2", "'' is not a number\n  Write 1,2."),
        ("1,x", "'x' is not a number\n  Write 1,2."),
        ("1,nan", "'nan' is not a number"),
        ("1]", "needs quotes"),
        ("'1", "is not closed"),
    ]:
        with pytest.raises(UsageError) as caught:
            convert_list(text, tuple[float, ...], place="--x", remedy="Write 1,2.")
        assert str(caught.value).startswith("--x: ")
        assert problem in str(caught.value)


def test_other_separators() -> None:
    assert split("batched:weights='a/b' / all", "/", place="x") == ["batched:weights='a/b'", "all"]


def test_setting_keys() -> None:
    assert parse_setting("a . b= c = d ") == (["a", "b"], "c = d")


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (
            {"nonfinite": "zro"},
            "nonfinite: should be 'refuse' or 'zero', not 'zro'. Did you mean 'zero'?",
        ),
        ({"warmpu": 1}, "warmpu: no such key. Did you mean 'warmup'?"),
        ({"server": {"max_bach": 1}}, "server.max_bach: no such key. Did you"),
        ({"colour": 1}, "colour: no such key"),
    ],
)
def test_near_keys_and_values_of_a_configuration_are_named(
    more: dict[str, Any], problem: str
) -> None:
    table = {"dataset": "x", "strategy": "y", "latency": {"service": "z"}, **more}
    with pytest.raises(UsageError) as caught:
        parse_config(table, place="run.toml")
    assert problem in str(caught.value)
