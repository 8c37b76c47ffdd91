"""What is wrong with a table from a file or a command line, a line for each key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from backtest.core import toml
from backtest.core.text import suggestion

_INDEX = re.compile(r"\[[0-9]+\]")
_LONGEST_VALUE = 60
_LONGEST_MESSAGE = 1000
_ABOUT_THEMSELVES = ("missing", "extra_forbidden", "value_error")
"""Kinds of errors whose message does not need the value."""


def problems(
    error: ValidationError,
    model: type[BaseModel],
    table: Mapping[str, Any] | None = None,
    *,
    examples: Mapping[str, str] | None = None,
) -> list[str]:
    """Each problem once, as ``KEY: what is wrong``, with the key that may have been meant.

    What is wrong alike in several entries of a list or table is told of the first, with the count.

    Args:
        model: what refused the table; its keys, and those of the tables in it, are suggested.
        table: what was refused, where it may hold single values in place of lists.
        examples: for required keys, what to write.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for item in error.errors():
        path = _path(item, table)
        near = _near(item, model)
        problem = _message(item, (examples or {}).get(_INDEX.sub("", path)))
        text = f"{problem}. {near}" if near else problem
        alike = found.setdefault((_entry(item, model), text), [])
        if path not in alike:
            alike.append(path)
    return [
        (f"{paths[0]}: {text}" if paths[0] else text)
        + (f" (and in {len(paths) - 1:,} more like it)" if len(paths) > 1 else "")
        for (_, text), paths in found.items()
    ]


def _entry(item: ErrorDetails, model: type[BaseModel]) -> str:
    """The key with ``*`` for the numbers of a list's entries and the names of a table's."""
    kind: Any = model
    parts: list[str] = []
    for part in item["loc"]:
        if isinstance(part, int):
            parts.append("*")
        else:
            parts.append("*" if get_origin(kind) is dict else part)
            kind = _below(kind, part)
    return ".".join(parts)


def _path(item: ErrorDetails, table: Mapping[str, Any] | None) -> str:
    """The dotted key, without the alternatives of a type and indices that the table lacks."""
    path = ""
    at: Any = table
    for part in item["loc"]:
        if isinstance(part, int):
            # A sweep wraps single settings into lists, which the table does not have.
            if table is None or (isinstance(at, Sequence) and not isinstance(at, str)):
                path = f"{path}[{part}]"
                # Of a list that is too short, entries are missing.
                at = at[part] if isinstance(at, Sequence) and part < len(at) else None
        elif part not in ("str", "dict[str,any]"):
            key = toml.key(part)
            path = f"{path}.{key}" if path else key
            at = at.get(part) if isinstance(at, Mapping) else None
    return path


def _message(item: ErrorDetails, example: str | None) -> str:
    if item["type"] == "missing":
        return f"missing; {example}" if example else "missing"
    if item["type"] == "extra_forbidden":
        return "no such key"
    message = re.sub("^Input should", "should", item["msg"].removeprefix("Value error, "))
    if len(message) > _LONGEST_MESSAGE:
        half = _LONGEST_MESSAGE // 2
        message = f"{message[:half]} … {message[-half:]}"
    value = repr(item["input"])
    if item["type"] in _ABOUT_THEMSELVES or len(value) > _LONGEST_VALUE or value in message:
        return message
    return f"{message}, not {value}"


def _near(item: ErrorDetails, model: type[BaseModel]) -> str | None:
    """A known key or value that one that is not known may have been meant for."""
    if item["type"] == "literal_error":
        return suggestion(str(item["input"]), re.findall("'([^']*)'", item["ctx"]["expected"]))
    if item["type"] != "extra_forbidden":
        return None
    *above, key = (part for part in item["loc"] if isinstance(part, str))
    kind: Any = model
    for name in above:
        kind = _below(kind, name)
    known = _fields(kind)
    inner = {field: f"{name}.{field}" for name, below in known.items() for field in _fields(below)}
    near = suggestion(key, known)
    return near if near or key not in inner else f"Did you mean {inner[key]!r}?"


def _fields(kind: Any) -> dict[str, Any]:
    """The keys of the table that a type describes, with the types of their values."""
    found = _model(kind)
    if found is None:
        return {}
    return {name: field.annotation for name, field in found.model_fields.items()}


def _below(kind: Any, name: str) -> Any:
    """The type of what a key holds, in a table with keys of its own or with any keys."""
    if get_origin(kind) is dict:
        return get_args(kind)[1]
    return _fields(kind).get(name, kind)


def _model(kind: Any) -> type[BaseModel] | None:
    """The model in a type such as ``tuple[Model, ...] | None``."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    if get_origin(kind) is dict:
        return None
    return next((m for inner in get_args(kind) if (m := _model(inner)) is not None), None)
