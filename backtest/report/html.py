"""Small pieces of HTML, escaped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from markupsafe import Markup


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Collection[str] = (),
    caption: str = "",
) -> Markup:
    """A table that scrolls sideways where the window is narrow; the first column heads its row."""
    numeric = [h in right for h in headers]
    head = _join(
        Markup('<th scope="col"{}>{}</th>').format(_class(n), h)
        for h, n in zip(headers, numeric, strict=True)
    )
    body = _join(
        Markup("<tr>{}</tr>").format(
            _join(
                (
                    Markup('<th scope="row">{}</th>').format(cell)
                    if k == 0
                    else Markup("<td{}>{}</td>").format(_class(numeric[k]), cell)
                )
                for k, cell in enumerate(row)
            )
        )
        for row in rows
    )
    title = Markup("<caption>{}</caption>").format(caption) if caption else ""
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="{}"><table>{}<thead><tr>{}</tr>'
        "</thead><tbody>{}</tbody></table></div>"
    ).format(caption or "table", title, head, body)


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


def _class(numeric: bool) -> Markup:
    return Markup(' class="n"') if numeric else Markup("")


def _join(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)
