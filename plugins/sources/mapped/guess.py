"""A first mapping for a file, from its names and its first rows, for its owner to correct."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from backtest.core import toml
from backtest.data.card import Columns
from backtest.plugins.sources.mapped.mapping_tables import Times
from backtest.plugins.sources.mapped.sample import NUMBER, Sample, sample_of
from backtest.plugins.sources.mapped.times import instants

_SHOWN = 3
_FORMATS = (
    "%d.%m.%Y %H:%M:%S%.f",
    "%m/%d/%Y %H:%M:%S%.f",
    "%d/%m/%Y %H:%M:%S%.f",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y%m%d %H:%M:%S%.f",
    "%Y%m%d %H%M%S",
    "%d %b %Y %H:%M:%S%.f",
    "%m/%d/%Y %I:%M:%S %p",
    "%d.%m.%Y %H:%M",
    "%m/%d/%Y %H:%M",
)
_UNITS = (("s", 10**11), ("ms", 10**14), ("us", 10**17), ("ns", 10**20))
"""Units of numbers since 1970, each with a number that is more of them than there have been."""

_NAMES: Mapping[str, str] = {
    "event": "timestamp|ts|t|tsevent|eventtime|exchangetime|exchtimestamp|datetime|transacttime",
    "date": "date|day|tradedate",
    "clock": "time|clock|timeofday|tradetime",
    "receive": "localtimestamp|tsrecv|recvtime|receivetime|received|localts|localtime",
    "symbol": "symbol|sym|ticker|instrument|instrumentid|pair|product|code|security|contract",
    "bid": "bid|bidprice|bidpx|bestbid|bestbidprice|b|bidpx00",
    "ask": "ask|askprice|askpx|bestask|bestaskprice|a|offer|offerprice|askpx00",
    "bid_size": "bidsize|bidqty|bidamount|bidvolume|bidsz|bestbidqty|bestbidsize|bidsz00|bs",
    "ask_size": "asksize|askqty|askamount|askvolume|asksz|bestaskqty|bestasksize|asksz00|offersize",
    "trade": "price|tradeprice|last|lastprice|px|p",
    "trade_size": "size|qty|quantity|amount|volume|tradesize|tradeqty|tradevolume|q|lastsize",
    "aggressor": "side|aggressor|aggressorside|takerside",
    "maker": "isbuyermaker|buyermaker|m",
}
"""What a column may be, by its name in lower case without what is no letter or digit."""

_TAKEN = {*dict(Columns()).values()}
"""Names that features cannot have."""

_SIDES = (("buy", "sell"), ("b", "s"), ("b", "a"), ("1", "-1"), ("buyer", "seller"))
_NOBODY = ("unknown", "none", "n", "0")
"""Words for the side that initiated a trade: pairs of buyer and seller, and those for nobody."""


def guessed_mapping(path: Path) -> str:
    """A mapping file for a CSV or Parquet file, with what was seen beside each guess.

    What no file says, such as its time zone and currency, stands there as a question.

    Args:
        path: the file; of a zip archive, its first one is looked at.

    Returns:
        TOML.

    Raises:
        DataError: it cannot be read, or has no rows.
    """
    sample = sample_of(path)
    return "\n".join(_Guess(path, sample).lines()) + "\n"


class _Guess:
    """A mapping of a sample, table by table.

    Attributes:
        roles: name of the column by what it is taken for.
        used: columns that the mapping names.
    """

    def __init__(self, path: Path, sample: Sample) -> None:
        self._path, self._sample = path, sample
        self.used: set[str] = set()
        self.roles: dict[str, str] = {}
        for name in sample.columns:
            plain = re.sub(r"[^a-z0-9]", "", name.lower())
            for role, names in _NAMES.items():
                if role not in self.roles and re.fullmatch(names, plain):
                    self.roles[role] = name
                    break

    def lines(self) -> Iterator[str]:
        """The file, line by line."""
        sample, stem = self._sample, self._path.name.split(".")[0]
        rows = max(map(len, sample.columns.values()))
        yield f"# Guessed from the first {rows:,} rows of {self._path.name!r}: correct it."
        yield _pair("name", re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_") or "mine")
        yield from self._time()
        yield "\n[symbol]"
        if "symbol" in self.roles:
            yield self._column("column", "symbol")
        else:
            yield _pair("value", "?", "no column looks like one: the symbol of all rows")
        yield from self._prices()
        yield from self._trade()
        yield from self._rest()
        yield "\n[instrument]"
        yield _pair("currency", "USD", "not known from the file")
        yield '# multiplier = "1"'
        yield '# fee_rate = "0.0001"  # of the notional'
        if sample.written:
            yield "\n[csv]"
            for key, value in sample.written.items():
                yield _pair(key, value)

    def _column(self, key: str, role: str) -> str:
        """A line that names the column of a role, with what it holds."""
        name = self.roles[role]
        self.used.add(name)
        return _pair(key, name, self._seen(name))

    def _seen(self, name: str) -> str:
        cells = list(dict.fromkeys(self._sample.columns[name]))
        shown = ", ".join(cell[:40] for cell in cells[:_SHOWN])
        return f"{shown}, …" if len(cells) > _SHOWN else shown

    def _time(self) -> Iterator[str]:
        yield "\n[time]"
        names = [self.roles[r] for r in ("date", "clock") if r in self.roles]
        if "event" in self.roles or not names:
            names = [self.roles["event"]] if "event" in self.roles else [*self._sample.columns][:1]
        self.used.update(names)
        stated = self._unit(names)
        event = names[0] if len(names) == 1 else names
        yield _pair("event", event, "; ".join(self._seen(name) for name in names))
        if "receive" in self.roles and self._unit([self.roles["receive"]]) == stated:
            yield self._column("receive", "receive")
        for key, value in (stated or {"unit": "?"}).items():
            yield _pair(key, value, "" if stated else "of these times nothing is known")
        yield _pair("zone", "UTC", "the market's; not known from the file")

    def _unit(self, names: Sequence[str]) -> dict[str, Any] | None:
        """What ``[time]`` must say of some columns; ``None``: nothing does."""
        kinds = [self._sample.types.get(name) for name in names]
        if len(names) == 1 and kinds[0] is not None and pa.types.is_timestamp(kinds[0]):
            return {"unit": "timestamp"}
        cells = [self._sample.columns[name] for name in names]
        text = [" ".join(row) for row in zip(*cells, strict=False)]
        if text and all(re.fullmatch(r"[0-9]{9,20}(\.[0-9]+)?", cell) for cell in text):
            largest = max(Decimal(cell) for cell in text)
            return {"unit": next((unit for unit, most in _UNITS if largest < most), "ns")}
        for form in (None, *_FORMATS):
            stated: dict[str, Any] = {"unit": "text"} | ({} if form is None else {"format": form})
            try:
                instants(pa.array(text), Times(event=tuple(names), zone="UTC", **stated))
            except (ValueError, pa.ArrowException):
                continue
            return stated if text else None
        return None

    def _prices(self) -> Iterator[str]:
        for table, grid, roles in (
            ("price", "tick_size", ("bid", "ask", "trade")),
            ("size", "lot_size", ("bid_size", "ask_size", "trade_size")),
        ):
            found = [role for role in roles if self._has_numbers(role)]
            if "ask" in "".join(found) and "bid" not in "".join(found):
                found = [role for role in found if "ask" not in role]
            if not found:
                continue
            step = _step(
                [cell for role in found for cell in self._sample.columns[self.roles[role]]]
            )
            yield f"\n[{table}]"
            yield _pair("unit", "1", "what the number 1 in these columns is worth")
            yield _pair(grid, f"{step:f}", "the largest that all of these rows are multiples of")
            for role in found:
                yield self._column(role.removesuffix("_size"), role)

    def _has_numbers(self, role: str) -> bool:
        cells = self._sample.columns.get(self.roles.get(role, ""), ())
        return bool(cells) and all(NUMBER.fullmatch(cell) for cell in cells)

    def _trade(self) -> Iterator[str]:
        if not self._has_numbers("trade") or not {"aggressor", "maker"} & self.roles.keys():
            return
        role = "aggressor" if "aggressor" in self.roles else "maker"
        values = {cell.lower() for cell in self._sample.columns[self.roles[role]]}
        for buyer, seller in (("false", "true"),) if role == "maker" else _SIDES:
            if values <= {buyer, seller, *_NOBODY}:
                yield "\n[trade]"
                yield self._column("aggressor", role)
                yield _pair("buyer", [buyer])
                yield _pair("seller", [seller])
                if values & {*_NOBODY}:
                    yield _pair("unknown", sorted(values & {*_NOBODY}))
                return

    def _rest(self) -> Iterator[str]:
        columns = self._sample.columns
        numbers = [
            name
            for name, cells in columns.items()
            if name not in self.used | _TAKEN and cells and all(map(NUMBER.fullmatch, cells))
        ]
        if numbers:
            yield "\n# Other columns of numbers: what is known only later belongs in [targets]."
            yield "[features]"
            yield _pair("columns", numbers)
        left = [name for name in columns if name not in self.used and name not in numbers]
        if left:
            yield f"\n# Not used: {', '.join(left)}"


def _pair(key: str, value: Any, comment: str = "") -> str:
    line = toml.dumps({key: value}).strip()
    plain = "".join(c if c.isprintable() else "?" for c in comment)
    return f"{line}  # {plain}" if plain else line


def _step(cells: Sequence[str]) -> Decimal:
    """The grid of numbers: if they have 2 places, the largest of 0.25, 0.05, 0.02 and 0.01."""
    numbers = [Decimal(cell) for cell in cells]
    places = max([0, *(-int(n.normalize().as_tuple().exponent) for n in numbers)])
    whole = [int(n.scaleb(places)) for n in numbers]
    steps = (step for step in (25, 5, 2) if places and not any(n % step for n in whole))
    return Decimal(next(steps, 1)).scaleb(-places)
