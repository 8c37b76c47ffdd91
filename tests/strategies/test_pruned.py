"""The pruned ensemble: what is kept answers as in the whole one, what is not keeps no state."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from backtest.core.grammar import parse_spec
from backtest.core.parameters import as_text, build
from backtest.errors import UsageError
from backtest.strategies.base import Session, Strategy
from backtest.strategies.batched import Batched
from backtest.strategies.pruned import TOWER_NAMES, Pruned
from tests.conformance_inputs import CHECKS, Case, random_events

SESSION = Session(tuple("ABCDE"), tuple("fghij"))
EVENTS = random_events(60, symbols=5, features=5, seed=4)


def bound(strategy: Strategy) -> Strategy:
    strategy.bind(SESSION)
    return strategy


def test_with_everything_kept_it_is_batched(tiny_weights: Path) -> None:
    pruned, batched = bound(Pruned(tiny_weights)), bound(Batched(tiny_weights))
    np.testing.assert_array_equal(pruned.predict(EVENTS), batched.predict(EVENTS))
    wanted = batched.snapshot(range(5))
    found = pruned.snapshot(range(5))
    assert found.keys() == wanted.keys()
    for name, leaf in found.items():
        np.testing.assert_array_equal(leaf, wanted[name], err_msg=name)


@pytest.mark.parametrize("towers", [("hawk",), ("retnet", "xlstm"), ("mamba2", "retnet", "hawk")])
def test_kept_towers_answer_as_in_the_whole(tiny_weights: Path, towers: tuple[str, ...]) -> None:
    pruned, batched = bound(Pruned(tiny_weights, towers)), bound(Batched(tiny_weights))
    found, wanted = pruned.predict(EVENTS), batched.predict(EVENTS)
    kept = [name in towers for name in TOWER_NAMES]
    np.testing.assert_allclose(found[:, kept], wanted[:, kept], rtol=0, atol=1e-5)
    mean = found[:, kept].mean(axis=1)
    for column in np.flatnonzero(np.logical_not(kept)):
        np.testing.assert_allclose(found[:, column], mean, rtol=0, atol=1e-6)
    np.testing.assert_allclose(pruned.forecast(found), mean, rtol=0, atol=1e-6)
    whole, part = batched.snapshot([0, 3]), pruned.snapshot([0, 3])
    indices = tuple(f"tower_{t}/" for t in np.flatnonzero(kept))
    assert list(part) == [name for name in whole if name.startswith(indices)]
    for name, leaf in part.items():
        np.testing.assert_allclose(leaf, whole[name], rtol=0, atol=1e-5, err_msg=name)


def test_the_first_blocks_are_kept(tiny_weights: Path) -> None:
    pruned, batched = bound(Pruned(tiny_weights, depth=1)), bound(Batched(tiny_weights))
    assert np.abs(pruned.predict(EVENTS) - batched.predict(EVENTS)).max() > 0.01
    whole, part = batched.snapshot(range(5)), pruned.snapshot(range(5))
    assert list(part) == [name for name in whole if "/block_0/" in name]
    for name, leaf in part.items():
        np.testing.assert_array_equal(leaf, whole[name], err_msg=name)


@pytest.mark.parametrize("check", CHECKS)
def test_properties(tiny_weights: Path, check: str) -> None:
    make = partial(Pruned, tiny_weights, ("hawk", "mamba2"), 1)
    CHECKS[check](Case(make, SESSION, EVENTS), 1)


def test_its_parameters_are_text(tiny_weights: Path) -> None:
    spec = parse_spec("pruned:towers=hawk+xlstm,depth=1", place="test")
    strategy = build(Pruned, spec, place="test")
    assert (strategy.towers, strategy.depth) == (("hawk", "xlstm"), 1)
    assert as_text(strategy, "pruned") == "pruned:towers=hawk+xlstm,depth=1"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("towers=lstm", "'lstm' is not one of the towers xlstm, mamba2, retnet, hawk"),
        ("towers=hawk+hawk", "none twice"),
        ("depth=0", "depth is 0"),
    ],
)
def test_what_cannot_be_kept_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        build(Pruned, parse_spec(f"pruned:{text}", place="test"), place="test")


def test_more_blocks_than_there_are_is_refused(tiny_weights: Path) -> None:
    with pytest.raises(UsageError, match="depth is 3, the ensemble has 2 blocks"):
        Pruned(tiny_weights, depth=3).bind(SESSION)
