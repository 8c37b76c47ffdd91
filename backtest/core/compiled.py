"""What callers of compiled loops need without loading them."""

from __future__ import annotations

COMPILED_FROM = 20_000
"""Events from which on the compiled loops are worth loading."""


INT64 = 2**63 - 1
"""The largest number that the loops can hold."""


class Uncompiled(Exception):
    """The compiled loops cannot settle this exactly."""
