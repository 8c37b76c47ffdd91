"""The sections that a report consists of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from markupsafe import Markup

from backtest.report.material import Material

MOST_RUNS = 1_000
"""Runs of which a report shows every section."""


class ReportSection(ABC):
    """One chapter of the report.

    Attributes:
        title: its heading.
        place: sections are ordered by place, then by name. The shipped ones have places from 10 to
            140.
        many: whether it is shown for more than ``MOST_RUNS`` runs too, without being asked for.
    """

    title: ClassVar[str]
    place: ClassVar[int] = 1000
    many: ClassVar[bool] = False

    @abstractmethod
    def render(self, material: Material) -> Markup | None:
        """Its HTML, or ``None`` if it has nothing to show for these runs.

        ``Markup("...").format(...)`` and the helpers of ``backtest.report.html`` and ``charts``
        escape what comes from outside. Style attributes and scripts do not work: the page's
        content security policy allows only its own.
        """
