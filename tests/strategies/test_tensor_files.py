"""Weight files: what is read, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from backtest.errors import DataError
from backtest.strategies.tensor_files import read_tensors, write_safetensors

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "odd": torch.tensor([1, 0, 1], dtype=torch.uint8),  # leaves the next one unaligned
    "b": torch.tensor(3.5, dtype=torch.float64),
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "count": torch.tensor([7], dtype=torch.int32),
    "none": torch.empty(0, 4),
}


def assert_equal(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def test_safetensors_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_safetensors(path, TENSORS)
    assert_equal(read_tensors(path), TENSORS)
    first = path.read_bytes()
    write_safetensors(path, TENSORS)
    assert path.read_bytes() == first


def test_safetensors_is_the_format_that_others_read_and_write(tmp_path: Path) -> None:
    theirs = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    path = tmp_path / "w.safetensors"
    write_safetensors(path, TENSORS)
    assert_equal(theirs.load_file(path), TENSORS)
    theirs.save_file(TENSORS, path, metadata={"made": "elsewhere"})
    assert_equal(read_tensors(path), TENSORS)


def test_transposed_tensors_are_written_in_their_logical_order(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_safetensors(path, {"t": TENSORS["a"].T})
    assert torch.equal(read_tensors(path)["t"], TENSORS["a"].T)


def test_what_is_read_may_be_written_to_without_touching_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_safetensors(path, TENSORS)
    before = path.read_bytes()
    read_tensors(path)["a"].zero_()
    assert path.read_bytes() == before


def header(entries: dict[str, Any], data: int) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data)


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        (2**62).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (4).to_bytes(8, "little") + b"\xff\xfe{}",
        header({"w": ENTRY}, 7),
        header({"w": ENTRY}, 9),
        header({"w": ENTRY | {"shape": [3]}}, 8),
        header({"w": ENTRY | {"shape": [-2]}}, 8),
        header({"w": ENTRY | {"data_offsets": [8, 0]}}, 8),
        header({"w": ENTRY | {"shape": [0, 2**40, 2**40], "data_offsets": [0, 0]}}, 0),
        header({"w": ENTRY | {"dtype": "F7"}}, 8),
        header({"w": {"dtype": "F32"}}, 8),
        header({"w": 3}, 8),
    ],
    ids=range(14),
)
def test_malformed_safetensors_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_tensors(path)
    assert caught.value.place == str(path)


def test_pt_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(TENSORS, path)
    assert_equal(read_tensors(path), TENSORS)


class Custom:
    """Something that only unpickling arbitrary code could rebuild."""


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"state_dict": TENSORS, "epoch": 3}, "'state_dict' is not a tensor"),
        ([torch.ones(1)], "state dict"),
        ({}, "state dict"),
        ({"w": Custom()}, "more than plain tensors"),
    ],
    ids=["wrapper", "list", "empty", "code"],
)
def test_a_pt_file_must_be_a_flat_state_dict(tmp_path: Path, content: Any, problem: str) -> None:
    path = tmp_path / "w.pt"
    torch.save(content, path)
    with pytest.raises(DataError, match=problem):
        read_tensors(path)


@pytest.mark.parametrize(
    "spoil",
    [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"not a checkpoint"],
    ids=["empty", "truncated", "text"],
)
def test_a_damaged_pt_file_is_refused(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "w.pt"
    torch.save(TENSORS, path)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError):
        read_tensors(path)


@pytest.mark.parametrize("name", ["absent.pt", "absent.safetensors", "weights.onnx"])
def test_absent_and_unknown_files_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        read_tensors(tmp_path / name)
    assert name in str(caught.value)
