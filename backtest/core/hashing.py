"""Hashes of plain values, and of this package's own source."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON that is the same for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_of(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def content_sha256(path: Path) -> str | None:
    """SHA-256 of a file, or of names and content of all files below a folder; ``None``: neither.

    A file that has not changed since it was read is not read again.
    """
    try:
        if path.is_file():
            state = path.stat()
            identity = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
            return _file_sha256(path.resolve(), identity)
        if not path.is_dir():
            return None
        digest = hashlib.sha256()
        for file in sorted(path.rglob("*")):
            if file.is_file():
                digest.update(f"{file.relative_to(path).as_posix()}\0".encode())
                digest.update(f"{content_sha256(file)}\0".encode())
        return digest.hexdigest()
    except (OSError, ValueError):  # too long a name, or one with a NUL
        return None


@lru_cache(maxsize=256)
def _file_sha256(path: Path, identity: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def package_sha256() -> str:
    """SHA-256 over every Python file of ``backtest``, so that edited code meets no stale result.

    The symlinked folders belong to it: plugins and strategies determine results as well.
    """
    # The package by its name, because this module may lie at any depth below it.
    root = Path(str(resources.files(__name__.partition(".")[0])))
    digest = hashlib.sha256()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        subfolders.sort()
        for name in sorted(names):
            if name.endswith(".py"):
                path = Path(folder, name)
                digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()
