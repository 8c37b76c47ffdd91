"""Which row groups of which files may hold rows of a selection, and those rows as one stream."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow.fs as pafs

from backtest.core.compiled import COMPILED_FROM
from backtest.core.prefetch import ahead
from backtest.data.parquet import Footer, RowGroup, no_rows, scan
from backtest.data.reading.decode import Columns, Decoder, Selection
from backtest.data.reading.merge import SortedFile, stream
from backtest.data.schema import Layout

_DECODED_AHEAD = 1
_SMALLEST_PIECE = 4096
_SIDE_BY_SIDE = 128 << 20
"""Bytes of row groups of one file that are decoded at the same time."""

_TOGETHER = 96 << 20
"""Bytes of decoded rows that files which overlap in time may hold together."""


class Table(Protocol):
    """What is read: a dataset's events, or its depth."""

    @property
    def name(self) -> str:
        """The dataset's."""

    @property
    def filesystem(self) -> pafs.FileSystem:
        """Where the files are."""

    @property
    def footers(self) -> tuple[Footer, ...]:
        """Those of the files, in the order of their names."""

    @property
    def layout(self) -> Layout:
        """Which columns they hold."""


@dataclass(frozen=True)
class Scan:
    """Which row groups of which files may hold rows of a selection, and what decodes them."""

    dataset: Table
    selection: Selection
    files: tuple[tuple[int, Footer, tuple[RowGroup, ...]], ...]
    decoder: type[Decoder] = Decoder

    @classmethod
    def of(cls, dataset: Table, selection: Selection, decoder: type[Decoder] = Decoder) -> Scan:
        """What footers show about a selection."""
        files = []
        for source, footer in enumerate(dataset.footers):
            groups = tuple(g for g in footer.row_groups if _may_hold(g, selection))
            if groups:
                files.append((source, footer, groups))
        return cls(dataset, selection, tuple(files), decoder)

    def decoders(self) -> list[Decoder]:
        """A decoder for each file."""
        layout, compiled = self.dataset.layout, self._rows >= COMPILED_FROM
        return [
            self.decoder(footer.place, layout, self.selection, compiled=compiled)
            for _, footer, _ in self.files
        ]

    def stream(
        self, decoders: Sequence[Decoder], batch_rows: int, *, read_ahead: bool = False
    ) -> Iterator[Columns]:
        """The selection's rows in the total order, in pieces of 1 to ``batch_rows``."""
        overlap = max(_most_at_once([_times(groups) for _, _, groups in self.files]), 1)
        with ExitStack() as stack:
            if overlap == 1:
                yield from stream(self._open(stack, decoders, batch_rows, read_ahead), batch_rows)
                return
            # Files that are open together share some memory, in pieces that are worth decoding.
            rows = max(_TOGETHER // (overlap * self._width), min(batch_rows, _SMALLEST_PIECE))
            pool = ThreadPoolExecutor(os.cpu_count(), "event-bus") if read_ahead else None
            files = self._open(stack, decoders, rows, False, least=rows // 2, pool=pool)
            if pool is not None:
                stack.callback(pool.shutdown, cancel_futures=True)
            yield from stream(files, batch_rows, compiled=self._rows >= COMPILED_FROM)

    def _open(
        self,
        stack: ExitStack,
        decoders: Sequence[Decoder],
        rows: int,
        decode_ahead: bool,
        *,
        least: int | None = None,
        pool: Executor | None = None,
    ) -> list[SortedFile]:
        """The files, closed with the stack; ``least`` is meant where they overlap."""
        layout = self.dataset.layout
        files = []
        for (source, footer, groups), decoder in zip(self.files, decoders, strict=True):
            batches = scan(
                self.dataset.filesystem,
                footer,
                groups,
                self.selection.file_columns(layout),
                symbol=layout.core["symbol"],
                batch_rows=rows,
                together=least is not None,
                lanes=self._lanes(groups) if decode_ahead else 1,
                prepare=decoder.prepare,
            )
            if decode_ahead:
                batches = ahead(batches, _DECODED_AHEAD)
            stack.callback(batches.close)
            times = _times(groups)
            first = None if times is None else times[0]
            pieces = decoder.decode_all(batches)
            files.append(SortedFile(source, first, pieces, max(least or 1, 1), pool))
        return files

    def _lanes(self, groups: Sequence[RowGroup]) -> int:
        """How many row groups to decode at the same time, in bounded memory."""
        if not self.selection.features:
            return 1  # columns of about one size keep all cores busy, and cheaper
        largest = max(group.rows for group in groups) * self._width
        return max(min(os.cpu_count() or 1, _SIDE_BY_SIDE // largest), 1)

    @property
    def _rows(self) -> int:
        return sum(group.rows for _, _, groups in self.files for group in groups)

    @property
    def _width(self) -> int:
        """Bytes of a row, about."""
        layout, selection = self.dataset.layout, self.selection
        features = layout.features if layout.packed and selection.features else selection.features
        return 8 * (3 + len(selection.values)) + 4 * (len(features) + len(selection.targets))

    def extent(self) -> tuple[int, int, int] | None:
        """Number of the selection's rows, first and last ts_event, if footers show them."""
        selection = self.selection
        groups = [group for _, _, groups in self.files for group in groups]
        times = _times(groups) if groups else None
        if times is None or selection.chosen is not None:
            return None
        low, high = times
        if selection.start is not None and low < selection.start:
            return None
        if selection.end is not None and high >= selection.end:
            return None
        return sum(group.rows for group in groups), low, high

    def nothing(self) -> Columns:
        """Columns of length 0, as the files would give them."""
        layout = self.dataset.layout
        decoder = self.decoder(self.dataset.name, layout, self.selection)
        batch = no_rows(self.dataset.footers[0], layout.core["symbol"])
        return decoder.decode(0, decoder.prepare(batch))


def _may_hold(group: RowGroup, selection: Selection) -> bool:
    if group.times is not None:
        low, high = group.times
        if selection.start is not None and high < selection.start:
            return False
        if selection.end is not None and low >= selection.end:
            return False
    if selection.chosen is None or group.symbols is None:
        return True
    first, last = group.symbols
    return any(first <= selection.symbols[i] <= last for i in np.flatnonzero(selection.chosen))


def _times(groups: Sequence[RowGroup]) -> tuple[int, int] | None:
    """Bounds of the row groups' ts_event; ``None`` if one of them does not state its own."""
    times = [group.times for group in groups if group.times is not None]
    if len(times) < len(groups):
        return None
    return min(low for low, _ in times), max(high for _, high in times)


def _most_at_once(spans: Sequence[tuple[int, int] | None]) -> int:
    """The largest number of closed intervals that share an instant; an unknown one meets all."""
    edges = [edge for span in spans if span for edge in ((span[0], 0), (span[1], 1))]
    count = most = sum(span is None for span in spans)
    for _, closes in sorted(edges):
        count += -1 if closes else 1
        most = max(most, count)
    return most
