"""Text escaped for its destination, and names that a misspelt one may have been meant for."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from pathlib import Path

_ESCAPES = {ord('"'): '\\"', ord("\\"): "\\\\"} | {
    code: f"\\u{code:04x}" for code in (*range(0x20), 0x7F)
}
_LISTED = 40
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def escape_text(text: object) -> str:
    r"""Text from outside that a terminal or a page can be given: what would steer it is shown.

    Control and format characters, line breaks and lone surrogates become backslash escapes, such as
    ``\x1b``.
    """
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in _UNPRINTABLE else c
        for c in str(text)
    )


def escape_lines(text: str) -> str:
    r"""Several lines, of which each is escaped like ``escape_text`` does; tabs stay, too."""
    return "".join(c if c in "\n\t" else escape_text(c) for c in text) if _hostile(text) else text


def _hostile(text: str) -> bool:
    return any(unicodedata.category(c) in _UNPRINTABLE for c in set(text) - {"\n", "\t"})


def suggestion(wanted: str, known: Iterable[str]) -> str | None:
    """``Did you mean 'x'?`` where something known is close to what was wanted, in either case."""
    near = _nearest(wanted, known)
    return None if near is None else f"Did you mean {near!r}?"


def suggestion_or_list(wanted: str, known: Collection[str], title: str = "Known") -> str:
    """``suggestion``, or else ``TITLE: a, b, c.`` with the first of what is known."""
    return suggestion(wanted, known) or f"{title}: {first_of(known, _LISTED) or 'none'}."


def first_of(names: Collection[str], most: int = 5, separator: str = ", ") -> str:
    """``a, b, c and 1,497 more``: names, if there are more than ``most`` without the rest."""
    shown = separator.join(itertools.islice(names, most))
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def in_one_line(message: str) -> str:
    """A problem and its remedy, which stand on lines of their own, as sentences of one line."""
    lines = [line.strip() for line in message.split("\n")]
    ended = [line if line.endswith((".", "?", ":", ";")) else f"{line}." for line in lines[:-1]]
    return " ".join([*ended, lines[-1]])


def by_cause(failures: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The names of what failed by their error, from pairs of name and error, in order."""
    found: dict[str, list[str]] = {}
    for name, error in failures:
        found.setdefault(error, []).append(name)
    return found


def suggested_path(path: Path) -> str | None:
    """``Did you mean 'x'?`` for a path that does not exist, from the names beside it."""
    missing = next((p for p in (path, *path.parents) if p.parent.is_dir()), None)
    if missing is None:
        return None
    try:
        near = _nearest(missing.name, sorted(entry.name for entry in missing.parent.iterdir()))
    except OSError:
        return None
    return None if near is None else f"Did you mean {str(missing.parent / near)!r}?"


def _nearest(wanted: str, known: Iterable[str]) -> str | None:
    plain = {_plain(name): name for name in reversed(list(known))}
    close = get_close_matches(_plain(wanted), list(plain), n=1)
    return plain[close[0]] if close else None


def _plain(name: str) -> str:
    return name.casefold().replace("_", "-")


def quoted(text: str) -> str:
    """Text in double quotes, as TOML has it."""
    return f'"{text.translate(_ESCAPES)}"'
