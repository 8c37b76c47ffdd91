"""Tables for people: drawn to the width of a terminal, plain aligned columns elsewhere.

On a terminal, columns whose value is the same in every row are printed once above the table. Text
is then shortened in the middle where its values stay distinct, else wrapped. Numbers are never cut
or wrapped: a table in which they do not fit is printed as a block of lines a row.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from backtest.cli.console import escape_text, out, write

_SHORTEST_NAME = 12
"""To how many cells a name without spaces may be shortened."""

_NARROWEST_PROSE = 20
"""To how many cells a column of text with spaces may be wrapped."""

_LONGEST_WORD = 30
"""Words longer than this may be broken in prose."""

_GAP = 2

_BOUND = "\N{NO-BREAK SPACE}"
_UNIT = re.compile(r"(?<=\d) (?=(?:ns|µs|ms|s|min|h|d|%|events|files?)\b|%)")


@dataclass(slots=True)
class _Column:
    """A column: its cells are numbers if it is on the right, else names or prose."""

    header: str
    cells: list[str]
    right: bool

    @property
    def prose(self) -> bool:
        return not self.right and any(" " in cell for cell in self.cells)

    @property
    def natural(self) -> int:
        """The width at which nothing is wrapped."""
        return max(map(cell_len, (self.header, *self.cells)))

    @property
    def snug(self) -> int:
        """The width at which only the header is wrapped, by words."""
        return max(map(cell_len, (*self.header.split(), *self.cells)), default=0)

    @property
    def least(self) -> int:
        """The width below which the table is not drawn."""
        if self.right:
            return self.snug
        bound = _SHORTEST_NAME
        if self.prose:
            words = (cell_len(word) for cell in self.cells for word in cell.split())
            bound = min(max(_NARROWEST_PROSE, *words), _LONGEST_WORD)
        return min(self.snug, max(bound, *map(cell_len, self.header.split()), 0))

    def fitted(self, width: int) -> list[str]:
        """The cells, prose wrapped, names shortened to the width if that leaves them distinct."""
        if self.right:
            return self.cells
        if self.prose:
            return [_wrapped(cell, width) for cell in self.cells]
        short = [_shortened(cell, width) for cell in self.cells]
        return short if len(set(short)) == len(set(self.cells)) else self.cells


def print_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    title: str | None = None,
    right: Collection[str] = (),
) -> None:
    """A table on stdout: drawn on a terminal, else plain aligned columns, never truncated.

    Args:
        headers: each different; they, the rows and the title are escaped here.
        rows: one cell a header.
        right: headers of the columns to align on the right, which hold numbers.
    """
    if title is not None:
        out.print(Text(escape_text(title), style="bold"))
    if out.is_terminal:
        out.print(drawn(headers, rows, right=right, width=out.width))
        return
    columns = _columns(headers, rows, right)
    widths = [max(map(cell_len, (c.header, *c.cells))) for c in columns]
    for line in zip(*((c.header, *c.cells) for c in columns), strict=True):
        padded = [
            _padded(cell, width, column.right)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ]
        write((" " * _GAP).join(padded).rstrip() + "\n")


def drawn(
    headers: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Collection[str] = (),
    width: int,
) -> RenderableType:
    """A table as a terminal of ``width`` columns shows it; arguments as for ``print_table``."""
    above, columns = _split(_columns(headers, rows, right))
    parts: list[RenderableType] = [Text(f"{c.header}: {c.cells[0]}") for c in above if c.cells[0]]
    widths = _widths(columns, width)
    if widths is None:
        cards = _cards(columns, width)
        parts += [Text(), *cards] if parts else cards
    else:
        parts.append(_table(columns, widths))
    return Group(*parts)


def fits(
    headers: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Collection[str] = (),
    width: int,
) -> bool:
    """Whether ``drawn`` gives a table, not a block of lines a row."""
    _, columns = _split(_columns(headers, rows, right))
    return _widths(columns, width) is not None


def _split(columns: list[_Column]) -> tuple[list[_Column], list[_Column]]:
    """The columns that have one value in several rows, and the others, of which there is one."""
    constant = [c for c in columns if len(c.cells) > 1 and len(set(c.cells)) == 1]
    if len(constant) == len(columns):
        return [], columns
    return constant, [c for c in columns if c not in constant]


def _columns(
    headers: Sequence[str], rows: Sequence[Sequence[object]], right: Collection[str]
) -> list[_Column]:
    cells = [[escape_text(cell) for cell in row] for row in rows]
    return [
        _Column(escape_text(header), [row[k] for row in cells], header in right)
        for k, header in enumerate(headers)
    ]


def _widths(columns: list[_Column], width: int) -> list[int] | None:
    """How wide each column is: headers give way first, then text, the widest first.

    ``None`` if the columns do not fit.
    """
    room = width - _GAP * (len(columns) - 1)
    widths = [c.natural for c in columns]
    for least in ([c.snug for c in columns], [c.least for c in columns]):
        while sum(widths) > room:
            loose = [k for k in range(len(columns)) if widths[k] > least[k]]
            if not loose:
                break
            widths[max(loose, key=widths.__getitem__)] -= 1
    return widths if sum(widths) <= room else None


def _table(columns: list[_Column], widths: list[int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, _GAP - 1, 0, 0))
    for column, width in zip(columns, widths, strict=True):
        table.add_column(
            Text(column.header),
            justify="right" if column.right else "left",
            width=width,
            overflow="fold",
        )
    cells = [c.fitted(width) for c, width in zip(columns, widths, strict=True)]
    for row in zip(*cells, strict=True):
        table.add_row(*map(Text, row))
    return table


def _cards(columns: list[_Column], width: int) -> list[RenderableType]:
    """Each row as a block of lines ``name  value``, numbers aligned with each other."""
    names = max(cell_len(c.header) for c in columns)
    numbers = max((cell_len(cell) for c in columns if c.right for cell in c.cells), default=0)
    room = width - names - _GAP
    parts: list[RenderableType] = []
    for k in range(len(columns[0].cells)):
        if k:
            parts.append(Text())
        if room < max(numbers, _SHORTEST_NAME):  # too narrow for both: values below their names
            parts += [Text(line) for c in columns for line in (c.header, f" {c.cells[k]}")]
            continue
        card = Table.grid(padding=(0, _GAP, 0, 0))
        card.add_column(width=names)
        card.add_column(width=room, overflow="fold")
        for c in columns:
            cell = _padded(c.cells[k], numbers, True) if c.right else _wrapped(c.cells[k], room)
            if cell:
                card.add_row(Text(c.header), Text(cell))
        parts.append(card)
    return parts


def _wrapped(text: str, width: int) -> str:
    """Lines of at most ``width`` characters that never part a number from its unit."""
    bound = _UNIT.sub(_BOUND, text)
    return textwrap.fill(bound, width, break_on_hyphens=False).replace(_BOUND, " ")


def _padded(cell: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(cell))
    return space + cell if right else cell + space


def _shortened(name: str, width: int) -> str:
    """The name with its middle left out, if it is wider than ``width``."""
    if cell_len(name) <= width:
        return name
    head = tail = ""
    for first, last in zip(name, reversed(name), strict=True):
        if cell_len(head + first + tail) > width - 1:
            break
        head += first
        if cell_len(head + last + tail) > width - 1:
            break
        tail = last + tail
    return f"{head}…{tail}"
