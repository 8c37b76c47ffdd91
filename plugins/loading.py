"""Plugins as files: importing a single one, hashing its source, and telling why it failed."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import sys
import traceback
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from backtest.errors import PluginError

GROUP = "backtest"
"""The entry-point group that installed packages name their plugins in."""

_FILE_MODULE = "backtest_plugin_"
"""What names of modules that come from single files begin with."""

_MACHINERY = (
    "<frozen",
    str(Path(importlib.__file__).parent),
    str(Path(pluggy.__file__).parent),
    __file__,
    str(Path(__file__).with_name("manager.py")),
)
"""Where files are that stand in the traceback of every plugin that fails."""


def load_file(path: Path) -> ModuleType:
    """Import one Python file under a module name of its own.

    The same file, unchanged, gives the same module again, so that its classes stay themselves.

    Raises:
        PluginError: there is no such Python file. What its own code raises passes through.
    """
    if path.suffix != ".py" or not path.is_file():
        raise PluginError("no such Python file", remedy="Give the path of a .py file.")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise PluginError(f"cannot be read: {error.strerror}") from None
    identity = hashlib.sha256(str(path.resolve()).encode() + b"\0" + source).hexdigest()
    name = f"{_FILE_MODULE}{re.sub('[^0-9A-Za-z_]', '_', path.stem)}_{identity[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path.resolve())
    # Dataclasses and type hints look their module up by name.
    sys.modules[name] = module
    try:
        exec(compile(source, module.__file__, "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def source_sha256(part: Any) -> str | None:
    """SHA-256 of the file that defines a module or class; ``None`` where there is none to read."""
    try:
        file = inspect.getsourcefile(part)
        return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except (OSError, TypeError):
        return None


def describe(error: BaseException) -> str:
    """An exception in one line: its type, its message, and the plugin's line that raised it."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    where = plugin_line(error)
    if where is None:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if not f.filename.startswith(_MACHINERY)]
        where = f"{own[-1].filename}, line {own[-1].lineno}" if own else None
    return f"{text} ({where})" if where else text


def plugin_line(error: BaseException) -> str | None:
    """The file and line at which a plugin raised an exception, or called what did.

    ``None`` where no plugin but the shipped ones stands in its traceback.
    """
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        if module.startswith(_FILE_MODULE) or module.partition(".")[0] in _plugin_packages():
            found = f"{frame.f_code.co_filename}, line {line}"
    return found


@cache
def _plugin_packages() -> set[str]:
    """Packages whose entry points are plugins, but for the project's own."""
    return {point.module.partition(".")[0] for point in entry_points(group=GROUP)} - {"backtest"}
