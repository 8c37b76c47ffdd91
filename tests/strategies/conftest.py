"""Small ensembles and small helpers for the tests of strategies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from backtest.strategies.ensemble import Ensemble, EnsembleConfig
from backtest.strategies.ensemble_init import init_weights
from backtest.strategies.tensor_files import write_safetensors

TINY = EnsembleConfig(hidden=32, mlp=24, depth=2, heads=4, features=5)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny() -> Ensemble:
    """Two blocks a tower, hidden 32."""
    return init_weights(TINY, seed=3)


@pytest.fixture(scope="session")
def tiny_weights(tiny: Ensemble, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny ensemble as a checkpoint."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    write_safetensors(path, tiny.state_dict())
    return path


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of golden vectors, which are too large to keep here."""
    default = Path(__file__).parents[2] / ".." / "shared" / "vectors"
    folder = Path(os.environ.get("BACKTEST_VECTORS", default))
    if not folder.is_dir():
        pytest.skip("no golden vectors: set BACKTEST_VECTORS to their folder")
    return folder
