"""Callbacks through which long work reports how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

ProgressCallback: TypeAlias = Callable[[int, int], None]
"""Called with how much is done and how much there is in all, in the unit that its caller states."""

StepCallback: TypeAlias = Callable[[str], None]
"""Called with a short description of each step as it begins."""
