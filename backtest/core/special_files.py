"""Outputs that are no regular files: devices, pipes, and descriptors such as ``/dev/stdout``."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from backtest.errors import DataError

reserved: TextIO | None = None
"""Stdout where a command keeps it for itself, and descriptor 1 is stderr."""

_DESCRIPTORS = re.compile("(/dev|/proc/[0-9]+(/task/[0-9]+)?)/fd")


def is_special(target: Path) -> bool:
    """Whether a path names something that is there and can be written to, never replaced.

    Raises:
        DataError: it names a folder, a socket or a disk, which take no file.
        OSError: it cannot be looked up.
    """
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return False
    for holds, kind in (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a disk"),
    ):
        if holds(mode) and _descriptor(target) is None:
            raise DataError(
                f"it cannot be written: it is {kind}",
                place=str(target),
                remedy="Choose the name of a file.",
            )
    return not stat.S_ISREG(mode) or _descriptor(target) is not None


@contextmanager
def special_file(target: Path) -> Iterator[Path]:
    """A path to write to, whose content goes to the device or pipe ``target`` when the block ends.

    Nothing is sent if the block raises.

    Raises:
        OSError: the target does not take it.
    """
    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder) / (target.name or "output")
        yield aside
        with aside.open("rb") as content, _opened(target) as output:
            shutil.copyfileobj(content, output)


def _opened(target: Path) -> BinaryIO:
    descriptor = _descriptor(target)
    if descriptor is None:
        # Neither made nor cut off: it may have become a regular file meanwhile.
        return os.fdopen(os.open(target, os.O_WRONLY | os.O_NOCTTY), "wb")
    # What was printed so far comes first. Opening it anew would begin at the start of its file.
    for stream in (reserved, sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    if descriptor == 1 and reserved is not None:
        descriptor = reserved.fileno()
    return os.fdopen(os.dup(descriptor), "wb")


def _descriptor(target: Path) -> int | None:
    """The descriptor of this process that a path names, through links or directly."""
    for _ in range(40):  # as many links as Linux follows
        folder = os.path.realpath(target.parent)
        if _DESCRIPTORS.fullmatch(folder) and target.name.isdecimal():
            own = folder in ("/dev/fd", os.path.realpath("/proc/self/fd"))
            return int(target.name) if own else None
        if not target.is_symlink():
            return None
        target = target.parent / target.readlink()
    return None
