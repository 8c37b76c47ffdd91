"""Making things ahead of their consumer, on another thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

_T = TypeVar("_T")


def ahead(items: Iterator[_T], depth: int) -> Generator[_T, None, None]:
    """The items, made by another thread at most ``depth`` ahead of the consumer.

    The thread ends when the items do, when making one raises (which is raised here), or when this
    iterator is closed; and then they are closed too, if they are a generator.
    """
    ready: queue.SimpleQueue[tuple[_T] | BaseException | None] = queue.SimpleQueue()
    slots = threading.Semaphore(depth)
    stopped = threading.Event()

    def work() -> None:
        try:
            for item in items:
                slots.acquire()
                if stopped.is_set():
                    return
                ready.put((item,))
            ready.put(None)
        except BaseException as error:  # handed over, whatever it is
            ready.put(error)

    thread = threading.Thread(target=work, name="event-bus", daemon=True)
    thread.start()
    try:
        while (made := ready.get()) is not None:
            if isinstance(made, BaseException):
                raise made
            slots.release()
            yield made[0]
    finally:
        stopped.set()
        slots.release()
        thread.join()
        if isinstance(items, Generator):
            items.close()
