"""``backtest docs``: the documentation that belongs to this version, page by page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _pages(ctx: typer.Context, incomplete: str) -> list[str]:
    return [page for page in pages() if page.startswith(incomplete)]


def docs(
    page: Annotated[
        str | None,
        typer.Argument(
            metavar="[PAGE]", help="Such as data or parts/strategy.", autocompletion=_pages
        ),
    ] = None,
) -> None:
    """Print a page of the documentation, or list the pages.

    Example: backtest docs data
    """
    import re

    from backtest.cli.console import write
    from backtest.cli.tables import print_table
    from backtest.core.text import suggestion
    from backtest.errors import UsageError

    known = pages()
    if page is None:
        print_table(("page", "title"), [(name, _title(path)) for name, path in known.items()])
        return
    name = page.removeprefix("docs/").removesuffix(".md")
    if name not in known:
        remedy = suggestion(name, known) or f"Pages: {', '.join(known)}."
        raise UsageError(f"the documentation has no page {page!r}", remedy=remedy)
    text = known[name].read_text(encoding="utf-8")
    write(re.sub(r"^<!-- .* -->\n", "", text, flags=re.MULTILINE))


def pages() -> dict[str, Path]:
    """The pages by name; an installed package holds them, a checkout has them beside it."""
    package = Path(__file__).resolve().parents[1]
    folder = next((f for f in (package / "docs", package.parent / "docs") if f.is_dir()), package)
    found = {
        path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.md")
    }
    return dict(sorted(found.items(), key=lambda item: ("/" in item[0], item[0])))


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()
