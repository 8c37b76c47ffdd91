"""What callers of compiled loops need without loading them.

Loops that are sequential by nature are compiled by numba. They lie beside their callers, in modules
called ``loops`` or ``..._loops``, which are imported only where a loop is about to be run.

Numbers that index are cast to ``np.uint64`` where it counts: for others numba provides for negative
ones, which takes a few instructions each time and keeps loops from being vectorised.
"""

from __future__ import annotations

COMPILED_FROM = 20_000
"""Events from which on the compiled loops are worth loading."""


INT64 = 2**63 - 1
"""The largest number that the loops can hold."""


class Uncompiled(Exception):
    """The compiled loops cannot settle this exactly."""
