"""Order lists: messages to the venue that are replayed as they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.core.arrays import BoolArray, Int64Array
from backtest.core.text import suggestion_or_list
from backtest.errors import DataError
from backtest.market.order_codes import ACTIONS, MOST_LOTS, MOST_PRICE, POST_ONLY, TIMES_IN_FORCE
from backtest.trading import order_layout as ol

if TYPE_CHECKING:
    import pyarrow as pa

SIDES = {"buy": 1, "sell": -1, "": 0}

REQUIRED = ("ts_sent", "symbol", "action", "id")
COLUMNS = (*REQUIRED, "side", "price", "total", "tif", "post_only")

_MOST_INSTANT = 2**63 - 1

_NULLS = "Null is only what the row's action does not need."


@dataclass(frozen=True, slots=True)
class OrderList:
    """Messages in the order in which they are sent, columns [n].

    Attributes:
        sent: int64 ns, ascending.
        symbol: index into the symbol table, int64.
        action: of ``ACTIONS``, as ``order_layout`` numbers them.
        id: of the order, int64, 0 or more, unique among the symbol's orders that work.
        side: +1 buy, -1 sell; of ``cancel_all`` 0 for both.
        price: int64 ticks.
        total: lots of the order, those that are filled included.
        tif, post_only: of ``TIMES_IN_FORCE`` and ``POST_ONLY``.
    """

    sent: Int64Array
    symbol: Int64Array
    action: Int64Array
    id: Int64Array
    side: Int64Array
    price: Int64Array
    total: Int64Array
    tif: Int64Array
    post_only: Int64Array

    def __len__(self) -> int:
        return len(self.sent)

    @classmethod
    def of(
        cls,
        columns: pa.Table | Mapping[str, Sequence[Any]],
        symbols: Sequence[str],
        place: str,
        *,
        tradable: Collection[str] | None = None,
    ) -> OrderList:
        """Messages from columns of names and numbers, in any order of time.

        Args:
            columns: ``ts_sent`` (an instant with a time zone, or int64 ns), ``symbol``, ``action``
                and ``id``; where an action needs them ``side``, ``price`` (ticks) and ``total``;
                perhaps ``tif`` (``gtc``) and ``post_only`` (``no``). What an action does not need
                may be null. Other columns are ignored.
            symbols: the symbol table.
            place: what errors name.
            tradable: those of the symbols that orders may be for; ``None``: all.

        Raises:
            DataError: a column is missing or of another type; or naming the first row that is no
                message.
        """
        import pyarrow as pa

        table = columns if isinstance(columns, pa.Table) else pa.table(dict(columns))
        reader = _Reader(table, place)
        action = reader.codes("action", ACTIONS)
        new = action == ol.NEW
        makes = new | (action == ol.REPLACE)
        every = np.ones(len(action), dtype=np.bool_)
        found = cls(
            sent=reader.whole("ts_sent", every, least=-_MOST_INSTANT, most=_MOST_INSTANT),
            symbol=reader.codes("symbol", {name: k for k, name in enumerate(symbols)}),
            action=action,
            id=reader.whole("id", action != ol.CANCEL_ALL, least=0),
            side=reader.codes("side", SIDES, blank=""),
            price=reader.whole("price", makes, least=-MOST_PRICE, most=MOST_PRICE),
            total=reader.whole("total", makes, least=0, most=MOST_LOTS),
            tif=reader.codes("tif", TIMES_IN_FORCE, blank="gtc"),
            post_only=reader.codes("post_only", POST_ONLY, blank="no"),
        )
        reader.refuse(new & (found.side == 0), "a new order has no side", "Write buy or sell.")
        reader.refuse(
            new & (found.total == 0),
            "a new order has a total of 0 lots",
            "A total is 1 or more; to withdraw an order, use the action cancel.",
        )
        if tradable is not None:
            fixed = np.array([name not in tradable for name in symbols], dtype=np.bool_)
            reader.refuse(
                fixed[found.symbol],
                "the symbol does not trade",
                "The dataset card says tradable = false; leave the symbol out of the list.",
            )
        order = np.argsort(found.sent, kind="stable")
        return cls(**{name: getattr(found, name)[order] for name in cls.__slots__})


class _Reader:
    """Reads the columns of a list, row by row checked."""

    def __init__(self, table: pa.Table, place: str) -> None:
        self._table, self._place = table, place
        names = table.column_names
        missing = [name for name in REQUIRED if name not in names]
        if missing:
            raise self._error(
                f"it has no column {', '.join(missing)}",
                f"An order list has the columns {', '.join(COLUMNS)}; those after id may be left "
                "out where no row needs them.",
            )
        for name in COLUMNS:
            if names.count(name) > 1:
                raise self._error(f"it has {names.count(name)} columns called {name}", "Keep one.")

    def refuse(self, wrong: BoolArray, problem: str, remedy: str) -> None:
        """Name the first of the rows that are wrong, bool [n], if there are any."""
        rows = np.flatnonzero(wrong)
        if len(rows):
            raise self._error(f"row {rows[0]}: {problem}", remedy)

    def whole(
        self, name: str, needed: BoolArray, *, least: int = -(2**63), most: int = 2**63 - 1
    ) -> Int64Array:
        """A column of whole numbers, int64 [n]; 0 where none is needed.

        Args:
            needed: the rows that must have one, bool [n].
            least, most: what it may be there.
        """
        import pyarrow as pa

        if name not in self._table.column_names:
            self.refuse(needed, f"{name} is missing", _NULLS)
            return np.zeros(len(needed), dtype=np.int64)
        column = self._table[name].combine_chunks()
        if name == "ts_sent" and pa.types.is_timestamp(column.type):
            column = self._instants(column)
        if pa.types.is_null(column.type):
            column = column.cast(pa.int64())
        if not pa.types.is_integer(column.type):
            raise self._error(
                f"column {name} holds {column.type}, not whole numbers",
                "Cast it to int64: prices are ticks, totals lots, and instants ns.",
            )
        self.refuse(needed & _is_null(column), f"{name} is missing", _NULLS)
        given = column.fill_null(0).to_numpy(zero_copy_only=False)
        values = given.astype(np.int64)
        beyond = (values < 0) & (given > 0)  # of uint64
        wrong = np.flatnonzero(needed & (beyond | (values < least) | (values > most)))
        if len(wrong):
            raise self._error(
                f"row {wrong[0]}: {name} is {given[wrong[0]]:,}",
                f"It must lie between {least:,} and {most:,}.",
            )
        return np.where(needed, values, 0)

    def codes(self, name: str, codes: Mapping[str, int], blank: str | None = None) -> Int64Array:
        """The codes of a column of words, int64 [n].

        Args:
            codes: by word.
            blank: what is meant where there is none; ``None``: there must be one.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        if name not in self._table.column_names and blank is not None:
            return np.full(len(self._table), codes[blank], dtype=np.int64)
        column = self._table[name].combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_null(column.type) or pa.types.is_string_view(column.type):
            column = column.cast(pa.string())
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            known = ", ".join(repr(word) for word in [*codes][:4])
            raise self._error(
                f"column {name} holds {column.type}, not text", f"Write words, such as {known}."
            )
        if blank is None:
            self.refuse(_is_null(column), f"{name} is missing", _NULLS)
        else:
            column = column.fill_null(blank)
        places = pc.index_in(column, value_set=pa.array(list(codes), type=column.type))
        unknown = np.flatnonzero(_is_null(places))
        if len(unknown):
            word = column[int(unknown[0])].as_py()
            raise self._error(
                f"row {unknown[0]}: {name} is {word!r}",
                suggestion_or_list(word, [key for key in codes if key]),
            )
        numbers = np.array(list(codes.values()), dtype=np.int64)
        return numbers[places.to_numpy(zero_copy_only=False)]

    def _instants(self, column: Any) -> Any:
        import pyarrow as pa

        if column.type.tz is None:
            raise self._error(
                "the instants of ts_sent have no time zone",
                "Store them with the zone UTC, or as int64 ns.",
            )
        try:
            return column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64())
        except pa.ArrowInvalid:
            raise self._error(
                "ts_sent has instants outside the years 1678 to 2262", "Correct them."
            ) from None

    def _error(self, problem: str, remedy: str) -> DataError:
        return DataError(problem, place=self._place, remedy=remedy)


def _is_null(column: Any) -> BoolArray:
    """Where an Arrow array has no value, bool [n]."""
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False), dtype=np.bool_)
