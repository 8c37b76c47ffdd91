"""Parts that a run is put together from, made from text or tables: declared, typed parameters.

A component (strategy, batching policy, latency model, sizing rule, accountant, ...) is a dataclass;
its fields are its parameters. On a command line it is written ``NAME`` or ``NAME:VALUE,KEY=VALUE``,
values without a key filling the fields in order (``affine:35.8ms,0.5ms``, ``deadline:n=8,d=5ms``);
in a configuration file it is that text or a table with ``name`` and the parameters.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from backtest.core.text import suggestion
from backtest.core.times import format_duration, parse_duration
from backtest.errors import UsageError

Nanoseconds: TypeAlias = Annotated[int, "ns"]
"""A span of time: int64 ns inside, written with a unit (``250us``, ``35.8ms``) outside."""


_TYPE_NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
}


@dataclass(frozen=True, slots=True)
class Spec:
    """A component asked for by name, its parameters not yet checked against their types."""

    name: str
    positional: tuple[str, ...] = ()
    named: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One declared parameter of a component."""

    name: str
    type: Any
    default: Any
    required: bool

    @property
    def type_name(self) -> str:
        """The type as a person would write it."""
        return _type_name(self.type)


def parse_spec(value: str | Mapping[str, Any], *, place: str) -> Spec:
    """A spec from command-line text or a configuration table.

    Raises:
        UsageError: malformed text, or a table without a ``name``.
    """
    if isinstance(value, Mapping):
        table = dict(value)
        name = table.pop("name", None)
        if not isinstance(name, str):
            raise UsageError(
                "a component's table needs a name",
                place=place,
                remedy='Write for example name = "affine" in it.',
            )
        return Spec(name, (), table)
    name, _, rest = value.partition(":")
    positional: list[str] = []
    named: dict[str, str] = {}
    for part in rest.split(",") if rest else []:
        key, equals, text = part.partition("=")
        if not equals and named:
            raise UsageError(
                f"{part!r} follows a named parameter without a name of its own",
                place=f"{place} {value!r}",
                remedy="Write NAME:VALUE,... or NAME:KEY=VALUE,...",
            )
        if equals and key.strip() in named:
            raise UsageError(f"{key.strip()!r} is given twice", place=f"{place} {value!r}")
        if equals:
            named[key.strip()] = text.strip()
        else:
            positional.append(part.strip())
    if not name.strip():
        raise UsageError("the component's name is missing", place=f"{place} {value!r}")
    return Spec(name.strip(), tuple(positional), named)


def parameters(component: type) -> list[Parameter]:
    """The declared parameters of a component class, in order."""
    return [*_parameters(component)]


@cache
def _parameters(component: type) -> list[Parameter]:
    if not dataclasses.is_dataclass(component):
        return []
    hints = get_type_hints(component, include_extras=True)
    found = []
    for field in dataclasses.fields(component):
        if not field.init:
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        required = default is dataclasses.MISSING
        found.append(
            Parameter(field.name, hints[field.name], None if required else default, required)
        )
    return found


def build(component: type, spec: Spec, *, place: str) -> Any:
    """An instance of the component with the spec's parameters, each parsed to its declared type.

    Raises:
        UsageError: an unknown, missing or ill-typed parameter, or a value that the component
            itself refuses with ``ValueError``.
    """
    declared = {p.name: p for p in parameters(component)}
    where = f"{place} {spec.name!r}"
    if len(spec.positional) > len(declared):
        raise UsageError(
            f"{len(spec.positional)} values for {len(declared)} parameters",
            place=where,
            remedy=_listing(declared.values()),
        )
    given: dict[str, Any] = dict(zip(declared, spec.positional, strict=False))
    for key, value in spec.named.items():
        if key not in declared:
            raise UsageError(
                f"no parameter {key!r}",
                place=where,
                remedy=suggestion(key, declared) or _listing(declared.values()),
            )
        if key in given:
            raise UsageError(f"{key!r} is given twice", place=where)
        given[key] = value
    missing = [p.name for p in declared.values() if p.required and p.name not in given]
    if missing:
        raise UsageError(
            f"parameter {missing[0]!r} is missing",
            place=where,
            remedy=_listing(declared.values()),
        )
    values = {}
    for key, value in given.items():
        try:
            values[key] = convert(value, declared[key].type)
        except ValueError as error:
            raise UsageError(str(error), place=f"{where}, parameter {key!r}") from None
    try:
        return component(**values)
    except ValueError as error:
        raise UsageError(str(error), place=where) from None


