"""How parts and settings are written as text: the one reader, and the one writer.

::

    part     NAME or NAME:ITEM,...   affine:35.8ms,0.5ms    deadline:n=8,d=5ms
    ITEM     VALUE or KEY=VALUE, those without a key first
    setting  KEY.SUBKEY=VALUE        latency.service.base=5ms
    VALUE    text, "text in quotes", 'text in quotes' or a list: [VALUE,...]

Quotes are those of TOML. Quotes and brackets mean something only at the beginning of a value; text
without quotes ends at the next comma, or runs to the end of a setting. Parameters of parts remain
text until ``backtest.core.parameters`` gives each its declared type; settings of unknown type are
read as TOML where they are TOML, and as text otherwise.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backtest.core import toml
from backtest.core.nesting import DEEPEST
from backtest.core.text import quoted
from backtest.errors import UsageError

_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'", re.DOTALL)
_OPENING = {'"', "'", "["}


@dataclass(frozen=True, slots=True)
class Spec:
    """A part asked for by name; its parameters are not checked against their types yet."""

    name: str
    positional: tuple[Any, ...] = ()
    named: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def parse_spec(value: str | Mapping[str, Any], *, place: str) -> Spec:
    """The part that a text, or a table with a ``name``, asks for.

    Raises:
        UsageError: malformed text, a table without a ``name``, or another kind of value.
    """
    if isinstance(value, Mapping):
        table = dict(value)
        name = table.pop("name", None)
        if not isinstance(name, str):
            remedy = 'Write for example name = "affine" in it.'
            raise UsageError("a component's table needs a name", place=place, remedy=remedy)
        return Spec(name, (), table)
    if not isinstance(value, str):
        remedy = "Write NAME:VALUE,... or a table with a name."
        raise UsageError(f"{value!r:.60} is no component", place=place, remedy=remedy)
    where = f"{place} {value!r}"
    name, _, rest = value.partition(":")
    if not name.strip():
        raise UsageError("the component's name is missing", place=where)
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for item in split(rest, place=where) if rest.strip() else []:
        # An equals sign in quotes or brackets belongs to the value.
        key, equals, text = ("", "", "") if item[:1] in _OPENING else item.partition("=")
        key = key.strip()
        if not equals and named:
            raise UsageError(
                f"{item!r} has no name, but follows a named parameter",
                place=where,
                remedy="Write NAME:VALUE,... or NAME:KEY=VALUE,...",
            )
        if key in named:
            raise UsageError(f"{key!r} is given twice", place=where, remedy="Give it once.")
        if equals:
            named[key] = parse_value(text, place=where)
        else:
            positional.append(parse_value(item, place=where))
    return Spec(name.strip(), tuple(positional), named)


def format_spec(spec: Spec) -> str:
    """The text that ``parse_spec`` reads as this spec, if its values are text or lists of text."""
    items = [_format_value(value, "=") for value in spec.positional]
    items += [f"{key}={_format_value(value)}" for key, value in spec.named.items()]
    return f"{spec.name}:{','.join(items)}" if items else spec.name


def parse_setting(text: str) -> tuple[list[str], str]:
    """The keys of ``KEY.SUBKEY=VALUE``, and the text of its value.

    Raises:
        UsageError: no equals sign, no key, or more than 64 of them.
    """
    path, equals, value = text.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        remedy = "Write KEY=VALUE, as in seed=1."
        raise UsageError(f"{text!r} is not KEY=VALUE", place="--set", remedy=remedy)
    if len(keys) > DEEPEST:
        raise UsageError(f"{text!r:.80} has more than {DEEPEST} keys", place="--set")
    return keys, value.strip()


def parse_value(text: str, *, place: str, depth: int = 0) -> Any:
    """Text, or a list of such values.

    Args:
        depth: how many lists the value is in.

    Raises:
        UsageError: a quote or bracket that is not closed, or that more text follows; lists that
            nest deeper than 64 levels.
    """
    if depth > DEEPEST:
        raise UsageError(f"it nests deeper than {DEEPEST} levels", place=place)
    text = text.strip()
    if text[:1] not in _OPENING:
        return text
    if text.startswith("["):
        if not text.endswith("]"):
            raise UsageError(
                f"a bracket in {text!r} is not closed, or text follows it", place=place
            )
        items = split(text[1:-1], place=place)
        if any(item[:1] not in _OPENING and {*"[]"} & {*item} for item in items):
            raise UsageError(f"text with brackets needs quotes, as in {text!r}", place=place)
        inner = [] if items == [""] else items
        return [parse_value(item, place=place, depth=depth + 1) for item in inner]
    if not _QUOTED.fullmatch(text):
        raise UsageError(f"a quote in {text!r} is not closed, or text follows it", place=place)
    try:
        return toml.loads(f"value = {text}")["value"]
    except ValueError as error:
        raise UsageError(
            f"{text!r} is not a quoted string as in TOML: {error}", place=place
        ) from None


def parse_untyped(text: str, *, place: str) -> Any:
    """A value of unknown type: what TOML makes of it, else as from ``parse_value``."""
    try:
        table = toml.loads(f"value = {text}")
    except ValueError:
        return parse_value(text, place=place)
    return table["value"] if len(table) == 1 else text  # lines that follow may be TOML, too


def split(text: str, separator: str = ",", *, place: str) -> list[str]:
    """The pieces of a text, stripped; separators in quotes or brackets do not separate.

    Raises:
        UsageError: a quote or bracket is not closed.
    """
    pieces: list[str] = []
    begin = depth = at = 0
    before = separator  # the last character that is not a space: what follows it begins a value
    while at < len(text):
        char = text[at]
        if char in "\"'" and before in f":=,[{separator}":
            match = _QUOTED.match(text, at)
            if match is None:
                raise UsageError(f"a quote in {text!r} is not closed", place=place)
            before, at = char, match.end()
            continue
        if char == "[" and (depth or before in f":=,{separator}"):
            depth += 1
        elif char == "]" and depth:
            depth -= 1
        elif char == separator and not depth:
            pieces.append(text[begin:at].strip())
            begin = at + 1
        before = before if char.isspace() else char
        at += 1
    if depth:
        raise UsageError(f"a bracket in {text!r} is not closed", place=place)
    return [*pieces, text[begin:].strip()]


def _format_value(value: Any, special: str = "") -> str:
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_format_value, value))}]"
    text = str(value)
    bare = text and text == text.strip() and not {*"[],\"'", *special} & {*text}
    return text if bare else quoted(text)
