"""Plugins as files: importing a single one, and hashing its source."""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from backtest.core.text import suggested_path
from backtest.core.tracebacks import FILE_MODULE
from backtest.errors import PluginError


def load_file(path: Path) -> ModuleType:
    """Import one Python file under a module name of its own.

    The same file, unchanged, gives the same module again, so that its classes stay themselves.

    Raises:
        PluginError: there is no such Python file. Exceptions of its own code are passed on.
    """
    if path.suffix != ".py" or not path.is_file():
        near = None if path.exists() else suggested_path(path)
        raise PluginError("no such Python file", remedy=near or "Give the path of a .py file.")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise PluginError(f"the file cannot be read: {error.strerror}") from None
    identity = hashlib.sha256(str(path.resolve()).encode() + b"\0" + source).hexdigest()
    name = f"{FILE_MODULE}{re.sub('[^0-9A-Za-z_]', '_', path.stem)}_{identity[:12]}"
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
