"""Ticks, lots and other numbers that a source is given for single symbols."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, Protocol

from backtest.core.text import suggestion_or_list
from backtest.data.sources import Source
from backtest.errors import DataError


@dataclass(frozen=True)
class SizedSource(Source):
    """A source with parameters of the form ``SYMBOL=SIZE``.

    Attributes:
        BY_SYMBOL: names of these parameters.
    """

    BY_SYMBOL: ClassVar[tuple[str, ...]] = ("tick_sizes", "lot_sizes")

    def __post_init__(self) -> None:
        for name in self.BY_SYMBOL:
            self.sizes(name)

    def sizes(self, name: str) -> dict[str, Decimal]:
        """What a parameter gives, by symbol.

        Raises:
            ValueError: not ``SYMBOL=SIZE``, or a size that is not above 0.
        """
        # Sources are imported whenever plugins are listed: what is slow to import waits until here.
        from backtest.plugins.sources.shared.decimals import decimals_by_symbol

        return decimals_by_symbol(getattr(self, name), name)


class SizeOptions(Protocol):
    """Parameters of a ``SizedSource``."""

    @property
    def BY_SYMBOL(self) -> tuple[str, ...]: ...

    def sizes(self, name: str) -> dict[str, Decimal]: ...


def sizes_of(
    source: SizeOptions, symbols: Collection[str], noun: str = "symbol"
) -> dict[str, dict[str, Decimal]]:
    """What every such parameter gives, by its name and by symbol.

    Args:
        source: the parameters.
        symbols: those of the data.
        noun: what they are called in messages.

    Raises:
        DataError: a parameter contains another symbol.
    """
    given = {name: source.sizes(name) for name in source.BY_SYMBOL}
    for name, sizes in given.items():
        for unknown in sorted(sizes.keys() - {*symbols}):
            article = "an" if noun[0] in "aeiou" else "a"
            raise DataError(
                f"{name} contains {unknown!r}, which is not {article} {noun} of the data",
                remedy=suggestion_or_list(unknown, sorted(symbols), f"{noun.capitalize()}s"),
            )
    return given


@contextmanager
def on_their_grid(place: str, rows: str = "") -> Iterator[None]:
    """While numbers are counted in ticks and lots: one that is off the grid is wrong in the data.

    Args:
        place: the file.
        rows: which of its rows are counted, as it begins the message.

    Raises:
        DataError: instead of ``ValueError``.
    """
    try:
        yield
    except ValueError as error:
        raise DataError(
            f"{rows}{error}",
            place=place,
            remedy="Correct tick_sizes or lot_sizes, or leave them to be inferred.",
        ) from None
