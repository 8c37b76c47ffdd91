"""How values are shown in a notebook."""

from __future__ import annotations

from functools import singledispatch


@singledispatch
def notebook_html(value: object) -> str | None:
    """HTML for a value, from the ``_repr_html_`` of its class; ``None``: its plain text is shown.

    What HTML there is, is registered by ``backtest.report.notebook``, which may import the classes
    of all these values, while the classes must not import the report.
    """
    return None
