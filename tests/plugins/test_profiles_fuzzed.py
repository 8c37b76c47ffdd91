"""Fuzzed latency profiles: spans, or a ``BacktestError``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.plugins.latency_models import Profile, profile_metadata
from backtest.plugins.report_sections.speed import roofline
from backtest.timing.layout import LONGEST
from tests.mutations import EDITS, TABLE_CHANGES, Edit, changed_table, edited, refusal, tries

SAID = {"weight_bytes": "1e9", "symbol_bytes": "1", "copy_bytes_per_s": "1e12"}
TABLE = pa.table({"batch_size": [1, 1, 2, 8] * 3, "sample_ns": [1.5e6, 2e6, 3e6, 4e6] * 3})


def read(path: Path) -> None:
    """Make a model, and ask it for spans within and without what was measured."""

    def attempt() -> None:
        model = Profile(str(path))
        model.table(np.array([0.5]))
        sizes = np.array([1, model.max_batch], dtype=np.int64)
        spans = model.spans(sizes, np.array([0.0, 0.999]))
        assert ((spans >= 0) & (spans < LONGEST)).all()

    refused = refusal(attempt)
    assert refused is None or str(path) in str(refused)


METADATA = [*SAID, "device"]
STATED = ["0", "-1", "nan", "inf", "1e400", "", "x", "9" * 5000, "\ud800"]


@tries(150)
@given(TABLE_CHANGES)
def test_tables(tmp_path: Path, made: list[tuple[int, str]]) -> None:
    pq.write_table(changed_table(TABLE, made), tmp_path / "p.parquet")
    read(tmp_path / "p.parquet")


def check_bytes(folder: Path, edits: list[Edit]) -> None:
    path = folder / "p.parquet"
    table = TABLE.replace_schema_metadata({"ticktoll": json.dumps(SAID)})
    pq.write_table(table, path, write_page_checksum=True)
    path.write_bytes(edited(path.read_bytes(), edits))
    read(path)


@tries(80)
@given(EDITS)
def test_bytes(tmp_path: Path, edits: list[Edit]) -> None:
    check_bytes(tmp_path, edits)


@pytest.mark.slow
@tries(2000)
@given(EDITS)
def test_bytes_at_length(tmp_path: Path, edits: list[Edit]) -> None:
    check_bytes(tmp_path, edits)


@tries(100)
@given(st.dictionaries(st.sampled_from(METADATA), st.sampled_from(STATED)), EDITS | st.just([]))
def test_metadata(tmp_path: Path, said: dict[str, str], edits: list[Edit]) -> None:
    path = tmp_path / "p.parquet"
    text = edited(json.dumps(SAID | said).encode("utf-8", "surrogatepass"), edits)
    pq.write_table(TABLE.replace_schema_metadata({"ticktoll": text}), path)
    service = {"name": "profile", "source": str(path)}
    least = roofline(service, np.array([1.0, 8.0]))
    assert least is None or np.isfinite(least).all()
    refused = refusal(lambda: profile_metadata(path))
    assert refused is None or str(path) in str(refused)
