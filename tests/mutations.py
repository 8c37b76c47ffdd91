"""Changes that make sound input hostile: of bytes, of trees such as JSON and TOML hold, of tables.

Readers are fuzzed with them: what is changed is read right, or refused with a ``BacktestError``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from backtest.errors import BacktestError

_ANY_SPEED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


def tries(count: int) -> settings:
    """So many examples, the same every time."""
    return settings(
        max_examples=count, deadline=None, suppress_health_check=_ANY_SPEED, derandomize=True
    )


def refusal(attempt: Callable[[], object]) -> BacktestError | None:
    """What an attempt is refused with; ``None`` if it succeeds. Other errors are passed on."""
    try:
        attempt()
    except BacktestError as error:
        return error
    return None


Place: TypeAlias = tuple[str | int, ...]

REMOVED = object()
"""In place of a value: the key or item is taken out."""

NUMBERS = [
    "1e-999999999",
    "1e999999999",
    "9" * 90,
    "0",
    "-1",
    "NaN",
    "1e-9",
    "0.1",
    "1e30",
    "½",
    "",
]
NAMES = [
    "AAA",
    "bid",
    "f0",
    "y",
    "symbol",
    "a b",
    "../x",
    "/etc/*",
    "**/*",
    "*",
    "[",
    "\x1b[2J",
    "\0",
    "\u202e",
]
PLAIN_VALUES = st.one_of(
    st.sampled_from([*NUMBERS, *NAMES]),
    st.sampled_from(
        [0, 1, -1, 2**63 - 1, -(2**63), 2**63, 10**40, 10**400, True, False, 0.5, -0.5]
    ),
    st.sampled_from([1e308, -1e308, 1e-308]),
    st.sampled_from([[], [[]], {}, {"a": {}}, [1], ["f0"], ["AAA", "AAA"], [["x", "y"]], [{}]]),
    st.sampled_from(["2023-11-14T22:13:20Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)
"""What may stand in TOML and in JSON."""

VALUES = PLAIN_VALUES | st.sampled_from([None, float("inf"), float("nan"), "\ud800"])
"""These and what only JSON, read carelessly, lets through."""


def places(tree: Any, above: Place = ()) -> Iterator[Place]:
    """Every place in a tree, its inner tables and lists included."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        yield (*above, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*above, key))


def changes(
    found: Sequence[Place], values: st.SearchStrategy[Any] = VALUES, most: int = 3
) -> st.SearchStrategy[list[tuple[Place, Any]]]:
    """Other values, or none, at some places."""
    one = st.tuples(st.sampled_from(found), values | st.just(REMOVED))
    return st.lists(one, min_size=1, max_size=most)


def copied(value: Any) -> Any:
    """A copy of a tree."""
    if isinstance(value, dict):
        return {k: copied(v) for k, v in value.items()}
    return [copied(v) for v in value] if isinstance(value, list) else value


def put(tree: Any, place: Place, value: Any) -> None:
    """Set a value at a place, if there is a table or list to set it in."""
    for key in place[:-1]:
        if isinstance(tree, dict) and isinstance(key, str):
            tree = tree.setdefault(key, {})
        elif _has_room(tree, key):
            tree = tree[key]
        else:
            return
    last: Any = place[-1]
    if _has_room(tree, last):
        if value is not REMOVED:
            tree[last] = value
        elif isinstance(tree, list) or last in tree:
            del tree[last]


def _has_room(tree: Any, key: Any) -> bool:
    if isinstance(tree, dict):
        return isinstance(key, str)
    return isinstance(tree, list) and isinstance(key, int) and key < len(tree)


def changed(tree: Any, made: Sequence[tuple[Place, Any]]) -> Any:
    """A copy of a tree with changes."""
    tree = copied(tree)
    for place, value in made:
        put(tree, place, copied(value))
    return tree


@dataclass(frozen=True)
class Edit:
    """A change of bytes at a fraction of their length."""

    at: float
    drop: int
    put: bytes

    def applied(self, whole: bytes) -> bytes:
        """The bytes with the change."""
        at = int(self.at * len(whole))
        return whole[:at] + self.put + whole[at + self.drop :]


