"""What the content key of predictions covers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from backtest.core import environment
from backtest.core.arrays import Float32Array
from backtest.core.marks import Marks
from backtest.core.parameters import as_table
from backtest.data.dataset import open_dataset
from backtest.data.reading import stream as stream_module
from backtest.data.reading.stream import Extent, Stream
from backtest.inference import bound_strategy
from backtest.inference.bound_strategy import BoundStrategy, bind
from backtest.market.events import EventBatch
from backtest.plugins.manager import load_plugins
from backtest.strategies.base import Session, Strategy
from backtest.strategies.fused.strategy import Fused

SESSIONS = np.array([[0, 10], [20, 30]])


@dataclass
class Weighing(Strategy):
    """Stands for one with weights."""

    weights: str = "abc"

    def predict(self, batch: EventBatch) -> Float32Array:
        raise NotImplementedError

    def fingerprint(self) -> dict[str, str]:
        return {"weights": self.weights}


class Blind(Weighing):
    """The same, without features."""

    needs_features = False


@dataclass(frozen=True)
class Question:
    """All that a key is made of. The dataset's own hash stays what it is told to be."""

    data: str = "data"
    session_breaks: str = "reset"
    sessions: Any = None
    strategy: Strategy = field(default_factory=Weighing)
    table: Any = None
    origin: Any = None
    features: tuple[str, ...] = ("f", "g")
    seed: int = 0
    device: str = "cpu"
    window: tuple[int | None, int | None, int] = (None, None, 6)
    symbols: tuple[str, ...] | None = None
    nonfinite: Any = "refuse"
    answered: Any = (1, 1, 0, 1, 1, 1)
    batches: Any = None

    def key(self) -> str:
        sessions = SESSIONS if self.sessions is None else self.sessions
        dataset: Any = SimpleNamespace(
            data_hash=lambda: self.data, session_breaks=self.session_breaks, sessions=sessions
        )
        session = Session(("A", "B"), self.features, self.device, seed=self.seed)
        bound = BoundStrategy(
            self.strategy, self.table or {"name": "weighing"}, self.origin or {}, session
        )
        given = Stream(dataset, *self.window[:2], self.symbols, nonfinite=self.nonfinite)
        given.__dict__["extent"] = Extent(self.window[2], 0, 0)
        answered = Marks(len(self.answered), False)
        answered.set(0, np.array(self.answered, dtype=np.bool_))
        return bound.key(given, answered, self.batches)


@pytest.mark.parametrize(
    "change",
    [
        {"data": "other data"},
        {"features": ("g", "f")},
        {"strategy": Weighing("other weights")},
        {"table": {"name": "weighing", "gain": 2.0}},
        {"table": as_table(Fused(precision="fp32"), "fused")},
        {"origin": {"sha256": "edited"}},
        {"seed": 1},
        {"window": (5, None, 6)},
        {"window": (None, 50, 6)},
        {"window": (None, None, 7)},
        {"symbols": ("A",)},
        {"nonfinite": "zero"},
        {"answered": (1, 1, 1, 1, 1, 1)},
        {"batches": [np.array([0, 1]), np.array([3, 4, 5])]},
        {"session_breaks": "carry"},
        {"sessions": SESSIONS + 1},
        {"strategy": Blind()},
    ],
    ids=str,
)
def test_whatever_answers_depend_on_changes_the_key(change: dict[str, Any]) -> None:
    assert replace(Question(), **change).key() != Question().key()


def test_precision_and_batches_change_the_key() -> None:
    fused = [Question(table=as_table(Fused(precision=p), "fused")) for p in ("fp16", "tf32")]
    assert fused[0].key() != fused[1].key()
    one = Question(batches=[np.array([0, 1, 3]), np.array([4, 5])])
    other = Question(batches=[np.array([0, 1]), np.array([3, 4, 5])])
    assert one.key() != other.key()


def test_only_the_start_of_a_session_resets_state_and_only_if_it_is_to() -> None:
    later = SESSIONS + np.array([0, 1])
    assert Question(sessions=later).key() == Question().key()
    carried = Question(session_breaks="carry")
    assert replace(carried, sessions=SESSIONS + 1).key() == carried.key()


def other_gpu(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(bound_strategy, "device_model", lambda device: "NVIDIA Other")


def other_build(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(environment, "package_sha256", lambda: "edited")


def other_version(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    def change(patch: pytest.MonkeyPatch) -> None:
        known = environment._version
        patch.setattr(environment, "_version", lambda n: "99" if n == name else known(n))

    change.__name__ = f"other_{name}"
    return change


def other_piece(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stream_module, "WITH_FEATURES", 2 * stream_module.WITH_FEATURES)


@pytest.mark.parametrize(
    "change", [other_gpu, other_build, other_piece, *map(other_version, ("torch", "triton"))]
)
def test_whatever_computes_them_changes_the_key(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None]
) -> None:
    before = Question().key()
    change(monkeypatch)
    assert Question().key() != before


def test_the_piece_size_does_not_matter_where_the_batches_are_simulated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    question = Question(batches=[np.array([0, 1])])
    before = question.key()
    other_piece(monkeypatch)
    assert question.key() == before


PLUGIN = """
from torch import nn, zeros
import backtest
from backtest.strategies import ModuleStrategy

class Own(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.mix = nn.Linear(features, 1)

    def init_state(self, n):
        return zeros(n, 1)

    def forward(self, x, state):
        return self.mix(x) + state, state

class OwnStrategy(ModuleStrategy):
    def module(self, features):
        return Own(features)

@backtest.hookimpl
def backtest_register_strategies(register):
    register("own", OwnStrategy)
"""


def test_an_edited_plugin_and_other_weights_change_the_key(
    small_dataset: Path, tmp_path: Path
) -> None:
    dataset = open_dataset(small_dataset)

    def key(source: str, seed: int = 0) -> str:
        path = tmp_path / "own.py"
        path.write_text(source)
        session = Session(dataset.symbols, dataset.features, seed=seed)
        made = bind(load_plugins([path], entry_points=False), "own", session, dataset)
        # The seed has drawn the weights; here it shall count for nothing else.
        made = replace(made, session=replace(session, seed=0))
        return made.key(Stream(dataset), Marks(600, True), None)

    assert key(PLUGIN) == key(PLUGIN)
    assert key(PLUGIN) != key(PLUGIN + "# a remark\n")
    assert key(PLUGIN) != key(PLUGIN, seed=1)
