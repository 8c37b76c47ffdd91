"""The standard streams of a command: stdout holds its output alone, and a lost stream ends it.

What plugins and libraries print, even from C, goes to stderr. A stream whose reader has left or
whose disk is full never raises where it is written to, which may be anywhere in a plugin. It notes
the error and takes no more; the command ends when it prints next.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from backtest.core import special_files
from backtest.errors import DataError

READER_GONE = 141
"""The exit code when nobody reads the output any more: that of a process that SIGPIPE ends."""


class StreamLost(BaseException):
    """Raised where a command prints to a stream that takes no more."""


class _Raw(io.RawIOBase):
    """Writes to a descriptor, until that fails."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.lost: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        while self.lost is None:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # whoever shares the pipe has made it so
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.lost = error
        return len(data)


def check(stream: object) -> None:
    """End the command if a stream is lost to it.

    Raises:
        StreamLost: it is, and this is the main thread.
    """
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    lost = raw.lost if isinstance(raw, _Raw) else None
    # An error message that cannot be written is no reason to stop; that nobody reads it is.
    ends = lost is not None and (isinstance(lost, BrokenPipeError) or stream is not sys.stderr)
    if ends and threading.current_thread() is threading.main_thread():
        raise StreamLost


class StandardStreams:
    """Stdout and stderr of a process while it executes a command.

    Where they are others than the process has, such as those of a test or a notebook, they stay.

    Args:
        own: whether the process ends with the command: then nothing is put back at its end.
    """

    def __init__(self, *, own: bool) -> None:
        self._own = own
        self._before = sys.stdout, sys.stderr
        self._raw: dict[str, _Raw] = {}
        real = [sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__]
        if any(real):
            _open_all()
        if real[0]:
            sys.stdout = self._stream(1, sys.stdout, prompt=os.isatty(1))
        if real[1]:
            sys.stderr = self._stream(2, sys.stderr, prompt=True)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")

    def close(self, tell: Callable[[str], None]) -> int:
        """Write what is left and put back what was there.

        Args:
            tell: prints an error.

        Returns:
            The exit code for what could not be written, after telling of it; 0 if all was.
        """
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(ValueError):  # something closed it
                stream.flush()
        code = self._tell_losses(tell)
        if self._own:
            # What is printed while the process ends is no output either.
            sys.stdout = sys.stderr
            os.dup2(2, 1)
        else:
            sys.stdout, sys.stderr = self._before
            for raw in self._raw.values():
                os.close(raw.fileno())
        return code

    def _tell_losses(self, tell: Callable[[str], None]) -> int:
        lost = {name: raw.lost for name, raw in self._raw.items() if raw.lost is not None}
        if any(isinstance(error, BrokenPipeError) for error in lost.values()):
            return READER_GONE
        if "stdout" not in lost:
            return 0
        from backtest.core.atomic import writing  # not for --help, which loads little

        try:
            with writing(Path("stdout")):
                raise lost["stdout"]
        except DataError as error:
            with contextlib.suppress(StreamLost):
                tell(str(error))
            return error.exit_code

    def _stream(self, descriptor: int, before: TextIO | None, *, prompt: bool) -> TextIO:
        if before is not None:
            with contextlib.suppress(OSError):
                before.flush()
        raw = _Raw(os.dup(descriptor))
        self._raw["stdout" if descriptor == 1 else "stderr"] = raw
        encoding = "utf-8" if before is None else before.encoding
        return io.TextIOWrapper(io.BufferedWriter(raw), encoding, line_buffering=prompt)


@contextmanager
def reserved_stdout() -> Iterator[TextIO]:
    """Stdout for the command's output; within the block whatever else is printed goes to stderr."""
    output = sys.stdout
    raw = getattr(getattr(output, "buffer", None), "raw", None)
    real = raw if isinstance(raw, _Raw) else None
    output.flush()
    sys.stdout = sys.stderr
    if real is not None:
        os.dup2(2, 1)
        special_files.reserved = output
    try:
        yield output
    finally:
        sys.stdout = output
        special_files.reserved = None
        if real is not None:
            # What C code has printed and libc still holds must not follow the output.
            ctypes.CDLL(None).fflush(None)
            os.dup2(real.fileno(), 1)


def _open_all() -> None:
    """Occupy standard descriptors that are closed, lest the next file that is opened be one."""
    # Writing to the second fails, as it would if it were closed; nobody misses the third.
    for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, mode)
