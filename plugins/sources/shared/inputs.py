"""Which files of an input a source reads, and which it leaves out, each with the reason."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from backtest.core.text import first_of
from backtest.errors import DataError

HIDDEN = "hidden"
NAMED = "named by --ignore"
AGAIN = "a link to a file that is read anyway"
PACKINGS = (".gz", ".zst", ".bz2", ".xz")
"""Suffixes of compressed files; see ``backtest.plugins.sources.shared.packed``."""


@dataclass(frozen=True)
class Inputs:
    """The files of an input.

    Attributes:
        paths: those to read, sorted.
        ignored: how many are left out, by reason.
    """

    paths: tuple[Path, ...]
    ignored: Mapping[str, int]


def input_files(
    input: Path, suffixes: tuple[str, ...] | None, ignore: Sequence[str], *, noun: str
) -> Inputs:
    """The input itself, or the files of a folder, at any depth and through links.

    Args:
        input: a file, which is read whatever its name, or a folder.
        suffixes: how names of files that can be read end, in either case; ``None`` for any.
        ignore: patterns of names, or of paths below the folder, to leave out.
        noun: what the files are called if there are none.

    Raises:
        DataError: no file to read, files with other suffixes that no pattern names, or a folder
            that cannot be read.
    """
    if not input.is_dir():
        return Inputs((input,), {})
    paths: list[Path] = []
    unknown: list[str] = []
    ignored: Counter[str] = Counter()
    read: set[str] = set()
    for path in _walk(input):
        place = path.relative_to(input).as_posix()
        if any(part.startswith(".") for part in place.split("/")):
            ignored[HIDDEN] += 1
        elif is_named(place, ignore):
            ignored[NAMED] += 1
        elif not path.is_file() or not has_suffix(place, suffixes):
            unknown.append(place)
        elif os.path.realpath(path) in read:
            ignored[AGAIN] += 1
        else:
            read.add(os.path.realpath(path))
            paths.append(path)
    refuse_unknown(unknown, suffixes, place=str(input))
    if not paths:
        raise DataError(f"the folder holds no {noun}", place=str(input))
    return Inputs(tuple(paths), dict(ignored))


def card_name(prefix: str, path: Path) -> str:
    """A name for the card of what was read from a path."""
    stem = re.sub(r"[^A-Za-z0-9._-]", "-", path.name.split(".")[0])
    return stem if stem.startswith(prefix) else f"{prefix}-{stem}"


def is_named(place: str, ignore: Sequence[str]) -> bool:
    """A pattern matches the path below the input, or the name alone."""
    names = (place, place.rsplit("/", 1)[-1])
    return any(fnmatchcase(name, pattern) for name in names for pattern in ignore)


def has_suffix(name: str, suffixes: tuple[str, ...] | None) -> bool:
    """The name ends in one of the suffixes, in either case."""
    return suffixes is None or name.lower().endswith(suffixes)


def refuse_unknown(names: Sequence[str], suffixes: tuple[str, ...] | None, *, place: str) -> None:
    """Refuse files that would be left out without a word.

    Raises:
        DataError: there are some.
    """
    if not names:
        return
    wanted = f"files whose names end in {', '.join(suffixes)}" if suffixes else "regular files"
    raise DataError(
        f"the input holds {first_of(list(map(repr, sorted(names))))}, which this source does not"
        f" read: it reads {wanted}",
        place=place,
        remedy="Name what to leave out with --ignore PATTERN, for example"
        f" --ignore {sorted(names)[0]!r}.",
    )


def _walk(folder: Path) -> Iterator[Path]:
    """Every entry that is no folder, in order; hidden folders are entries, links are followed."""

    def fail(error: OSError) -> None:
        raise DataError(f"the folder cannot be read: {error.strerror}", place=error.filename)

    seen = {os.path.realpath(folder)}
    for root, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        here = Path(root)
        hidden = [name for name in folders if name.startswith(".")]
        for name in sorted(folders):
            real = os.path.realpath(here / name)
            # A link back to a folder that was met leads to files that are read already.
            if name in hidden or real in seen:
                folders.remove(name)
            seen.add(real)
        folders.sort()
        yield from (here / name for name in sorted([*names, *hidden]))
