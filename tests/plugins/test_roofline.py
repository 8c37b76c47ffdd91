"""The roofline that the report draws beside service times."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest.plugins.latency_models import Profile, profile_metadata
from backtest.plugins.report_sections.speed import roofline


def profile(path: Path, **stated: str) -> dict[str, str]:
    table = pa.table({"batch_size": [1, 9], "sample_ns": [5.0, 9.0]})
    pq.write_table(table.replace_schema_metadata({"ticktoll": json.dumps(stated)}), path)
    return {"name": "profile", "source": str(path)}


def test_bytes_or_arithmetic_bind(tmp_path: Path) -> None:
    stated = {"weight_bytes": "4e9", "state_bytes": "1e9", "copy_bytes_per_s": "2e12"}
    service = profile(tmp_path / "p.parquet", **stated)
    # (4 + 2 B) GB at 2 TB/s.
    assert roofline(service, np.array([1.0, 9.0])) == pytest.approx([3.0, 11.0])
    service = profile(tmp_path / "r.parquet", **stated, symbol_bytes="1e9")
    assert roofline(service, np.array([1.0, 9.0])) == pytest.approx([2.5, 6.5])
    service = profile(tmp_path / "q.parquet", **stated, flops_per_event="2e9", flops_per_s="1e12")
    # 2 GFLOP an event at 1 TFLOP/s: 2 ms each.
    assert roofline(service, np.array([1.0, 9.0])) == pytest.approx([3.0, 18.0])


def test_there_is_none_where_nothing_is_stated(tmp_path: Path) -> None:
    sizes = np.array([1.0])
    assert roofline({"name": "affine", "base": "1"}, sizes) is None
    assert roofline(profile(tmp_path / "p.parquet", device="x"), sizes) is None
    assert roofline({"name": "profile", "source": str(tmp_path / "absent.parquet")}, sizes) is None


@pytest.mark.parametrize("card", ["h100", "h200"])
@pytest.mark.parametrize("name", ["eager", "batched", "fused-fp16", "fused-tf32", "fused-fp32"])
def test_shipped_profiles_lie_above_their_roofline(card: str, name: str) -> None:
    model = Profile(f"{card}-{name}")
    assert card.upper() in profile_metadata(model.path)["device"]
    sizes = np.array([1, model.max_batch])
    least = roofline({"name": "profile", "source": f"{card}-{name}"}, sizes.astype(float))
    assert least is not None
    fastest = model.spans(sizes, np.zeros(2)) / 1e6
    assert (fastest > least).all()
    assert least[0] < (2.1 if card == "h200" else 2.8)  # ms: weights once, in float32