def convert(value: Any, kind: Any) -> Any:
    """``value`` as the declared type ``kind``; text is parsed, other types must already fit.

    Raises:
        ValueError: it does not fit; the message names the value and what was wanted.
    """
    if kind is Any:
        return value
    if kind == Nanoseconds:
        if isinstance(value, str):
            return parse_duration(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise ValueError(f"{value!r} is not a time span; write text with a unit, as in '250us'")
    origin = get_origin(kind)
    if origin is Annotated:
        return convert(value, get_args(kind)[0])
    if origin is Literal:
        for choice in get_args(kind):
            if value == choice or (isinstance(value, str) and value == str(choice)):
                return choice
        raise ValueError(f"{value!r} is not one of {', '.join(map(str, get_args(kind)))}")
    if origin in (Union, types.UnionType):
        return _convert_union(value, get_args(kind))
    if origin is tuple and isinstance(value, str):
        value = value.split("+")
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(convert(item, get_args(kind)[0]) for item in value)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _finite(float(value))
    if kind in (int, bool, float) and isinstance(value, str):
        return _parse_scalar(value, kind)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if (
        isinstance(kind, type)
        and isinstance(value, kind)
        and not (kind is int and isinstance(value, bool))
    ):
        return value
    raise ValueError(f"{value!r} is not {_type_name(kind)}")


def format_value(value: Any, kind: Any) -> str:
    """A parameter's value as a person would write it on a command line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "+".join(format_value(item, get_args(kind)[0]) for item in value)
    if isinstance(value, int) and Nanoseconds in (kind, *get_args(kind)):
        return format_duration(value)
    return str(value)


def as_table(component: Any, name: str) -> dict[str, Any]:
    """The resolved component as plain values for a manifest: ``name`` and every parameter."""
    table: dict[str, Any] = {"name": name}
    for parameter in parameters(type(component)):
        value = getattr(component, parameter.name)
        table[parameter.name] = str(value) if isinstance(value, Path) else value
    return table


def as_text(component: Any, name: str) -> str:
    """The component as ``parse_spec`` reads it, without parameters that have their default."""
    given = {
        p.name: format_value(getattr(component, p.name), p.type)
        for p in parameters(type(component))
        if p.required or getattr(component, p.name) != p.default
    }
    leading = [p.name for p in parameters(type(component))][: len(given)]
    shown = (
        list(given.values()) if leading == list(given) else [f"{k}={v}" for k, v in given.items()]
    )
    return f"{name}:{','.join(shown)}" if shown else name


def _convert_union(value: Any, kinds: tuple[Any, ...]) -> Any:
    none = value is None or (isinstance(value, str) and value.lower() == "none")
    if none and type(None) in kinds:
        return None
    problems = []
    for kind in kinds:
        if kind is not type(None):
            try:
                return convert(value, kind)
            except ValueError as error:
                problems.append(str(error))
    raise ValueError(problems[0] if problems else f"{value!r} is not allowed")


def _parse_scalar(text: str, kind: type) -> Any:
    if kind is bool:
        choices = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in choices:
            raise ValueError(f"{text!r} is not true or false")
        return choices[text.lower()]
    try:
        return int(text) if kind is int else _finite(float(text))
    except ValueError:
        raise ValueError(f"{text!r} is not {_type_name(kind)}") from None


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return value


def _type_name(kind: Any) -> str:
    if kind == Nanoseconds:
        return "a time span"
    if get_origin(kind) is Literal:
        return " | ".join(map(str, get_args(kind)))
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_type_name(k) for k in get_args(kind) if k is not type(None))
    if get_origin(kind) is tuple:
        return f"a list ({_type_name(get_args(kind)[0])}, joined by '+')"
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        Path: "a path",
    }
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def _listing(declared: Iterable[Parameter]) -> str:
    described = ", ".join(f"{p.name} ({p.type_name})" for p in declared)
    return f"Its parameters are: {described}." if described else "It takes no parameters."
