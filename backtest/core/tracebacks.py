"""Where an exception comes from: the line of a plugin, or else of the project, that raised it."""

from __future__ import annotations

import importlib
import traceback
from functools import cache
from pathlib import Path

import pluggy

from backtest.core.entry_points import plugin_entry_points

FILE_MODULE = "backtest_plugin_"
"""What names of modules that come from single files begin with."""

_PLUGINS = Path(__file__).parents[1] / "plugins"
_MACHINERY = (
    "<frozen",
    str(Path(importlib.__file__).parent),
    str(Path(pluggy.__file__).parent),
    str(_PLUGINS / "loading.py"),
    str(_PLUGINS / "manager.py"),
)
"""Files that are in the traceback of every plugin that fails."""


def describe(error: BaseException) -> str:
    """An exception in one line: its type, its message, and the plugin's line that raised it."""
    try:
        message = str(error)
    except Exception as unprintable:  # a plugin's own type may fail even at this
        message = f"its message cannot be shown: {type(unprintable).__name__}"
    text = " ".join(f"{type(error).__name__}: {message}".split())
    where = plugin_line(error)
    if where is None:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if not f.filename.startswith(_MACHINERY)]
        where = f"{own[-1].filename}, line {own[-1].lineno}" if own else None
    return f"{text} ({where})" if where else text


def out_of_memory(error: BaseException) -> bool:
    """Whether it says that there is no memory left, of this machine or of a device."""
    # By name: whoever asks must not import torch for it. On a CPU torch raises a plain error.
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and "allocate memory" in str(error))


def plugin_line(error: BaseException) -> str | None:
    """The file and line at which a plugin raised an exception, or called what did.

    ``None`` where no plugin but the shipped ones is in its traceback.
    """
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        if module.startswith(FILE_MODULE) or module.partition(".")[0] in _plugin_packages():
            found = f"{frame.f_code.co_filename}, line {line}"
    return found


@cache
def _plugin_packages() -> set[str]:
    """Packages whose entry points are plugins, but for the project's own."""
    return {entry.package for entry in plugin_entry_points()} - {"backtest", ""}
