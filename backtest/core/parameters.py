"""Parts of a run, created from text or tables with declared, typed parameters.

A component (strategy, batching policy, latency model, sizing rule, accountant, ...) is a dataclass;
its fields are its parameters. On a command line it is text that ``backtest.core.grammar`` reads,
values without a key filling the fields in order (``affine:35.8ms,0.5ms``, ``deadline:n=8,d=5ms``);
in a configuration file it is that text or a table with ``name`` and the parameters.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from backtest.core.grammar import Spec, format_spec, parse_value
from backtest.core.hashing import content_sha256
from backtest.core.text import suggestion
from backtest.core.times import format_duration, parse_duration
from backtest.errors import UsageError

_SHOWN = 80
"""Characters of a value that a message repeats."""

Nanoseconds: TypeAlias = Annotated[int, "ns"]
"""A span of time: int64 ns inside, written with a unit (``250us``, ``35.8ms``) outside."""

OutputPath: TypeAlias = Annotated[Path, "output"]
"""A file that the component writes: what it holds determines no result (see ``file_digests``)."""


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


def parameters(component: type) -> list[Parameter]:
    """The declared parameters of a component class, in order."""
    return [*_parameters(component)]


@cache
def _parameters(component: type) -> list[Parameter]:
    if not dataclasses.is_dataclass(component):
        return []
    hints = get_type_hints(component, include_extras=True)
    found = []
    # Those that can only be given by name come last, as in the signature of the class.
    for field in sorted(dataclasses.fields(component), key=lambda field: bool(field.kw_only)):
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


def undeclared(component: type) -> set[str]:
    """Names that a component's class seems to mean as parameters, among them declared ones.

    They are what its ``__init__`` cannot do without, and, if the class itself is no dataclass, what
    it annotates and no class above it has.
    """
    try:
        taken = inspect.signature(component).parameters
    except ValueError:  # of a class that is not written in Python
        return set()
    needed = {
        name
        for name, argument in taken.items()
        if argument.default is argument.empty
        and argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
    }
    if "__dataclass_fields__" in vars(component):
        return needed
    annotated = inspect.get_annotations(component).items()
    return needed | {
        name
        for name, kind in annotated
        if not name.startswith("_")
        and "ClassVar" not in str(kind)
        and not any(hasattr(above, name) for above in component.__mro__[1:])
    }


def arguments(spec: Spec, declared: Iterable[Parameter], *, place: str) -> dict[str, Any]:
    """The spec's values by the names of the parameters that they are given for.

    Raises:
        UsageError: a parameter that is not declared or is given twice, or too many values.
    """
    known = {p.name: p for p in declared}
    where = f"{place} {spec.name!r}"
    if len(spec.positional) > len(known):
        raise UsageError(
            f"there are {len(spec.positional)} values for {len(known)} parameters",
            place=where,
            remedy=listing(known.values()),
        )
    given: dict[str, Any] = dict(zip(known, spec.positional, strict=False))
    for key, value in spec.named.items():
        if key not in known:
            raise UsageError(
                f"there is no parameter {key!r}",
                place=where,
                remedy=suggestion(key, known) or listing(known.values()),
            )
        if key in given:
            raise UsageError(f"{key!r} is given twice", place=where, remedy="Give it once.")
        given[key] = value
    return given


def build(component: type, spec: Spec, *, place: str) -> Any:
    """An instance of the component with the spec's parameters, each parsed to its declared type.

    Raises:
        UsageError: an unknown, missing or ill-typed parameter, or a value that the component
            itself refuses with ``ValueError``.
    """
    declared = {p.name: p for p in parameters(component)}
    given = arguments(spec, declared.values(), place=place)
    where = f"{place} {spec.name!r}"
    missing = [p.name for p in declared.values() if p.required and p.name not in given]
    if missing:
        raise UsageError(
            f"parameter {missing[0]!r} is missing",
            place=where,
            remedy=listing(declared.values()),
        )
    values = {
        key: convert_at(value, declared[key].type, place=f"{where}, parameter {key!r}")
        for key, value in given.items()
    }
    try:
        return component(**values)
    except ValueError as error:
        raise UsageError(str(error), place=where) from None


def convert_at(value: Any, kind: Any, *, place: str, remedy: str | None = None) -> Any:
    """``convert``, for a value that was given at a place such as ``--sizes``.

    Raises:
        UsageError: the value does not fit.
    """
    try:
        return convert(value, kind)
    except ValueError as error:
        raise UsageError(str(error), place=place, remedy=remedy) from None


def convert_list(text: str | None, kind: Any, *, place: str, remedy: str | None = None) -> Any:
    """A tuple of the declared type from an option's ``VALUE,VALUE,...``; ``None`` from ``None``.

    Raises:
        UsageError: the text is malformed or empty, or a value does not fit.
    """
    if text is None:
        return None
    values = parse_value(f"[{text}]", place=place)
    if not values:
        raise UsageError("the list is empty", place=place, remedy=remedy)
    return convert_at(values, kind, place=place, remedy=remedy)


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
            if abs(value) >= 2**63:
                raise ValueError(f"a time span of {value.bit_length()} bits; 64 hold 292 years")
            return value
        raise ValueError(f"{value!r} is not a time span; write text with a unit, as in '250us'")
    origin = get_origin(kind)
    if origin is Annotated:
        return convert(value, get_args(kind)[0])
    if origin is Literal:
        choices = {str(choice): choice for choice in get_args(kind)}
        for text, choice in choices.items():
            if value == choice or (isinstance(value, str) and value == text):
                return choice
        near = suggestion(str(value), choices)
        listed = f"{value!r} is not one of {', '.join(choices)}"
        raise ValueError(f"{listed}. {near}" if near else listed)
    if origin in (Union, types.UnionType):
        return _convert_union(value, get_args(kind))
    if origin is tuple and isinstance(value, str):
        value = value.split("+")
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(convert(item, get_args(kind)[0]) for item in value)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _finite(value)
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


def file_digests(component: Any) -> dict[str, str]:
    """SHA-256 of the content of every file, or folder of files, that a parameter names.

    A run's result depends on what a file holds, not on where it lies. Text counts as a name where a
    file of that name is there. An ``OutputPath`` does not count.
    """
    found = {}
    for parameter in parameters(type(component)):
        if OutputPath in (parameter.type, *get_args(parameter.type)):
            continue
        value = getattr(component, parameter.name)
        values = value if isinstance(value, (list, tuple)) else [value]
        named = [Path(item) for item in values if isinstance(item, (str, Path)) and str(item)]
        # A folder must be meant as one: text is often the name of one by chance, "." is a default.
        kept = [p for p in named if p != Path() and (isinstance(value, Path) or not p.is_dir())]
        digests = [digest for path in kept if (digest := content_sha256(path)) is not None]
        if digests:
            found[parameter.name] = "+".join(digests)
    return found


def as_text(component: Any, name: str) -> str:
    """The component as ``parse_spec`` reads it, without parameters that have their default."""
    given = {
        p.name: _writable(getattr(component, p.name), p.type)
        for p in parameters(type(component))
        if p.required or getattr(component, p.name) != p.default
    }
    leading = [p.name for p in parameters(type(component))][: len(given)]
    if leading == list(given):
        return format_spec(Spec(name, tuple(given.values())))
    return format_spec(Spec(name, (), given))


def listing(declared: Iterable[Parameter]) -> str:
    """A sentence that names parameters and their types, for the remedy of an error."""
    described = ", ".join(f"{p.name} ({p.type_name})" for p in declared)
    return f"Its parameters are: {described}." if described else "It takes no parameters."


def _writable(value: Any, kind: Any) -> str | list[str]:
    """A parameter's value as text, or as a list where ``+`` could not join its items."""
    if isinstance(value, tuple):
        items = [format_value(item, get_args(kind)[0]) for item in value]
        if not items or any("+" in item or item == "" for item in items):
            return items
    return format_value(value, kind)


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
        shown = f"{text!r}" if len(text) <= _SHOWN else f"a text of {len(text)} characters"
        raise ValueError(f"{shown} is not {_type_name(kind)}") from None


def _finite(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{number} is not a finite number")
    return number


def _type_name(kind: Any) -> str:
    if kind == Nanoseconds:
        return "a time span"
    if get_origin(kind) is Annotated:
        return _type_name(get_args(kind)[0])
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
