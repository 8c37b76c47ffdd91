"""One digest of all the code that a part can be due to, so that every edit of it is noticed."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from backtest.core.hashing import content_sha256

_CODE = {".py", ".so", ".pyd"}
_OWN = __name__.partition(".")[0]


def code_sha256(part: Any, distribution: str | None = None) -> str | None:
    """SHA-256 over the files of a module's or class's code; ``None`` where there is none to read.

    These are all modules of its package and of the distribution that brings it; of a single file,
    those that it imports from its own folder, and that these import from there. The project's own
    parts are told by the file that defines them, since every key has the project's digest besides.

    Args:
        part: a module or class.
        distribution: the installed package that a plugin belongs to.
    """
    try:
        source = inspect.getsourcefile(part)
    except (OSError, TypeError):
        source = None
    if source is None:
        return None
    file = Path(source).resolve()
    name = part.__name__ if inspect.ismodule(part) else part.__module__
    top = sys.modules.get(name.partition(".")[0])
    files = {file}
    if name.partition(".")[0] != _OWN:
        folders = [Path(folder) for folder in getattr(top, "__path__", ())]
        files |= {path for folder in folders for path in _code_below(folder)}
        files |= set(_of_distribution(distribution))
        if not folders:
            files |= set(_imported_beside(file))
    return _digest(files, file.parent)


def _code_below(folder: Path) -> Iterator[Path]:
    """Files of code in a folder and below it."""
    for path in folder.resolve().rglob("*"):
        if path.suffix in _CODE and path.is_file():
            yield path


def _of_distribution(name: str | None) -> Iterator[Path]:
    """Files of code that an installed distribution lists; one installed as a link lists few."""
    if name is None or name == "ticktoll":
        return
    try:
        files = metadata.distribution(name).files or ()
    except metadata.PackageNotFoundError:
        return
    for file in files:
        path = Path(str(file.locate()))
        if path.suffix in _CODE and path.is_file():
            yield path.resolve()


def _imported_beside(file: Path) -> Iterator[Path]:
    """Modules that a file imports from its own folder, and those that they import from there."""
    folder, seen, pending = file.parent, {file}, [file]
    while pending:
        for name in _imports(pending.pop()):
            found = [folder / f"{name}.py"]
            if (folder / name).is_dir():
                found = [*_code_below(folder / name)]
            for path in found:
                if path.is_file() and path not in seen:
                    seen.add(path)
                    pending.append(path)
                    yield path


def _imports(file: Path) -> set[str]:
    """Top-level names that a Python file imports, wherever in it; none of what cannot be parsed."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names


def _digest(files: set[Path], folder: Path) -> str | None:
    """Of names, relative to a folder where they lie below it, and content."""
    contents = {path: content_sha256(path) for path in sorted(files)}
    if None in contents.values():
        return None
    if len(contents) == 1:
        return next(iter(contents.values()))
    digest = hashlib.sha256()
    for path, content in contents.items():
        name = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
        digest.update(f"{name.as_posix()}\0{content}\0".encode())
    return digest.hexdigest()
