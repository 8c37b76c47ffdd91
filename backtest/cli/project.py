"""The project file, ``backtest.toml``: plugins, the folder of runs, and defaults of options.

What it says becomes the parser's own defaults, so that the command line always wins.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

NAME = "backtest.toml"
"""What a project file is called."""

_KEYS = ("plugins", "runs", "defaults")
_OWN = {"help": "help", "plugin": "plugins", "runs": "runs"}
"""Options that are no defaults: what to say of them."""

_INNER = {
    "service": ("latency", "service"),
    "feed": ("latency", "feed"),
    "entry": ("latency", "entry"),
    "response": ("latency", "response"),
    "latency_scale": ("latency", "scale"),
    "start": ("window", "start"),
    "end": ("window", "end"),
    "length": ("round",),
}
"""Where a configuration file has what an option sets, if not under the option's own name."""


@dataclass(frozen=True, slots=True)
class Project:
    """A project file that was read.

    Attributes:
        file: where it lies.
        plugins: files to load as plugins by every command that loads some.
        runs: the folder of runs; ``None``: ``runs`` in the current folder.
        defaults: values of options by command and parameter, groups nested.
    """

    file: Path
    plugins: tuple[Path, ...] = ()
    runs: Path | None = None
    defaults: dict[str, Any] = field(default_factory=dict)


def find_project(folder: Path) -> Path | None:
    """The project file of a folder: in it, or in a parent up to the repository's root or home.

    Outside of both only the folder itself counts: what others may write to, such as ``/tmp``, must
    not name plugins for what lies below it.
    """
    for parent in _searched(folder.resolve()):
        if (parent / NAME).is_file():
            return parent / NAME
    return None


def read_project(file: Path, root: Any) -> Project:
    """The project that a file describes.

    Args:
        file: a ``backtest.toml``.
        root: the group of all commands, whose options may have defaults.

    Raises:
        UsageError: it is no TOML, or a key or value of it does not fit.
    """
    from backtest.core.settings import read_table

    table = read_table(file)
    place = str(file)
    for key in table:
        if key not in _KEYS:
            _refuse(key, [*_KEYS, *(f"defaults.{name}" for name in _options(root))], place)
    plugins = _typed(table.get("plugins", []), list, "a list of files", "plugins", place)
    for name in plugins:
        _typed(name, str, "a list of files", "plugins", place)
    runs = table.get("runs")
    if runs is not None:
        runs = _shown(file.parent / _typed(runs, str, "a folder", "runs", place))
    defaults = _typed(table.get("defaults", {}), dict, "a table", "defaults", place)
    return Project(
        file,
        tuple(_shown(file.parent / Path(name).expanduser()) for name in plugins),
        runs,
        _defaults(defaults, runs, root, f"{place}, defaults"),
    )


def use_project(ctx: typer.Context) -> None:
    """Let the project file of the current folder set defaults for the command that follows.

    Raises:
        UsageError: the file cannot be used.
    """
    file = find_project(Path.cwd())
    if file is not None:
        ctx.obj = read_project(file, ctx.command)
        ctx.default_map = ctx.obj.defaults


def with_project_plugins(ctx: typer.Context, named: list[Path] | None) -> list[Path] | None:
    """The plugins of the project file, then those that the command line names, each once."""
    project = ctx.find_object(Project)
    if project is None:
        return named
    given = {path.resolve() for path in named or ()}
    return [p for p in project.plugins if p.resolve() not in given] + list(named or ())


def yield_to_file(ctx: typer.Context, file: Path | None) -> Path | None:
    """Withdraw the project's defaults for what a command's own configuration file sets."""
    if file is not None and ctx.default_map and not ctx.resilient_parsing:
        from backtest.core.settings import read_table

        table = read_table(file)
        ctx.default_map = {
            name: value
            for name, value in ctx.default_map.items()
            if not _has(table, _INNER.get(name, (name,)))
        }
    return file


