"""Settings from outside: tables of TOML files, and what ``--set KEY.SUBKEY=VALUE`` puts in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from backtest.core import toml
from backtest.core.grammar import parse_setting, parse_spec, parse_untyped, parse_value
from backtest.core.parameters import Parameter, arguments, listing
from backtest.core.text import suggested_path, suggestion
from backtest.errors import UsageError


class Declared(Protocol):
    """Gives the parameters of the part with a name."""

    def __call__(self, name: str, *, place: str) -> Mapping[str, Parameter]:
        """The parameters by name.

        Raises:
            UsageError: there is no part of this name.
        """


def read_table(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        UsageError: no such file, no TOML, or tables and lists that nest deeper than 64 levels.
    """
    try:
        return toml.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"the file cannot be read: {error.strerror}",
            place=str(path),
            remedy=suggested_path(path) if isinstance(error, FileNotFoundError) else None,
        ) from None
    except ValueError as error:
        raise UsageError(f"the file is not valid TOML: {error}", place=str(path)) from None


def override(
    table: Mapping[str, Any], settings: Sequence[str], parts: Mapping[str, Declared] | None = None
) -> dict[str, Any]:
    """The table with ``KEY.SUBKEY=VALUE`` settings put in; of several for a key, the last counts.

    A key below a part sets a parameter of it; where alternatives of the part are listed, in every
    one that declares the parameter.

    Args:
        parts: the dotted keys of parts, with a function that gives the parameters of a named part.

    Raises:
        UsageError: a malformed setting, a key below something that has none, or a parameter that
            no part at its place declares.
    """
    changed, parts = dict(table), parts or {}
    for setting in settings:
        keys, text = parse_setting(setting)
        declared = parts.get(".".join(keys[:-1]))
        *parents, key = keys if declared is None else keys[:-1]
        at = changed
        for depth, parent in enumerate(parents, 1):
            inner = at.get(parent, {})
            if not isinstance(inner, dict) or ".".join(parents[:depth]) in parts:
                raise UsageError(
                    f"{parent!r} has no keys, as it is a single setting",
                    place=f"--set {setting}",
                    remedy=f"Write {'.'.join(parents[:depth])}=VALUE.",
                )
            at[parent] = at = dict(inner)
        if declared is None:
            at[key] = parse_untyped(text, place=f"--set {setting}")
        else:
            at[key] = _with_parameter(at.get(key, {}), setting, declared)
    return changed


def override_part(
    part: str | Mapping[str, Any],
    settings: Sequence[str],
    declared: Declared,
    above: Sequence[str] = (),
) -> str | Mapping[str, Any]:
    """The part with ``KEY=VALUE`` settings of its parameters put in, as ``override`` does.

    Args:
        above: keys that come before that of a parameter, such as ``strategy``.

    Raises:
        UsageError: a setting of something else, or as from ``override``.
    """
    for setting in settings:
        *path, key = parse_setting(setting)[0]
        if path != [*above]:
            near = suggestion(".".join(path), [".".join(above)]) if above else None
            form = f"Write {'.'.join([*above, 'PARAMETER'])}=VALUE."
            raise UsageError(
                f"{'.'.join([*path, key])!r} cannot be set here",
                place="--set",
                remedy=f"{near} {form}" if near else form,
            )
        part = _with_parameter(part, setting, declared)
    return part


def _with_parameter(part: Any, setting: str, declared: Declared) -> Any:
    """A part, or each of a list of alternatives that declares it, with a parameter set."""
    (*_, key), text = parse_setting(setting)
    place = f"--set {setting}"
    value = parse_value(text, place=place)
    changed: list[Any] = []
    known: dict[str, Parameter] = {}
    names: dict[str, None] = {}
    for alternative in part if isinstance(part, list) else [part]:
        spec = parse_spec(alternative, place=place)
        own = declared(spec.name, place=place)
        known |= own
        names[repr(spec.name)] = None
        if key in own:
            given = arguments(spec, own.values(), place=place)
            changed.append({"name": spec.name, **given, key: value})
        else:
            changed.append(alternative)
    if key not in known:
        raise UsageError(
            f"there is no parameter {key!r}",
            place=f"{place}, {', '.join(names)}",
            remedy=suggestion(key, known) or listing(known.values()),
        )
    return changed if isinstance(part, list) else changed[0]
