"""Tests run again with nothing compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def passed_as_plain_python(file: str, *chosen: str) -> str:
    """What pytest says of a file's tests with ``NUMBA_DISABLE_JIT``; it fails unless all pass.

    Warnings are errors, so an integer that wraps is one.
    """
    program = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*program, file, *chosen],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
