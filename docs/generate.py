"""Regenerates the generated parts of the docs: ``python -m docs.generate`` (or ``make docs``).

A page holds a generated part between ``<!-- NAME -->`` and ``<!-- /NAME -->``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from backtest.plugins import hooktable

FOLDER = Path(__file__).parent

GENERATED: dict[tuple[str, str], Callable[[], str]] = {
    ("plugins.md", "hooks"): hooktable.markdown,
}
"""The generator of each part, by page and name."""


def regenerated(page: str, text: str) -> str:
    """The page's text with its generated parts replaced.

    Raises:
        ValueError: a part's marks are missing.
    """
    for (home, name), generate in GENERATED.items():
        if home != page:
            continue
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, opened, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not (opened and closed):
            raise ValueError(f"{page} needs {start} and {end}")
        text = f"{before}{start}\n{generate()}\n{end}{after}"
    return text


if __name__ == "__main__":
    for page in {page for page, _ in GENERATED}:
        path = FOLDER / page
        path.write_text(regenerated(page, path.read_text()))
