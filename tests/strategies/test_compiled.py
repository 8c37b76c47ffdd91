"""The compiled ensemble against the batched one, and how often it is compiled."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backtest.errors import UsageError
from backtest.strategies.base import Session
from backtest.strategies.batched import Batched
from backtest.strategies.compiled import Compiled
from backtest.strategies.ensemble import EnsembleConfig
from backtest.strategies.ensemble_init import init_weights
from backtest.strategies.tensor_files import write_safetensors
from tests.conformance_inputs import CHECKS, Case, answers, random_events

# The compiler's own imports give this warning.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"
)

SYMBOLS = 70
SESSION = Session(tuple(map(str, range(SYMBOLS))), tuple("fghij"))
EVENTS = random_events(200, symbols=SYMBOLS, features=5, seed=4)
COMPILER = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++"))), reason="needs a C++ compiler"
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One block a tower: compilation takes most of these tests' time."""
    config = EnsembleConfig(hidden=32, mlp=24, depth=1, heads=4, features=5)
    path = tmp_path_factory.mktemp("weights") / "one-block.safetensors"
    write_safetensors(path, init_weights(config, seed=3).state_dict())
    return path


@pytest.mark.one_python
@COMPILER
def test_one_compilation_serves_all_sizes(weights: Path) -> None:
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    compiled, batched = Compiled(weights), Batched(weights)
    compiled.bind(SESSION)
    batched.bind(SESSION)
    cuts = [1, 3, 6, 10, 15, 22, 31, 50, 120]
    found, wanted = answers(compiled, EVENTS, cuts), answers(batched, EVENTS, cuts)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())
    kept = batched.snapshot(range(SYMBOLS))
    for name, leaf in compiled.snapshot(range(SYMBOLS)).items():
        np.testing.assert_allclose(leaf, kept[name], rtol=1e-5, atol=2e-5, err_msg=name)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@COMPILER
@pytest.mark.parametrize("check", CHECKS)
def test_properties(weights: Path, check: str) -> None:
    session = Session(tuple("ABCDE"), SESSION.features)
    events = random_events(60, symbols=5, features=5, seed=9)
    CHECKS[check](Case(partial(Compiled, weights), session, events), 1)


def test_where_nothing_compiles_it_is_refused(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise torch._dynamo.exc.Unsupported("backend raised:\nno C++ compiler\nand more")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fails)
    with pytest.raises(UsageError, match="fails on cpu: backend raised: no C\\+\\+ compiler"):
        Compiled(weights).bind(SESSION)
