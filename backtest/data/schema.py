"""Which canonical columns Parquet files hold, of which types, and how two files differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from backtest.core.text import suggestion
from backtest.errors import DataError

if TYPE_CHECKING:
    from backtest.data.card import Card
    from backtest.data.parquet import Footer

TIMESTAMP = pa.timestamp("ns", "UTC")
TIMES = ("ts_event", "ts_recv")
PAIRS = (("bid", "ask"), ("bid_size", "ask_size"), ("trade_price", "trade_size"))
DEPTH = {
    "seq": pa.int64(),
    "side": pa.int8(),
    "price": pa.int64(),
    "size": pa.int64(),
    "flags": pa.uint8(),
}
"""Columns of a file of depth besides the time and the symbol."""

ORDERS = {"order_id": pa.int64(), "action": pa.int8()}
"""Those that it has if its rows are of single orders (L3)."""

REMEDY = "Convert the files with `backtest data ingest`; `backtest docs data` has the format."


@dataclass(frozen=True)
class Layout:
    """What a dataset's files hold.

    Attributes:
        core: canonical name → name in the files, of the columns present.
        types: name in the files → type, features and targets included.
        features: names of the features, in order.
        packed: the binary column that holds all features, or ``None`` if each has its own.
        targets: names of the target columns, in order.
    """

    core: Mapping[str, str]
    types: Mapping[str, str]
    features: tuple[str, ...]
    packed: str | None
    targets: tuple[str, ...]

    def has(self, canonical: str) -> bool:
        """The files hold this canonical column."""
        return canonical in self.core


def layout_of(card: Card, footer: Footer) -> Layout:
    """What one file holds, as the card names it.

    Raises:
        DataError: columns that are missing or of another type, all at once.
    """
    names = dict(card.columns)
    renamed = card.columns.model_fields_set
    packed = card.features.packed if card.features else None
    features = card.features.all if card.features else ()
    targets = card.targets.columns if card.targets else ()
    columns = _Found(footer, names.values())
    found, problems, take = columns.types, columns.problems, columns.take

    floats = {packed, *(features if packed is None else ()), *targets}
    core = {
        canonical: name
        for canonical, name in names.items()
        if canonical in renamed
        or canonical in ("ts_event", "symbol")
        or (name in found and name not in floats)
    }
    for canonical, name in core.items():
        if canonical in TIMES:
            take(name, "timestamp[ns, UTC] or int64 ns", [TIMESTAMP, pa.int64()])
        elif canonical == "symbol":
            take(name, "text", _text_types(found.get(name)))
        elif canonical == "aggressor":
            take(name, "int8", [pa.int8()])
        else:
            take(name, "int64", [pa.int64()])
    for pair in PAIRS:
        lone = [names[c] for c in pair if c in core]
        if len(lone) == 1:
            problems.append(f"column {lone[0]!r} is there without its other half of {pair}")
    if "bid_size" in core and "bid" not in core:
        problems.append("sizes are there without the quotes they belong to")
    if "aggressor" in core and "trade_price" not in core:
        name = names["aggressor"]
        problems.append(f"column {name!r} is there without the trades it belongs to")
    if packed is not None:
        width = 4 * len(features)
        take(packed, f"fixed_size_binary[{width}]", [pa.binary(width)])
    for name in (*(features if packed is None else ()), *targets):
        take(name, "float32", [pa.float32()])
    columns.refuse()
    return Layout(core, columns.taken, features, packed, targets)


def depth_layout_of(footer: Footer) -> Layout:
    """What one file of depth holds; its columns have the canonical names.

    Raises:
        DataError: columns that are missing or of another type, all at once.
    """
    columns = _Found(footer, (*DEPTH, *ORDERS))
    columns.take("ts_event", "timestamp[ns, UTC] or int64 ns", [TIMESTAMP, pa.int64()])
    columns.take("symbol", "text", _text_types(columns.types.get("symbol")))
    orders = tuple(name for name in ORDERS if name in columns.types)
    for name, kind in (DEPTH | {name: ORDERS[name] for name in orders}).items():
        columns.take(name, str(kind), [kind])
    if len(orders) == 1:
        columns.problems.append(
            f"column {orders[0]!r} is there without its other half of {(*ORDERS,)}"
        )
    columns.refuse()
    return Layout(
        {n: n for n in ("ts_event", "symbol", *DEPTH, *orders)}, columns.taken, (), None, ()
    )


class _Found:
    """A file's columns, those taken of them, and what is wrong with these.

    Args:
        footer: of the file.
        known: the names that have a meaning, and are no misspelling of another.
    """

    def __init__(self, footer: Footer, known: Iterable[str]) -> None:
        self.types = {field.name: field.type for field in footer.schema}
        self.taken: dict[str, str] = {}
        self.problems: list[str] = []
        self._footer = footer
        self._known = {*known}

    def take(self, name: str, wanted: str, allowed: Sequence[pa.DataType]) -> None:
        """Demand a column of one of these types; ``wanted`` names them."""
        found, problems = self.types, self.problems
        if name not in found:
            near = suggestion(name, found.keys() - self._known)
            problems.append(f"column {name!r} is missing" + (f". {near}" if near else ""))
        elif self._footer.schema.names.count(name) > 1:
            problems.append(f"column {name!r} is there twice")
        elif found[name] not in allowed:
            problems.append(f"column {name!r} is {found[name]}, not {wanted}")
        else:
            self.taken[name] = wanted if wanted == "text" else str(found[name])

    def refuse(self) -> None:
        """Raise ``DataError`` with all that is wrong, if anything is."""
        if self.problems:
            raise DataError("; ".join(self.problems), place=self._footer.place, remedy=REMEDY)


def check_same_layout(layouts: Sequence[Layout], places: Sequence[str]) -> None:
    """Refuse files that differ in the columns that matter; their order in a file is free.

    Raises:
        DataError: the first file that differs, with the exact difference.
    """
    first = layouts[0].types
    for layout, place in zip(layouts, places, strict=True):
        difference = describe_difference(first, layout.types)
        if difference:
            raise DataError(
                f"its columns differ from those of {places[0]}: {difference}",
                place=place,
                remedy="Files of one dataset have the same columns: ingest them together.",
            )


def describe_difference(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    """What is missing, unexpected or of another type; empty if nothing is."""
    parts = [f"{name!r} is missing" for name in wanted if name not in found]
    parts += [f"{name!r} is unexpected" for name in found if name not in wanted]
    parts += [
        f"{name!r} is {found[name]}, not {wanted[name]}"
        for name in wanted
        if name in found and found[name] != wanted[name]
    ]
    return "; ".join(parts)


def _text_types(found: pa.DataType | None) -> list[pa.DataType]:
    text = [pa.string(), pa.large_string(), pa.string_view()]
    if found is not None and pa.types.is_dictionary(found) and found.value_type in text:
        return [found]
    return text
