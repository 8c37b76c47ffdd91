"""``backtest init``: a plugin to start from, with its tests."""

from __future__ import annotations

import keyword
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from backtest.core.parts import Kind


class StartingPoint(StrEnum):
    """What is written. typer before 0.17 knows enumerations, but not literals."""

    STRATEGY = "strategy"
    MODULE_STRATEGY = "module-strategy"
    SOURCE = "source"
    PACKAGE = "package"


_FILES: dict[StartingPoint, dict[str, str]] = {
    StartingPoint.STRATEGY: {
        "{module}.py": "strategy.py",
        "test_{module}.py": "test_strategy.py",
    },
    StartingPoint.MODULE_STRATEGY: {
        "{module}.py": "module_strategy.py",
        "test_{module}.py": "test_strategy.py",
    },
    StartingPoint.SOURCE: {
        "{module}.py": "source.py",
        "test_{module}.py": "test_source.py",
    },
    StartingPoint.PACKAGE: {
        "{name}/pyproject.toml": "pyproject.toml",
        "{name}/README.md": "readme.md",
        "{name}/src/{module}/__init__.py": "package.py",
        "{name}/src/{module}/plugin.py": "strategy.py",
        "{name}/tests/test_{module}.py": "test_package.py",
    },
}
"""The template of each file that is written."""

_RUN = "backtest run --strategy {name}{plugin} --dataset sample --service constant:1ms"

_OF_STRATEGY = (_RUN, "backtest verify {name}{plugin}", "python -m pytest {tests}")
_NEXT: dict[StartingPoint, tuple[str, ...]] = {
    StartingPoint.STRATEGY: _OF_STRATEGY,
    StartingPoint.MODULE_STRATEGY: _OF_STRATEGY,
    StartingPoint.SOURCE: (
        "backtest data ingest {name} FILE data/{name}{plugin}",
        "python -m pytest {tests}",
    ),
    StartingPoint.PACKAGE: ("pip install --editable './{name}[test]'", *_OF_STRATEGY),
}
"""Commands for what was written, the most likely one first."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*([-_][A-Za-z0-9]+)*")


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it, such as my-alpha.")],
    kind: Annotated[
        StartingPoint,
        typer.Option(
            help="A rule on quotes, a torch module with state, a reader of another format, or an "
            "installable package."
        ),
    ] = StartingPoint.STRATEGY,
) -> None:
    """Write a plugin to start from, and its tests.

    What is written into the current folder works at once: it runs, it passes `backtest verify`, and
    its tests pass (they need pytest). Files that exist are never overwritten.

    Example: backtest init my-alpha
    """
    from backtest.cli.console import err, out
    from backtest.core.atomic import writing

    module = name.replace("-", "_").lower()
    packaged = kind is StartingPoint.PACKAGE
    words = {
        "name": name,
        "module": module,
        "class_name": "".join(word[:1].upper() + word[1:] for word in re.split("[-_]", name)),
        "plugin": "" if packaged else f" --plugin {module}.py",
        "tests": name if packaged else f"test_{module}.py",
    }
    files = {Path(path.format_map(words)): template for path, template in _FILES[kind].items()}
    _check(name, module, kind, files)
    for path, template in files.items():
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(_filled(template, words))
        err.print(f"Written: {path}", soft_wrap=True)
    err.print("Next:")
    for command in _NEXT[kind]:
        out.print(f"  {command.format_map(words)}", soft_wrap=True)


def _check(name: str, module: str, kind: StartingPoint, files: dict[Path, str]) -> None:
    """Refuse a name that could not be used, and files that are there already.

    Raises:
        UsageError: the name or the kind has to change.
        DataError: a file would be overwritten.
    """
    from importlib.util import find_spec

    from backtest.errors import DataError, UsageError
    from backtest.plugins.manager import load_plugins

    if not _NAME.fullmatch(name) or len(name) > 64 or keyword.iskeyword(module):
        raise UsageError(
            f"{name!r} cannot be the name of a plugin and its module",
            remedy="Use letters, digits and single '-' or '_' between them, as in my-alpha.",
        )
    top = Path(next(iter(files)).parts[0])
    for path in [top, *files]:
        if path.exists() or path.is_symlink():
            raise DataError(
                "a file or folder of this name already exists",
                place=str(path),
                remedy="Nothing was written: use another name.",
            )
    part: Kind = "source" if kind is StartingPoint.SOURCE else "strategy"
    if name in load_plugins().names(part):
        raise UsageError(
            f"a {part} called {name!r} is registered already",
            remedy="Use another name; `backtest plugins` lists those taken.",
        )
    if find_spec(module) is not None:
        raise UsageError(
            f"{module!r} is the name of an installed Python module, which the new one would hide",
            remedy="Use another name.",
        )


def _filled(template: str, words: dict[str, str]) -> str:
    from importlib import resources
    from string import Template

    file = resources.files("backtest.cli") / "templates" / f"{template}.txt"
    return Template(file.read_text(encoding="utf-8")).substitute(words)