_PIECES = [b'"', b",", b"\n", b"\r\n", b"{", b"}", b"[" * 3000, b"9" * 20, b"-", b"\0", b"\xff"]
_PIECES += [b"1e5", b"null", b" ", b"nan", b"\xef\xbb\xbf", b"PK\x03\x04", b"\x1f\x8b", b"0" * 40]
_PIECES += [b'{"a":' * 2000, b"," * 300, b"\xed\xa0\x80", b"-1", b"1.5", b"18446744073709551616"]
_PIECES += [b"1e400", b"9" * 5000, b"NaN", b"\\ud800", b"\xe2\x80\xae"]
EDITS = st.lists(
    st.builds(
        Edit,
        st.floats(0, 1),
        st.sampled_from([0, 0, 1, 1, 2, 9, 100, 10**6]),
        st.one_of(st.sampled_from(_PIECES), st.binary(max_size=3)),
    ),
    min_size=1,
    max_size=3,
)


def edited(whole: bytes, edits: Sequence[Edit]) -> bytes:
    """The bytes with some edits, one after another."""
    for edit in edits:
        whole = edit.applied(whole)
    return whole


_FILLED: Mapping[str, Any] = {
    "text": pa.array(["x"]),
    "large text": pa.array(["\x1b\u202e"], pa.large_string()),
    "bytes": pa.array([b"\xff\xfe"]),
    "yes": pa.array([True]),
    "0": pa.array([0], pa.int8()),
    "-1": pa.array([-1]),
    "most": pa.array([2**63 - 1]),
    "least": pa.array([-(2**63)]),
    "unsigned": pa.array([2**64 - 1], pa.uint64()),
    "half": pa.array([0.5]),
    "nan": pa.array([float("nan")]),
    "inf": pa.array([float("-inf")], pa.float32()),
    "huge": pa.array([1e308]),
    "decimal": pa.array([1], pa.decimal128(38, 0)),
    "list": pa.array([[1]]),
    "struct": pa.array([{"a": 1}]),
    "null": pa.nulls(1),
    "seconds": pa.array([10**9], pa.timestamp("s")),
    "date": pa.array([1], pa.date32()),
}
TABLE_EDITS = ("drop", "null", "some null", "twice", "rename", "backwards", "none", "one", *_FILLED)
"""What can become of a table or one of its columns."""


TABLE_CHANGES = st.lists(
    st.tuples(st.integers(0, 199), st.sampled_from(TABLE_EDITS)), min_size=1, max_size=2
)
"""Changes of a table: the number of a column, wrapping round, and what becomes of it."""


def changed_table(table: pa.Table, made: Sequence[tuple[int, str]]) -> pa.Table:
    """A table with changes."""
    for number, what in made:
        if not table.num_columns:
            break
        at = number % table.num_columns
        name, column = table.column_names[at], table.column(at)
        if what == "drop":
            table = table.remove_column(at)
        elif what == "null":
            table = table.set_column(at, name, pa.nulls(len(table), column.type))
        elif what == "some null":
            wanted = [k if k % 3 else None for k in range(len(table))]
            table = table.set_column(at, name, column.take(pa.array(wanted, pa.int64())))
        elif what == "twice":
            table = table.append_column(name, column)
        elif what == "rename":
            names = [f"{n}?" if k == at else n for k, n in enumerate(table.column_names)]
            table = table.rename_columns(names)
        elif what == "backwards":
            wanted = pa.array(range(len(table) - 1, -1, -1), pa.int64())
            table = table.set_column(at, name, column.take(wanted))
        elif what in ("none", "one"):
            table = table.slice(0, 0 if what == "none" else 1)
        else:
            value = _FILLED[what]
            filled = value.take(pa.array([0] * len(table), pa.int64()))
            table = table.set_column(at, name, filled)
    return table


def write_changed(path: Path, table: pa.Table, made: Sequence[tuple[int, str]]) -> None:
    """Write a table with changes as Parquet."""
    pq.write_table(changed_table(table, made), path, write_page_checksum=True)
