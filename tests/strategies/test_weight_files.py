"""The metadata of weight files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backtest.strategies.tensor_files import read_tensors, write_safetensors
from backtest.strategies.weight_files import TRAINED_FROM, TRAINED_TO, training_window


@pytest.mark.parametrize(
    ("metadata", "window"),
    [
        ({TRAINED_FROM: "5", TRAINED_TO: "9"}, (5, 9)),
        ({TRAINED_FROM: "5"}, None),
        ({TRAINED_FROM: "Monday", TRAINED_TO: "9"}, None),
        (None, None),
    ],
)
def test_the_training_window(
    metadata: dict[str, str] | None, window: tuple[int, int] | None, tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    write_safetensors(path, {"a": torch.ones(2)}, metadata)
    assert training_window(path) == window
    assert list(read_tensors(path)) == ["a"]


def test_other_files_state_no_window(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pt")
    assert training_window(tmp_path / "w.pt") is None
