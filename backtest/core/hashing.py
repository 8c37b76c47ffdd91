"""Hashes of plain values, and of this package's own source."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON that is the same for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_of(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


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
