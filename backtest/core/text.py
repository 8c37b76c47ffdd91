"""Text escaped for its destination: a terminal, a page, a line of TOML."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

_ESCAPES = {ord('"'): '\\"', ord("\\"): "\\\\"} | {
    code: f"\\u{code:04x}" for code in (*range(0x20), 0x7F)
}
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
    """``Did you mean 'x'?`` where something known is close to what was wanted."""
    close = get_close_matches(wanted, list(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else None


def quoted(text: str) -> str:
    """Text in double quotes, as TOML has it."""
    return f'"{text.translate(_ESCAPES)}"'
