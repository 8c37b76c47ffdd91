"""Settings as text: tables from TOML files, and ``KEY.SUBKEY=VALUE`` from a command line."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backtest.errors import UsageError


def read_table(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        UsageError: no such file, or no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", place=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"is not TOML: {error}", place=str(path)) from None


def override(table: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """The table with ``KEY.SUBKEY=VALUE`` settings put in; a component's text becomes a table.

    Raises:
        UsageError: a setting without ``=``, or a key below something that is no table.
    """
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals or not path.strip():
            raise UsageError(
                f"{setting!r} is no setting", place="--set", remedy="Write KEY=VALUE, as in seed=1."
            )
        *parents, key = (part.strip() for part in path.split("."))
        at = table
        for parent in parents:
            inner = at.get(parent, {})
            if isinstance(inner, str):
                inner = _spec_table(inner)
            if not isinstance(inner, dict):
                raise UsageError(f"{parent!r} has no keys of its own", place=f"--set {setting}")
            at[parent] = inner = dict(inner)
            at = inner
        at[key] = plain(value.strip())
    return table


def strategy_spec(name: str, settings: Sequence[str]) -> str | dict[str, Any]:
    """A strategy as asked for, with settings such as ``strategy.weights=FILE`` put in.

    Raises:
        UsageError: a setting of something else than the strategy.
    """
    table = override({"strategy": name}, settings)
    other = [key for key in table if key != "strategy"]
    if other:
        raise UsageError(
            f"{other[0]!r} is no setting here",
            place="--set",
            remedy="Only the strategy has any: strategy.PARAMETER=VALUE.",
        )
    spec: str | dict[str, Any] = table["strategy"]
    return spec


def spec_text(spec: str | Mapping[str, Any]) -> str:
    """What ``strategy_spec`` returned, as a person would write it."""
    if isinstance(spec, str):
        return spec
    given = ",".join(f"{key}={value}" for key, value in spec.items() if key != "name")
    return f"{spec['name']}:{given}" if given else str(spec["name"])


def _spec_table(text: str) -> dict[str, Any]:
    """A component's text as a table, so that one of its parameters can be overridden."""
    name, _, rest = text.partition(":")
    table: dict[str, Any] = {"name": name}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(
                f"{text!r} has parameters without names",
                place="--set",
                remedy=f"Name them ({name}:KEY=VALUE,...) to override one.",
            )
        table[key.strip()] = value.strip()
    return table


def plain(text: str) -> Any:
    """A setting's text as TOML would read it, or as text where it is none."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
