"""What a report is put together from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from markupsafe import Markup

from backtest.report.material import Material


class ReportSection(ABC):
    """One chapter of the report.

    Attributes:
        title: its heading.
        place: where it stands: sections follow one another by place, then name. The shipped ones
            stand at 10, 20, ..., 120.
    """

    title: ClassVar[str]
    place: ClassVar[int] = 1000

    @abstractmethod
    def render(self, material: Material) -> Markup | None:
        """Its HTML, or ``None`` where these runs give it nothing to say.

        ``Markup("...").format(...)`` and the helpers of ``backtest.report.html`` and ``charts``
        escape what comes from outside. Style attributes and scripts do not work: the page's
        content security policy allows only its own.
        """
