"""From DBN files to a dataset: which files, which symbols, which grids, in which order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from backtest.core.arrays import Int64Array
from backtest.core.text import first_of
from backtest.core.times import format_utc
from backtest.data.canonical import CanonicalWriter
from backtest.data.card import Card
from backtest.data.reading.decode import Columns
from backtest.data.sources import IngestReport
from backtest.errors import DataError
from backtest.market.events import NO_TIME
from backtest.plugins.sources.databento.files import (
    MARKET,
    NO_DBN_PRICE,
    RTYPES,
    DbnFile,
    Records,
    dbn_files,
    other_record,
)
from backtest.plugins.sources.databento.instruments import (
    InstrumentOptions,
    Seen,
    grids,
    instruments,
)
from backtest.plugins.sources.databento.levels import LevelRows
from backtest.plugins.sources.databento.orders import OrderRows
from backtest.plugins.sources.databento.rows import (
    NO_RECORD_TIME,
    Chunk,
    Grids,
    PriceRows,
    price_columns,
    receipts,
    times,
)
from backtest.plugins.sources.databento.symbols import (
    Definitions,
    Identity,
    Names,
    read_definitions,
    symbol_names,
)
from backtest.plugins.sources.shared.counts import Counts
from backtest.plugins.sources.shared.inputs import card_name
from backtest.plugins.sources.shared.lanes import Lane, write_lanes
from backtest.plugins.sources.shared.time_order import TimeOrder

_FOREVER = 2**63 - 1
_MOVED = "row earlier than its symbol's row before it, or more than a second late: moved"
_OTHER_PUBLISHER = "record of a publisher that was not asked for"
_SAMPLED = {"trades", "bbo-1s"}


class DatabentoOptions(InstrumentOptions, Protocol):
    """Parameters of ``DatabentoDbn``, which imports this module only when it ingests."""

    @property
    def schema(self) -> str: ...

    @property
    def publishers(self) -> tuple[int, ...]: ...

    @property
    def ignore(self) -> tuple[str, ...]: ...


@dataclass
class _Span:
    """One file's records: of which identities they are, and from when to when.

    Attributes:
        first, last: by receipt, ns.
        least: no record's ts_event is before, ns.
    """

    file: DbnFile
    identities: set[Identity] = field(default_factory=set)
    first: int = _FOREVER
    last: int = 0
    least: int = _FOREVER


def ingest(source: DatabentoOptions, input: Path, output: Path) -> IngestReport:
    """See ``DatabentoDbn``.

    Raises:
        DataError: the vendor's package is missing, a file is not DBN or damaged, schemas that do
            not go together, prices off the tick, files that overlap.
    """
    files, ignored = dbn_files(input, source.ignore)
    chosen = _chosen(files, source.schema, ignored, input)
    definitions = read_definitions(f for f in files if f.schema in ("definition", "mixed"))
    counts = Counts()
    survey = _Survey(source.publishers, definitions, counts)
    for file in chosen:
        survey.read(file)
    names = symbol_names(survey.seen)
    if not names:
        raise DataError("there are no records of quotes or trades", place=str(input))
    symbols = sorted(set(names.values()))
    tables = instruments(source, survey.seen, names, definitions)
    card = Card(
        name=card_name("databento", input),
        description="Market data of " + first_of(sorted({f.metadata.dataset for f in chosen})),
        symbols=tuple(symbols),
        instruments=tables,
    )
    index = {identity: symbols.index(name) for identity, name in names.items()}
    reading = _Reading(index, grids(symbols, tables), definitions, counts)
    with CanonicalWriter(output, card) as writer:
        write_lanes(writer, [reading.lane(chain) for chain in survey.chains()])
        if not writer.rows:
            why = counts.reasons() or "no book is known before a snapshot or a clearing"
            raise DataError(f"no record is an event: {why}", place=str(input))
    counts.repaired[_MOVED] += reading.moved()
    return counts.report(writer, ignored)


def _chosen(
    files: Sequence[DbnFile], schema: str, ignored: Counter[str], input: Path
) -> list[DbnFile]:
    """The files of market data to read; those of other schemas are counted as ignored."""
    if schema != "any":
        files = [replace(f, schema=schema) if f.schema == "mixed" else f for f in files]
    there = {file.schema for file in files} or {"files about the download"}
    market = there & {*MARKET}
    if schema != "any":
        market &= {schema}
    if len(market) > 1 and market != _SAMPLED:
        raise DataError(
            f"the folder holds files of the schemas {', '.join(sorted(market))}, which tell of the"
            " same trades and quotes",
            place=str(input),
            remedy=f"Choose one, for example --set schema={min(market)}.",
        )
    if not market:
        raise DataError(
            f"no file has a schema that is read: there are only {', '.join(sorted(there))}",
            place=str(input),
            remedy=f"Read are {', '.join(MARKET)}, with definitions beside them. A recording of"
            " mixed schemas is read with, for example, --set schema=mbp-1.",
        )
    for file in files:
        if file.schema not in market and file.schema != "definition":
            ignored[f"schema {file.schema}"] += 1
    return [file for file in files if file.schema in market]


class _Survey:
    """The first reading: identities, steps of prices, times.

    Attributes:
        seen: what was found of each identity.
    """

    def __init__(
        self, publishers: tuple[int, ...], definitions: Definitions, counts: Counts
    ) -> None:
        self.seen: dict[Identity, Seen] = defaultdict(Seen)
        self._publishers = publishers
        self._definitions = definitions
        self._counts = counts
        self._spans: list[_Span] = []

    def read(self, file: DbnFile) -> None:
        """Read a file of market data."""
        span = _Span(file)
        names = Names(file, self._definitions)
        for records in file.records():
            self._counts.read += len(records)
            names.learn(records)
            if records.rtype != RTYPES[file.schema]:
                self._counts.refused[other_record(records.rtype)] += len(records)
                continue
            recv = receipts(records, file.place)
            codes = names.of(records, recv)
            ts, _ = times(records, file.place, Counts())
            self._counts.refuse(NO_RECORD_TIME, ts == NO_TIME)
            known = np.flatnonzero(ts != NO_TIME)
            order = known[np.argsort(codes[known], kind="stable")]
            cuts = np.flatnonzero(np.diff(codes[order])) + 1
            for rows in np.split(order, cuts) if len(order) else ():
                identity = names.identities[int(codes[rows[0]])]
                if self._publishers and identity[1] not in self._publishers:
                    self._counts.refused[_OTHER_PUBLISHER] += len(rows)
                    continue
                span.identities.add(identity)
                span.least = min(span.least, int(ts[rows].min()))
                span.first = min(span.first, int(recv[rows].min()))
                span.last = max(span.last, int(recv[rows].max()))
                self._prices(self.seen[identity], records, rows)
        if span.identities:
            self._spans.append(span)

    @staticmethod
    def _prices(seen: Seen, records: Records, rows: Int64Array) -> None:
        for name in price_columns(records):
            prices = records.data[name][rows]
            seen.add(prices[prices != NO_DBN_PRICE])

    def chains(self) -> list[list[_Span]]:
        """Files that follow each other in time, as one chain each; in the order of their lanes.

        Raises:
            DataError: two files hold the same symbol in the same time.
        """
        chains: list[list[_Span]] = []
        for span in sorted(self._spans, key=lambda s: (s.first, s.last, s.file.label)):
            for chain in chains:
                end = chain[-1]
                if end.file.schema == span.file.schema and end.last <= span.first:
                    chain.append(span)
                    break
                self._refuse_overlap(chain, span)
            else:
                chains.append([span])
        # Trades come before the quotes of their instant.
        return sorted(chains, key=lambda c: (c[0].file.schema != "trades", c[0].first))

    @staticmethod
    def _refuse_overlap(chain: list[_Span], span: _Span) -> None:
        for other in chain:
            both = other.identities & span.identities
            apart = other.last < span.first or span.last < other.first
            if both and not apart and other.file.schema == span.file.schema:
                raise DataError(
                    f"it holds records of {min(both)[0]!r} of the same time as"
                    f" {other.file.place}, about {format_utc(span.first)}",
                    place=span.file.place,
                    remedy="Each record is to be there once: leave one file out with --ignore.",
                )


class _Reading:
    """The second reading: rows of all chains.

    Args:
        index: the symbol's place by identity.
    """

    def __init__(
        self, index: dict[Identity, int], grids: Grids, definitions: Definitions, counts: Counts
    ) -> None:
        self._index = index
        self._grids = grids
        self._definitions = definitions
        self._counts = counts
        self._orders: list[TimeOrder] = []

    def moved(self) -> int:
        """Rows whose time was raised."""
        return sum(order.moved for order in self._orders)

    def lane(self, chain: list[_Span]) -> Lane:
        """All rows of a chain, in time order."""
        return Lane(min(span.least for span in chain), self._ordered(chain))

    def _ordered(self, chain: list[_Span]) -> Iterator[Columns]:
        schema = chain[0].file.schema
        kind = {"mbo": OrderRows, "mbp-10": LevelRows}.get(schema, PriceRows)
        builder: Any = kind(self._grids, self._counts)
        alone = len(set().union(*(span.identities for span in chain))) == 1
        order = TimeOrder(len(self._grids.steps), alone=alone)
        self._orders.append(order)
        for span in chain:
            for chunk in self._chunks(span.file):
                yield order.add(builder.rows(chunk), int(receipts(chunk.records, "")[-1]))
        if (rest := order.rest()) is not None:
            yield rest

    def _chunks(self, file: DbnFile) -> Iterator[Chunk]:
        names = Names(file, self._definitions)
        for records in file.records():
            names.learn(records)
            if records.rtype != RTYPES[file.schema]:
                continue
            codes = names.of(records, receipts(records, file.place))
            places = [self._index.get(identity, -1) for identity in names.identities]
            symbol: Int64Array = np.array(places, dtype=np.int64)[codes]
            ts, recv = times(records, file.place, self._counts)
            wanted = (symbol >= 0) & (ts != NO_TIME)
            chunk = Chunk(file, records, symbol, ts, recv)
            if not wanted.all():
                chunk = chunk.select(wanted)
            if len(chunk.symbol):
                yield chunk