def _searched(folder: Path) -> Iterator[Path]:
    parents = [folder, *folder.parents]
    home = Path(os.path.expanduser("~")).resolve()
    ends = [p for p in parents if (p / ".git").exists()] + [p for p in parents if p == home]
    yield from parents[: parents.index(ends[0]) + 1] if ends else [folder]


def _defaults(table: Mapping[str, Any], runs: Path | None, root: Any, place: str) -> dict[str, Any]:
    """The parser's defaults, by command; a table in it is for one command alone."""
    own = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    shared = {key: value for key, value in table.items() if key not in own}
    known = _options(root)
    for key in shared:
        if key not in known:
            _refuse(key, known, place)
    return _of_group(root, own, shared, runs, place)


def _of_group(
    group: Any, own: Mapping[str, Any], shared: Mapping[str, Any], runs: Path | None, place: str
) -> dict[str, Any]:
    found = {}
    for key in own:
        if key not in group.commands:
            _refuse(key, group.commands, place)
    for name, command in group.commands.items():
        table = _typed(own.get(name, {}), dict, "a table", name, place)
        of = _of_group if hasattr(command, "commands") else _of_command
        found[name] = of(command, table, shared, runs, f"{place}.{name}")
    return found


def _of_command(
    command: Any, own: Mapping[str, Any], shared: Mapping[str, Any], runs: Path | None, place: str
) -> dict[str, Any]:
    options = _options_of(command)
    for key in own:
        if key not in options:
            _refuse(key, options, place)
    found = {
        options[key].name: _value(value, options[key], key, place)
        for key, value in {**shared, **own}.items()
        if key in options
    }
    for param in command.params:
        if "--runs" in param.opts and param.default is not None and runs is not None:
            # runs/demo is where the demo's runs go: results/demo, if the project has results.
            found[param.name] = str(runs / Path(param.default).relative_to("runs"))
    return found


def _options(command: Any) -> list[str]:
    """The names of all options of all commands."""
    if hasattr(command, "commands"):
        names = [name for inner in command.commands.values() for name in _options(inner)]
        return list(dict.fromkeys(names))
    return list(_options_of(command))


def _options_of(command: Any) -> dict[str, Any]:
    """A command's options by their names without dashes in front."""
    return {
        option.removeprefix("--"): param
        for param in command.params
        if param.param_type_name == "option"
        for option in param.opts
        if option.startswith("--") and option.removeprefix("--") not in _OWN
    }


def _value(value: Any, param: Any, key: str, place: str) -> Any:
    """A value as the parser takes it; it converts and checks it as one of the command line."""
    if param.is_flag:
        return _typed(value, bool, "true or false", key, place)
    if param.multiple:
        return [_scalar(item, key, place) for item in _typed(value, list, "a list", key, place)]
    return _scalar(value, key, place)


def _scalar(value: Any, key: str, place: str) -> str:
    wanted = "text or a number"
    if isinstance(value, bool):
        _typed(None, str, wanted, key, place)
    return str(_typed(value, str | int | float, wanted, key, place))


def _typed(value: Any, kind: Any, wanted: str, key: str, place: str) -> Any:
    from backtest.errors import UsageError

    if not isinstance(value, kind):
        raise UsageError(f"{key!r} has to be {wanted}", place=place)
    return value


def _refuse(key: str, known: Any, place: str) -> None:
    from backtest.core.text import suggestion
    from backtest.errors import UsageError

    remedy = suggestion(key, known) or suggestion(f"defaults.{key}", known)
    if key in _OWN:
        remedy = f"Set {_OWN[key]!r} at the top of the file, before any table."
    raise UsageError(
        f"no setting {key!r}", place=place, remedy=remedy or f"Known: {', '.join(known)}."
    )


def _has(table: Any, keys: tuple[str, ...]) -> bool:
    for key in keys:
        if not isinstance(table, Mapping) or key not in table:
            return False
        table = table[key]
    return True


def _shown(path: Path) -> Path:
    """A path as short as it can be written in the current folder."""
    path = Path(os.path.normpath(path))
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
