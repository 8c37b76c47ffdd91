"""Every rule finds what it is for, at its first place, and quarantine leaves a usable dataset."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest.data.card import Calendar, Card, Features, Targets, write_card
from backtest.data.dataset import Dataset, open_dataset
from backtest.data.quality.quarantine import quarantine
from backtest.data.quality.rules import RULES
from backtest.data.quality.validate import Validation, validate
from backtest.data.reading.bus import read_events
from backtest.errors import DataError
from backtest.market.events import NO_PRICE
from tests.data.made import START, feature_dataset

ROWS = 200
FILE = "events-00000.parquet"
CARD = Card(
    name="raw",
    symbols=("AAA", "BBB"),
    features=Features(columns=("f0", "f1")),
    targets=Targets(columns=("y",)),
)
Edit = Callable[[dict[str, Any]], None]


def clean(rows: int = ROWS) -> dict[str, Any]:
    """Columns of a sound file."""
    ts = START + 1_000_000 * np.arange(rows)
    columns: dict[str, Any] = {
        "ts_event": ts,
        "seq": np.arange(rows),
        "ts_recv": ts + 500,
        "symbol": np.array(["AAA", "BBB"])[np.arange(rows) % 2].tolist(),
        "bid": 100 + np.arange(rows) % 3,
        "ask": 105 + np.arange(rows) % 3,
        "bid_size": np.full(rows, 2),
        "ask_size": np.full(rows, 3),
    }
    columns["trade_price"] = np.where(np.arange(rows) % 4, NO_PRICE, 102)
    columns["trade_size"] = np.where(np.arange(rows) % 4, 0, 1)
    columns["aggressor"] = np.array([1, 0, 0, 0, -1, 0, 0, 0], np.int8)[np.arange(rows) % 8]
    rng = np.random.default_rng(0)
    for name in ("f0", "f1", "y"):
        columns[name] = rng.normal(size=rows).astype(np.float32)
    return columns


def write(folder: Path, columns: dict[str, Any], file: str = FILE, card: Card = CARD) -> Dataset:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / file, row_group_size=64, write_page_checksum=True)
    write_card(folder, card)
    return open_dataset(folder)


def put(column: str, rows: Any, value: Any) -> Edit:
    """Set a column at some rows; ``None`` makes nulls."""

    def edit(columns: dict[str, Any]) -> None:
        values = list(columns[column])
        for row in np.atleast_1d(rows):
            values[row] = value(columns, row) if callable(value) else value
        kind = {
            "symbol": pa.string(),
            "aggressor": pa.int8(),
            **dict.fromkeys(("f0", "f1", "y"), pa.float32()),
        }
        columns[column] = pa.array(values, kind.get(column, pa.int64()))

    return edit


def repeat(columns: dict[str, Any]) -> None:
    """Rows 7 and 8 again after row 8, at the instant of both."""
    take = [*range(9), 7, 8, *range(9, ROWS)]
    for name, values in columns.items():
        columns[name] = [values[i] for i in take] if name == "symbol" else values[take]
    columns["ts_event"][7:11] = columns["ts_event"][7]
    columns["ts_recv"][7:11] = columns["ts_event"][7]
    columns["seq"] = np.arange(ROWS + 2)


BAD = {
    "null": (put("ts_event", [3, 9], None), 2, 3, "no ts_event"),
    "null seq": (put("seq", 70, None), 1, 70, "no seq"),
    "symbol": (put("symbol", [5, 66], "ZZZ"), 2, 5, "'ZZZ'"),
    "symbol null": (put("symbol", 5, None), 1, 5, "None"),
    "units": (put("ts_event", [6, 7, 70], lambda c, i: c["ts_event"][i] // 1000), 3, 6, "0000"),
    "unsorted": (put("ts_event", [20, 30], START), 2, 20, "2023-11-14T22:13:20Z"),
    "size": (put("ask_size", 190, -1), 1, 190, "ask_size -1"),
    "aggressor": (put("aggressor", [4, 72], 2), 2, 4, "aggressor 2"),
    "aggressor lowest": (put("aggressor", 9, -128), 1, 9, "aggressor -128"),
    "aggressor without a trade": (put("aggressor", [6, 66], -1), 2, 6, "aggressor -1"),
    "nonfinite": (put("f1", [4, 8, 199], float("nan")), 3, 4, "nan in 'f1'"),
    "nonfinite inf": (put("f0", 65, float("-inf")), 1, 65, "-inf in 'f0'"),
    "nonfinite null": (put("f0", 65, None), 1, 65, "nan in 'f0'"),
    "target": (put("y", 11, float("inf")), 1, 11, "inf in 'y'"),
}
DOUBTFUL = {
    "huge": (put("f1", [12, 13], -70000.0), 2, 12, "-70000.0 in 'f1'"),
    "skew": (put("ts_recv", [40, 41], START), 2, 40, "40000000 ns before"),
    "crossed": (put("bid", [1, 2], 200), 2, 1, "200 over 106 ticks"),
    "locked": (put("bid", 0, 105), 1, 0, "105 ticks"),
    "duplicate": (repeat, 2, 9, "2023-11-14T22:13:20.007Z"),
    "epoch": (
        put("ts_event", np.arange(ROWS), lambda c, i: c["ts_event"][i] // 1000),
        ROWS,
        0,
        "1970-01-20T",
    ),
}


def test_a_sound_dataset_has_no_findings(tmp_path: Path) -> None:
    validation = validate(write(tmp_path / "d", clean()))
    assert validation == Validation(str(tmp_path / "d"), 1, ROWS, 0, ())
    assert validation.usable


@pytest.mark.parametrize("case", [*BAD, *DOUBTFUL])
def test_what_rows_can_have(tmp_path: Path, case: str) -> None:
    edit, count, row, detail = (BAD | DOUBTFUL)[case]
    rule = case.partition(" ")[0]
    columns = clean()
    edit(columns)
    validation = validate(write(tmp_path / "d", columns))
    findings = [f for f in validation.findings if (case, f.rule) != ("epoch", "skew")]
    assert [(f.rule, f.count, f.row) for f in findings] == [(rule, count, row)]
    assert detail in findings[0].detail
    assert findings[0].file.endswith(FILE)
    assert findings[0].severity == RULES[rule].severity
    assert validation.usable == (case in DOUBTFUL)
    assert validation.rows == len(columns["ts_event"])


@pytest.mark.parametrize("case", BAD)
def test_what_the_bus_refuses_is_what_validation_calls_an_error(tmp_path: Path, case: str) -> None:
    columns = clean()
    BAD[case][0](columns)
    dataset = write(tmp_path / "d", columns)
    with pytest.raises(DataError):
        (read_events if case != "target" else _targets)(dataset, **_all(case))


def _all(case: str) -> dict[str, Any]:
    return {} if case == "target" else {"features": True}


def _targets(dataset: Dataset) -> None:
    from backtest.data.reading.bus import read_targets

    read_targets(dataset)


@pytest.mark.parametrize("case", [*BAD, *DOUBTFUL])
def test_quarantine_leaves_the_good_rows(tmp_path: Path, case: str) -> None:
    edit, count, row, _ = (BAD | DOUBTFUL)[case]
    rule = case.partition(" ")[0]
    columns = clean()
    edit(columns)
    dataset = write(tmp_path / "d", columns)
    rows = len(columns["ts_event"])
    validation, counts = quarantine(dataset, tmp_path / "out")
    assert validation == validate(dataset)
    made = open_dataset(tmp_path / "out")
    made.verify()
    assert validate(made).usable
    refused = count if case in BAD else 0
    assert counts.kept == rows - refused == len(read_events(made, features=True))
    assert counts.refused == ({rule: refused} if refused else {})
    report = json.loads((tmp_path / "out" / "quarantine" / "report.json").read_text())
    assert report["validation"] == json.loads(json.dumps(validation.as_dict()))
    if refused:
        apart = pq.read_table(tmp_path / "out" / "quarantine" / FILE)
        assert apart["refused_for"].to_pylist() == [rule] * refused
        assert apart["refused_row"][0].as_py() == row
        assert made.card.notes["quarantine"]["refused"] == counts.refused


def test_unsorted_rows_are_those_behind_the_ones_kept(tmp_path: Path) -> None:
    columns = clean(130)
    for row, ms in ((5, 2), (6, 5), (64, 3), (65, 63), (100, 99)):
        columns["ts_event"][row] = START + 1_000_000 * ms
    columns["seq"][101] = 0  # earlier than row 99's, but at a later instant
    columns["ts_event"][102] = columns["ts_event"][101]
    columns["seq"][102] = -5
    dataset = write(tmp_path / "d", columns)
    found = {f.rule: f.count for f in validate(dataset).findings}
    # 5; 64; and 102, behind 101 at its instant. 6, 65 and 100 are level with a row before them.
    assert found["unsorted"] == 3
    quarantine(dataset, tmp_path / "out")
    apart = pq.read_table(tmp_path / "out" / "quarantine" / FILE)
    assert apart["refused_row"].to_pylist() == [5, 64, 102]
    assert len(read_events(open_dataset(tmp_path / "out"))) == 127


def test_a_row_counts_for_its_first_error_only(tmp_path: Path) -> None:
    columns = clean()
    put("symbol", 50, "ZZZ")(columns)
    put("f0", 50, float("nan"))(columns)
    put("ts_event", 50, START)(columns)
    found = validate(write(tmp_path / "d", columns)).findings
    assert [(f.rule, f.count) for f in found] == [("symbol", 1)]


def test_events_outside_sessions(tmp_path: Path) -> None:
    sessions = [["2023-11-14T22:13:20Z", "2023-11-14T22:13:20.1Z"]]
    card = CARD.model_copy(update={"calendar": Calendar.model_validate({"sessions": sessions})})
    found = validate(write(tmp_path / "d", clean(), card=card)).findings
    assert [(f.rule, f.count, f.row) for f in found] == [("outside", 100, 100)]


def test_a_file_in_another_unit_than_the_one_before(tmp_path: Path) -> None:
    columns = clean()
    write(tmp_path / "d", columns)
    columns["ts_event"] = columns["ts_event"] // 1_000_000
    found = validate(write(tmp_path / "d", columns, "events-00001.parquet")).findings
    assert [(f.rule, f.count, f.row) for f in found] == [("units", ROWS, 0)]
    assert found[0].file.endswith("events-00001.parquet")


def test_times_of_a_made_up_dataset_that_starts_at_0_are_fine(tmp_path: Path) -> None:
    columns = clean()
    columns["ts_event"] = 3_600_000_000_000 * np.arange(ROWS)
    columns["ts_recv"] = columns["ts_event"]
    validation = validate(write(tmp_path / "d", columns))
    assert [f.rule for f in validation.findings] == ["epoch"]
    assert validation.usable


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[:-100],
    "text": lambda data: b"ts,bid\n" * 99,
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_file_is_a_finding_and_the_others_are_checked(tmp_path: Path, fault: str) -> None:
    columns = clean()
    write(tmp_path / "d", columns)
    columns["bid"][3] = 500
    dataset = write(tmp_path / "d", columns, "events-00001.parquet")
    path = tmp_path / "d" / FILE
    path.write_bytes(BROKEN[fault](path.read_bytes()))
    validation = validate(dataset)
    assert [(f.rule, f.row) for f in validation.findings] == [("unreadable", None), ("crossed", 3)]
    assert validation.rows == ROWS
    assert not validation.usable


def test_a_flipped_bit_in_a_page_is_found(tmp_path: Path) -> None:
    dataset = write(tmp_path / "d", clean())
    path = tmp_path / "d" / FILE
    data = bytearray(path.read_bytes())
    group = pq.ParquetFile(path).metadata.row_group(2)
    ask = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == "ask")
    data[ask.dictionary_page_offset + ask.total_compressed_size - 1] ^= 4
    path.write_bytes(data)
    validation = validate(dataset)
    assert [f.rule for f in validation.findings] == ["unreadable"]
    assert "CRC" in validation.findings[0].detail
    assert validation.findings[0].row == validation.rows < 192
    assert validation.rows + validation.unread == ROWS


def test_a_changed_file_a_missing_file_and_a_copy(tmp_path: Path) -> None:
    made = feature_dataset(tmp_path / "d", 100)
    card = made.card
    digests = {FILE: "0" * 64, "gone.parquet": "1" * 64}
    write_card(tmp_path / "d", card.model_copy(update={"sha256": digests, "footer_sha256": {}}))
    (tmp_path / "d" / "events-00001.parquet").write_bytes((tmp_path / "d" / FILE).read_bytes())
    found = validate(open_dataset(tmp_path / "d")).findings
    assert [f.rule for f in found[:2]] == ["missing", "digest"]
    assert "same-file" in {f.rule for f in found}


def test_other_columns_are_named_and_their_file_left_out(tmp_path: Path) -> None:
    columns = clean()
    write(tmp_path / "d", columns)
    columns["bid"] = columns["bid"].astype(float)
    write(tmp_path / "d", columns, "events-00001.parquet")
    del columns["bid"], columns["ask"], columns["bid_size"], columns["ask_size"]
    dataset = write(tmp_path / "d", columns, "events-00002.parquet")
    validation, counts = quarantine(dataset, tmp_path / "out")
    (found,) = validation.findings
    assert (found.rule, found.count) == ("schema", 2)
    assert "'bid' is double, not int64" in found.detail
    assert counts.kept == ROWS


def test_duplicates_across_batches_are_found(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("backtest.data.quality.validate._BATCH_ROWS", 10)
    columns = {k: np.array(v)[np.zeros(35, int)] for k, v in clean(1).items()}
    columns["seq"] = np.arange(35)
    columns["bid"][20] = 7  # A ... A B A ... A
    found = validate(write(tmp_path / "d", columns)).findings
    assert [(f.rule, f.count, f.row) for f in found] == [("duplicate", 33, 1)]


def test_nothing_is_left_behind_when_no_row_would_stay(tmp_path: Path) -> None:
    columns = clean()
    put("symbol", np.arange(ROWS), "ZZZ")(columns)
    dataset = write(tmp_path / "d", columns)
    with pytest.raises(DataError, match="no row would be left"):
        quarantine(dataset, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d"]


def test_quarantine_replaces_only_a_dataset_and_only_if_asked(tmp_path: Path) -> None:
    dataset = write(tmp_path / "d", clean())
    quarantine(dataset, tmp_path / "out")
    with pytest.raises(DataError, match="already exists"):
        quarantine(dataset, tmp_path / "out")
    quarantine(dataset, tmp_path / "out", overwrite=True)
