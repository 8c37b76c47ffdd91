"""Checkpoints of a long pass 2: the answers so far, and the state that the next events meet.

A checkpoint is a folder beside the stored predictions, under the same content key. Answers lie in
files that are written once, those since the last checkpoint in one of their own; the state lies in
one file, symbol after symbol; ``checkpoint.json`` names them with their SHA-256 and is replaced
last, so it names either the old files or the new ones, all of them whole.

It is a cache: whatever is wrong with it, or with writing it, is warned of and stops no pass.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from backtest.core.array_files import (
    ArrayReader,
    ArrayWriter,
    Unusable,
    read_named,
    read_to_the_end,
    write_named,
)
from backtest.core.arrays import BoolArray
from backtest.core.atomic import lock_folder, new_file
from backtest.core.hashing import sha256_of
from backtest.core.json_text import read_json_table
from backtest.core.spool import Spool
from backtest.errors import BacktestError
from backtest.inference.calls import Calls
from backtest.strategies.base import Strategy

EVERY = 300.0
"""Seconds between two checkpoints of a pass, at least."""

MANIFEST = "checkpoint.json"

_SHARE = 20
"""The next checkpoint waits so many times as long as the last one took to write."""

_TOGETHER = 1 << 26
"""Bytes of state asked for at once; a symbol's own are never divided."""

_FORMAT = 1

_log = logging.getLogger(__name__)


@dataclass
class Position:
    """Where a pass stands between two calls.

    Attributes:
        advanced: symbols whose state is not that of one never seen, bool [S].
        call: calls made.
        answered: events answered.
        session: of the last event; ``None`` before the first.
    """

    advanced: BoolArray
    call: int = 0
    answered: int = 0
    session: int | None = None


@dataclass(frozen=True)
class _Standing:
    """What the checkpoint on the disk consists of; by default there is none.

    Attributes:
        call: calls whose answers it holds.
        answers, state: its files, as its manifest has them.
    """

    call: int = 0
    answers: Sequence[dict[str, Any]] = ()
    state: dict[str, Any] | None = None

    def files(self) -> set[str]:
        if not self.answers:
            return set()
        state = set() if self.state is None else {self.state["file"]}
        return {MANIFEST, *state, *(part["file"] for part in self.answers)}


def resumable(strategy: Strategy) -> bool:
    """Whether ``snapshot`` gives all that another process needs to go on.

    It does not where state is shared across symbols, nor where a strategy has state and leaves
    ``snapshot`` or ``restore`` as they are in the base class.
    """
    kind = type(strategy)
    shown = kind.snapshot is not Strategy.snapshot and kind.restore is not Strategy.restore
    return not strategy.stateful or (strategy.scope == "symbol" and shown)


