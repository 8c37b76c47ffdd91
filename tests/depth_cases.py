"""Cases of orders on depth worked by hand; each takes whatever replays a list of messages."""

from __future__ import annotations

from tests import depth_exact_cases, depth_level_cases, depth_order_cases, depth_taker_cases
from tests.depth_play import CASES

MODULES = (depth_level_cases, depth_taker_cases, depth_order_cases, depth_exact_cases)
"""Those that put their cases on the list."""

__all__ = ["CASES", "MODULES"]
