"""Small pieces of HTML, escaped."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from markupsafe import Markup


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Collection[str] = (),
    caption: str = "",
    factors: Collection[str] = (),
    bars: Collection[str] = (),
    more: Collection[str] = (),
    entries: Sequence[int] | None = None,
) -> Markup:
    """A table that readers can sort, copy and save as CSV; the first column heads its row.

    Args:
        headers: of the columns.
        rows: of cells.
        right: headers of columns of numbers.
        caption: what the table shows.
        factors: headers of columns by which rows can be filtered and grouped.
        bars: headers of columns of amounts that are drawn as bars from a common zero.
        more: headers of columns that are shown on request, where there are ``factors``.
        entries: the page's entry that each row stands for, which is picked there.
    """
    kinds = [
        _class(h in right)
        + (Markup(" data-factor") if h in factors else "")
        + (Markup(" data-bar") if h in bars else "")
        + (Markup(" data-more") if h in more and factors else "")
        for h in headers
    ]
    head = _join(
        Markup('<th scope="col"{}>{}</th>').format(kind, h)
        for kind, h in zip(kinds, headers, strict=True)
    )
    numeric = [_class(h in right) for h in headers]
    body = _join(
        Markup("<tr{}>{}</tr>").format(
            Markup(' data-entry="{}"').format(entries[place]) if entries is not None else "",
            _join(
                Markup('<th scope="row">{}</th>').format(cell)
                if k == 0
                else Markup("<td{}>{}</td>").format(numeric[k], cell)
                for k, cell in enumerate(row)
            ),
        )
        for place, row in enumerate(rows)
    )
    title = Markup("<caption>{}</caption>").format(caption) if caption else ""
    return Markup(
        '<div class="scroll data"{} tabindex="0" role="region" aria-label="{}"><table>{}<thead><tr>'
        "{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(Markup(" data-filter") if factors else "", caption or "table", title, head, body)


def paragraph(text: object, kind: str = "") -> Markup:
    """A paragraph, of a class where one is given."""
    return Markup("<p{}>{}</p>").format(Markup(' class="{}"').format(kind) if kind else "", text)


def details(summary: str, content: Markup, *, opened: bool = False) -> Markup:
    """A section that readers can unfold; printed as it is shown on the screen."""
    return Markup("<details{}><summary>{}</summary>{}</details>").format(
        Markup(" open") if opened else "", summary, content
    )


def bullets(lines: Sequence[object]) -> Markup:
    """A list."""
    return Markup("<ul>{}</ul>").format(_join(Markup("<li>{}</li>").format(x) for x in lines))


def amount(value: float | None, digits: int = 2) -> str:
    """A number, or a dash."""
    return "–" if value is None else f"{value:,.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share in percent, or a dash."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def number(value: float) -> str:
    """A number for people: thousands grouped, at least three figures of it."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e7 or size < 1e-4:
        return f"{value:.3g}"
    decimals = max(0, 2 - math.floor(math.log10(size)))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _class(numeric: bool) -> Markup:
    return Markup(' class="n"') if numeric else Markup("")


def _join(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)