class Checkpoint:
    """The checkpoint of one pass: read before its first call, written as it goes.

    Who reads or writes it holds a lock on its folder, so that of several processes that compute the
    same answers at once one keeps a checkpoint and the others go on without. As a context manager
    it lets go of the lock at the end and leaves the folder as it is.

    Args:
        folder: where it lies, or will.
        key: the content key of the answers.
        clock: tells seconds and never goes back.

    Attributes:
        resumed: the number of the event that the pass went on from, and how many had been answered;
            ``None``: it began at the beginning.
    """

    def __init__(
        self, folder: Path, key: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder = folder
        self.resumed: dict[str, int] | None = None
        self._key = key
        self._clock = clock
        self._due = clock() + EVERY
        self._lock: int | None = None
        self._told: set[str] = set()
        self._standing = _Standing()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()

    def load(self, strategy: Strategy, symbols: int, calls: Calls, out: Spool) -> Position | None:
        """Take answers and state from it; what is damaged, or of another pass, is removed.

        Args:
            strategy: bound, and all symbols reset; so it is again if nothing is taken.
            symbols: how many it was bound to.
            calls: those of the pass.
            out: takes the answers, [n, outputs].

        Returns:
            Where to go on; ``None`` if there is nothing to go on from.
        """
        with self._warned("the pass starts over"):
            if not self._hold(make=False) or not (self.folder / MANIFEST).exists():
                return None
            at = self._read(strategy, symbols, calls, out)
            self.resumed = {"event": calls.first_event(at.call), "answered": at.answered}
            return at
        strategy.reset(range(symbols))
        self._standing = _Standing()
        with self._warned("cannot be removed"):
            if self._lock is not None:
                self._keep_only()
        return None

    def due(self) -> bool:
        """Whether it is time to write it."""
        return self._clock() >= self._due

    def save(self, strategy: Strategy, calls: Calls, out: Spool, at: Position) -> None:
        """Write it, unless another process does.

        Args:
            strategy, calls, out: as for ``load``.
            at: where the pass stands.
        """
        began = self._clock()
        with self._warned("no checkpoint was written"):
            if self._hold(make=True):
                try:
                    self._keep_only()
                    self._write(strategy, calls, out, at)
                finally:
                    self._keep_only()
        now = self._clock()
        self._due = now + max(EVERY, _SHARE * (now - began))

    def discard(self) -> bool:
        """Remove it, and say whether it is gone; it stays while another process holds it."""
        with contextlib.suppress(OSError):
            if self._hold(make=False):
                self._standing = _Standing()
                self._keep_only()
                self.folder.rmdir()
        self._let_go()
        return not self.folder.exists()

    def _read(self, strategy: Strategy, symbols: int, calls: Calls, out: Spool) -> Position:
        manifest = read_json_table(self.folder / MANIFEST)
        if manifest.pop("sha256") != sha256_of(manifest):
            raise Unusable(f"{MANIFEST} is damaged")
        if (manifest["format"], manifest["key"]) != (_FORMAT, self._key):
            raise Unusable("it is of another pass")
        for part in manifest["answers"]:
            with read_to_the_end(self.folder / part["file"]) as file:
                reader = ArrayReader(file)
                for call in range(*part["calls"]):
                    numbers = calls.numbers(call)
                    out.put(numbers, reader.get((len(numbers), out.width), np.float32))
                reader.check(part["sha256"])
        at = Position(np.zeros(symbols, dtype=np.bool_), **manifest["position"])
        state = manifest["state"]
        if state is not None:
            with read_to_the_end(self.folder / state["file"]) as file:
                for group in state["groups"]:
                    strategy.restore(group["symbols"], read_named(file, group))
                    at.advanced[group["symbols"]] = True
        self._standing = _Standing(at.call, manifest["answers"], state)
        self._keep_only()
        return at

    def _write(self, strategy: Strategy, calls: Calls, out: Spool, at: Position) -> None:
        part: dict[str, Any] = {
            "file": f"answers-{at.call}",
            "calls": [self._standing.call, at.call],
        }
        with new_file(self.folder / part["file"]) as path, path.open("wb") as file:
            writer = ArrayWriter(file)
            for call in range(*part["calls"]):
                writer.put(out.take(calls.numbers(call)))
            part["sha256"] = writer.sha256
        state: dict[str, Any] | None = None
        if strategy.stateful:
            state = {"file": f"state-{at.call}"}
            with new_file(self.folder / state["file"]) as path, path.open("wb") as file:
                state["groups"] = _write_state(file, strategy, np.flatnonzero(at.advanced).tolist())
        manifest = {
            "format": _FORMAT,
            "key": self._key,
            "position": {"call": at.call, "answered": at.answered, "session": at.session},
            "answers": [*self._standing.answers, part],
            "state": state,
        }
        text = json.dumps(manifest | {"sha256": sha256_of(manifest)})
        with new_file(self.folder / MANIFEST) as path:
            path.write_text(text, encoding="utf-8")
        self._standing = _Standing(at.call, [*self._standing.answers, part], state)

    @contextlib.contextmanager
    def _warned(self, what: str) -> Iterator[None]:
        """Warn once of what the system or the strategy raises in the block, and go on after it."""
        try:
            yield
        except Exception as error:
            problem = error.problem if isinstance(error, BacktestError) else str(error)
            level = logging.INFO if what in self._told else logging.WARNING
            _log.log(level, "%s: %s: %s", self.folder, what, problem or type(error).__name__)
            self._told.add(what)

    def _hold(self, *, make: bool) -> bool:
        if self._lock is None:
            self._lock = lock_folder(self.folder, make=make)
        return self._lock is not None

    def _let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    def _keep_only(self) -> None:
        """Remove all files but those of the checkpoint that stands; the manifest goes first."""
        kept = self._standing.files()
        for path in sorted(self.folder.iterdir(), key=lambda path: path.name != MANIFEST):
            if path.name not in kept:
                path.unlink()


def _write_state(
    file: BinaryIO, strategy: Strategy, symbols: Sequence[int]
) -> list[dict[str, Any]]:
    """Write the symbols' state group by group, one group being in memory at a time."""
    groups: list[dict[str, Any]] = []
    done, together = 0, 1
    while done < len(symbols):
        some = symbols[done : done + together]
        group = write_named(file, strategy.snapshot(some))
        groups.append(group | {"symbols": some})
        done += len(some)
        together = max(1, _TOGETHER * len(some) // max(group["bytes"], 1))
    return groups
