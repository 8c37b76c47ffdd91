"""Text from outside, made fit to be shown."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

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


def suggestion(wanted: str, known: Iterable[str]) -> str | None:
    """``Did you mean 'x'?`` where something known is close to what was wanted."""
    close = get_close_matches(wanted, list(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else None
