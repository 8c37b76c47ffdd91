"""Validation: everything that is wrong with a dataset, by rule, with the first place of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
from numpy.typing import NDArray

from backtest.core.arrays import BoolArray
from backtest.data.card import Columns
from backtest.data.dataset import Dataset
from backtest.data.parquet import (
    Footer,
    RowGroup,
    has_checksums,
    mapped_errors,
    read_footer,
    scan,
)
from backtest.data.quality.depth_rows import DepthChecks
from backtest.data.quality.price_checks import PriceChecks
from backtest.data.quality.rules import RULES, RowChecks, Severity
from backtest.data.schema import Layout, depth_layout_of, describe_difference, layout_of
from backtest.errors import DataError

_BATCH_ROWS = 65_536

NO_RULE = -1
QUARANTINED = "quarantine"
"""The folder of a dataset that holds the rows which were set apart."""

_SUFFIXES = (".parquet", ".parq", ".pq")


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that a dataset breaks.

    Attributes:
        rule: its name.
        severity: an error makes the dataset unusable.
        count: how many rows break it, or files if it is about files.
        file, row: the first place; ``row`` counts from 0 in the file, ``None`` for a whole file.
        detail: what is there.
        meaning, remedy: of the rule.
    """

    rule: str
    severity: Severity
    count: int
    file: str
    row: int | None
    detail: str
    meaning: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Validation:
    """What became of checking a dataset.

    Attributes:
        dataset: its place.
        files: how many it has.
        rows: how many were read.
        unread: rows that footers state and that could not be read.
        findings: one a rule, errors first.
    """

    dataset: str
    files: int
    rows: int
    unread: int
    findings: tuple[Finding, ...]

    @property
    def usable(self) -> bool:
        """No finding is an error."""
        return not any(finding.severity == "error" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """The validation as plain values."""
        return {"usable": self.usable, **asdict(self)}


class Sink(Protocol):
    """Takes the rows as they are checked."""

    def take(
        self, file: str, first_row: int, batch: pa.RecordBatch, broken: NDArray[np.int8]
    ) -> None:
        """Take a batch of a file, all of the file's columns.

        Args:
            broken: the first error of each row as a place in ``RULES``; ``NO_RULE`` where none is.
        """


def validate(dataset: Dataset, *, sink: Sink | None = None) -> Validation:
    """Check a dataset's files, and every row of those that can be read.

    Files are read one after another in bounded memory: some batches of 65,536 rows.

    Args:
        dataset: the dataset.
        sink: is handed the rows.
    """
    found = _Found()
    _check_listing(dataset, found)
    rows = unread = 0
    reference: int | None = None
    prices = PriceChecks(dataset.instruments)
    for table in _tables(dataset):
        for file, footer, layout in _files(dataset, table, found):
            checks = table.checks(
                footer.place,
                layout,
                dataset.symbols,
                dataset.sessions,
                reference,
                prices,
                dataset.signed_prices,
            )
            read = _check_rows(dataset, file, footer, layout, checks, found, sink)
            rows += read
            unread += sum(group.rows for group in footer.row_groups) - read
            reference = checks.reference
    return Validation(dataset.location, len(dataset.all_files), rows, unread, found.ordered())


@dataclass(frozen=True, slots=True)
class _Table:
    """One of the dataset's tables: its files, and how they are checked."""

    files: tuple[str, ...]
    columns: Columns
    layout_of: Callable[[Footer], Layout]
    checks: type[RowChecks]


def _tables(dataset: Dataset) -> list[_Table]:
    events = _Table(
        dataset.files, dataset.card.columns, partial(layout_of, dataset.card), RowChecks
    )
    depth = _Table(dataset.depth_files, Columns(), depth_layout_of, DepthChecks)
    return [events, depth]


class _Found:
    def __init__(self) -> None:
        self._findings: dict[str, Finding] = {}

    def add(self, rule: str, file: str, row: int | None, detail: str, count: int = 1) -> None:
        known = self._findings.get(rule)
        if known:
            file, row, detail, count = known.file, known.row, known.detail, known.count + count
        about = RULES[rule]
        self._findings[rule] = Finding(
            rule, about.severity, count, file, row, detail, about.meaning, about.remedy
        )

    def add_rows(
        self, rule: str, file: str, first_row: int, broken: BoolArray, holds: Callable[[int], str]
    ) -> None:
        count = int(np.count_nonzero(broken))
        if count:
            i = int(np.argmax(broken))
            detail = "" if rule in self._findings else holds(i)
            self.add(rule, file, first_row + i, detail, count)

    def ordered(self) -> tuple[Finding, ...]:
        names = [*RULES]
        return tuple(
            sorted(
                self._findings.values(),
                key=lambda f: (f.severity != "error", names.index(f.rule)),
            )
        )


def _check_listing(dataset: Dataset, found: _Found) -> None:
    """Find files that are missing, and files that nobody reads."""
    for file in sorted(dataset.card.sha256.keys() - set(dataset.all_files)):
        found.add("missing", dataset.place(file), None, "no such file")
    for file in _unlisted(dataset):
        found.add("unlisted", dataset.place(file), None, "no pattern of the card matches it")


def _files(dataset: Dataset, table: _Table, found: _Found) -> list[tuple[str, Footer, Layout]]:
    """A table's files whose rows can be read, after what is wrong with files was found."""
    stated = dataset.card.sha256
    readable: list[tuple[str, Footer, Layout]] = []
    seen: dict[str, str] = {}
    for file in table.files:
        place = dataset.place(file)
        digest = _digest(dataset, file, found)
        if digest is None:
            continue
        if digest in seen:
            found.add("same-file", place, None, f"the same as {seen[digest]}")
        seen.setdefault(digest, place)
        if digest != stated.get(file, digest):
            found.add("digest", place, None, f"it is {digest}")
        try:
            footer = read_footer(
                dataset.filesystem,
                dataset.path(file),
                place,
                table.columns,
                digest=dataset.card.footer_sha256.get(file),
            )
            if file not in stated and not _has_checksums(dataset, file):
                found.add("unprotected", place, None, "no checksums, no digest")
        except DataError as error:
            found.add("unreadable", place, None, error.problem)
            continue
        try:
            layout = table.layout_of(footer)
        except DataError as error:
            found.add("schema", place, None, error.problem)
            continue
        if readable and (difference := describe_difference(readable[0][2].types, layout.types)):
            detail = f"against {readable[0][1].place}: {difference}"
            found.add("schema", place, None, detail)
            continue
        readable.append((file, footer, layout))
        if table.checks is RowChecks and dataset.has_depth:
            lacking = [name for name in ("seq", "bid_size", "ask_size") if not layout.has(name)]
            if lacking:
                detail = f"depth lies among events with {', '.join(lacking)}, which it has not"
                found.add("schema", place, None, detail)
    return readable


def _unlisted(dataset: Dataset) -> list[str]:
    """Parquet files in the folder, but for hidden and quarantined ones, that are not read."""
    entries = dataset.filesystem.get_file_info(pafs.FileSelector(dataset.root, recursive=True))
    names = [e.path[len(dataset.root) + 1 :] for e in entries if e.type == pafs.FileType.File]
    return sorted(
        name
        for name in set(names) - set(dataset.all_files)
        if name.lower().endswith(_SUFFIXES)
        and not any(part.startswith(".") for part in name.split("/"))
        and not name.startswith(f"{QUARANTINED}/")
    )


def _has_checksums(dataset: Dataset, file: str) -> bool:
    with (
        mapped_errors(dataset.place(file)),
        dataset.filesystem.open_input_file(dataset.path(file)) as opened,
    ):
        return has_checksums(opened)


def _digest(dataset: Dataset, file: str, found: _Found) -> str | None:
    try:
        return dataset.file_digest(file)
    except DataError as error:
        found.add("unreadable", dataset.place(file), None, error.problem)
        return None


def _check_rows(
    dataset: Dataset,
    file: str,
    footer: Footer,
    layout: Layout,
    checks: RowChecks,
    found: _Found,
    sink: Sink | None,
) -> int:
    """Check a file's rows as far as they can be read; returns their number."""
    wanted = [*layout.core.values(), *layout.targets]
    wanted += [layout.packed] if layout.packed else list(layout.features)
    batches = scan(
        dataset.filesystem,
        footer,
        footer.row_groups,
        wanted if sink is None else footer.schema.names,
        symbol=layout.core["symbol"],
        batch_rows=_BATCH_ROWS,
    )
    rows = 0
    names = [*RULES]
    while True:
        try:
            piece = next(batches, None)
            if piece is None:
                return rows
            group, first_row, batch = piece
            outside = _outside_footer(group, batch, layout)
            found.add_rows("footer", footer.place, first_row, outside, _stated_times(group.times))
            broken = np.full(batch.num_rows, NO_RULE, dtype=np.int8)
            for rule, marked, holds in checks.check(batch):
                found.add_rows(rule, footer.place, first_row, marked, holds)
                if RULES[rule].severity == "error":
                    broken[marked] = names.index(rule)
        except DataError as error:
            found.add("unreadable", footer.place, rows, error.problem)
            return rows
        if sink is not None:
            sink.take(file, first_row, batch, broken)
        rows += batch.num_rows


def _stated_times(times: tuple[int, int] | None) -> Callable[[int], str]:
    return lambda _: f"stated are {times}"


def _outside_footer(group: RowGroup, batch: pa.RecordBatch, layout: Layout) -> BoolArray:
    none = np.zeros(batch.num_rows, dtype=np.bool_)
    column = batch.column(layout.core["ts_event"])
    if group.times is None or not batch.num_rows or column.null_count:
        return none
    ts = column.cast(pa.int64()).to_numpy()
    return (ts < group.times[0]) | (ts > group.times[1])
