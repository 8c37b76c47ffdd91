"""Fuzzed weight files: an ensemble that steps, or a ``BacktestError``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backtest.market.events import EventBatch
from backtest.strategies.base import Session
from backtest.strategies.batched import Batched
from backtest.strategies.ensemble import EnsembleConfig
from backtest.strategies.ensemble_init import init_weights
from backtest.strategies.tensor_files import write_safetensors
from backtest.strategies.weight_files import TRAINED_FROM, TRAINED_TO
from tests.mutations import EDITS, VALUES, Edit, changed, edited, places, refusal, tries

SIZES = EnsembleConfig(hidden=32, mlp=8, depth=1, heads=2, features=3)
SESSION = Session(("A", "B"), ("x", "y", "z"))
EVENTS = EventBatch(
    np.array([0, 1, 0], dtype=np.int32),
    np.arange(3, dtype=np.int64),
    features=np.ones((3, 3), dtype=np.float32),
)


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return init_weights(SIZES, 1).state_dict()


@pytest.fixture(scope="module")
def whole(
    tensors: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """Sound files by their suffix."""
    folder = tmp_path_factory.mktemp("weights")
    write_safetensors(folder / "w.safetensors", tensors, {TRAINED_FROM: "1", TRAINED_TO: "2"})
    torch.save(tensors, folder / "w.pt")
    return {path.suffix: path.read_bytes() for path in folder.iterdir()}


def read(path: Path) -> None:
    """Bind a strategy to the weights, and let it answer."""

    def attempt() -> None:
        strategy = Batched(weights=path)
        window = strategy.training_window()
        assert window is None or all(isinstance(ns, int) for ns in window)
        strategy.fingerprint()
        strategy.bind(SESSION)
        assert strategy.predict(EVENTS).shape == (3, 4)

    refused = refusal(attempt)
    assert refused is None or str(path) in str(refused)


def check_header(folder: Path, whole: bytes, seed: int, values: list[Any]) -> None:
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    found = [*places(header)]
    made = [(found[(seed + 7919 * k) % len(found)], value) for k, value in enumerate(values)]
    text = json.dumps(changed(header, made)).encode("utf-8", "surrogatepass")
    (folder / "w.safetensors").write_bytes(
        len(text).to_bytes(8, "little") + text + whole[8 + length :]
    )
    read(folder / "w.safetensors")


SOME = st.lists(VALUES | st.sampled_from(["F64", "I64", "BOOL", [3, 8], [2**40, 0]]), min_size=1)


@tries(60)
@given(st.integers(0, 10**6), SOME)
def test_headers(tmp_path: Path, whole: dict[str, bytes], seed: int, values: list[Any]) -> None:
    check_header(tmp_path, whole[".safetensors"], seed, values[:3])


@pytest.mark.slow
@tries(800)
@given(st.integers(0, 10**6), SOME)
def test_headers_at_length(
    tmp_path: Path, whole: dict[str, bytes], seed: int, values: list[Any]
) -> None:
    check_header(tmp_path, whole[".safetensors"], seed, values[:3])


def check_bytes(folder: Path, whole: dict[str, bytes], suffix: str, edits: list[Edit]) -> None:
    path = folder / f"w{suffix}"
    path.write_bytes(edited(whole[suffix], edits))
    read(path)


@tries(60)
@given(st.sampled_from([".safetensors", ".pt"]), EDITS)
def test_bytes(tmp_path: Path, whole: dict[str, bytes], suffix: str, edits: list[Edit]) -> None:
    check_bytes(tmp_path, whole, suffix, edits)


@pytest.mark.slow
@tries(1000)
@given(st.sampled_from([".safetensors", ".pt"]), EDITS)
def test_bytes_at_length(
    tmp_path: Path, whole: dict[str, bytes], suffix: str, edits: list[Edit]
) -> None:
    check_bytes(tmp_path, whole, suffix, edits)


TENSORS: list[Any] = [
    torch.zeros(1).expand(2**40),
    torch.empty(2**40, device="meta"),
    torch.zeros(3).to_sparse(),
    torch.zeros(0),
    torch.zeros(2, 3, dtype=torch.complex64),
    torch.full((3,), float("nan")),
    torch.zeros(3, dtype=torch.int64),
    torch.zeros(3, dtype=torch.float16),
    {"a": torch.zeros(1)},
    1,
    None,
]


@tries(60)
@given(st.integers(0, 10**6), st.sampled_from([*range(len(TENSORS))]))
def test_tensors(tmp_path: Path, tensors: dict[str, torch.Tensor], seed: int, which: int) -> None:
    name = sorted(tensors)[seed % len(tensors)]
    torch.save(tensors | {name: TENSORS[which]}, tmp_path / "w.pt")
    read(tmp_path / "w.pt")
