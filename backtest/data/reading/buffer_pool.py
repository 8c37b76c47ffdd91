"""Memory that is used again: fresh pages cost several times what filling them does."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

_KEPT = 64
"""Arrays of a type that are kept to be used again."""

_NOBODY_ELSE = 3
"""References to an array that is in a list and in a variable, as counted by a call."""


class Space:
    """Arrays to be used again as soon as nobody else holds them or a view of them."""

    def __init__(self) -> None:
        self._arrays: dict[str, list[Any]] = {}

    def flat(self, dtype: np.dtype[Any], count: int) -> Any:
        """An array [count] of that type, whatever its elements are."""
        known = self._arrays.setdefault(dtype.str, [])
        for k in range(len(known)):
            free = known[k]
            # Any other holder of it, or of a view of it, counts; it can only be obtained here.
            if len(free) >= count and sys.getrefcount(free) == _NOBODY_ELSE:
                known.append(known.pop(k))
                return free[:count]
        known[:] = [one for one in known if len(one) >= count][-_KEPT:]
        known.append(np.empty(count + count // 4, dtype=dtype))
        return known[-1][:count]
