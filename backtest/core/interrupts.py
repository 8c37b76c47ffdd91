"""Ctrl-C that no library can swallow.

Python turns SIGINT into a ``KeyboardInterrupt`` wherever its main thread happens to be. Libraries
that catch everything there lose it: pyarrow, for one, drops whatever its lazy import of pandas
raises. So the signal is noted as well, and long work asks for the note between its steps.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_noted = threading.Event()


@contextmanager
def noting_interrupts() -> Iterator[None]:
    """Within the block SIGINT is noted before it raises ``KeyboardInterrupt`` as ever.

    A handler of somebody else's stays, as does a SIGINT that is ignored; outside the main thread
    nothing changes.
    """
    _noted.clear()
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, _note)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _noted.clear()


def raise_if_interrupted() -> None:
    """Raise the ``KeyboardInterrupt`` of a SIGINT that was noted and yet did not end the work."""
    if _noted.is_set():
        raise KeyboardInterrupt


def _note(number: int, frame: FrameType | None) -> None:
    _noted.set()
    signal.default_int_handler(number, frame)
