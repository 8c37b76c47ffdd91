"""Text from outside, made fit to be shown."""

from __future__ import annotations

import unicodedata

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
