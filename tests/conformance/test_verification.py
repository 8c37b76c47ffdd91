"""Verdicts: what is exact, close and another function, and what a strategy claims wrongly."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backtest.cli import main
from backtest.conformance.comparison import Error, holds, output_errors, state_errors, weakest
from backtest.conformance.inputs import random_events
from backtest.conformance.trials import Trials, TrialSizes, make_trials, named_symbols
from backtest.conformance.verification import Verdict, Verification
from backtest.plugins.manager import Plugins, load_plugins
from backtest.strategies.module import _MANY

pytestmark = pytest.mark.one_python

PLUGIN = """
from dataclasses import dataclass
from typing import Any
import numpy as np
import torch
from torch import nn
from backtest import hookimpl
from backtest.strategies.base import Strategy
from backtest.strategies.batched import Batched
from backtest.strategies.imbalance import Imbalance
from backtest.strategies.module import ModuleStrategy


class Averages(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.mix = nn.Linear(features, 2)
        self.features = features

    def init_state(self, n):
        return {"mean": torch.zeros(n, self.features)}

    def forward(self, x, state):
        mean = 0.9 * state["mean"] + 0.1 * x
        return self.mix(mean), {"mean": mean}


class Module(ModuleStrategy):
    def module(self, features):
        return Averages(features)


class Sequence(Averages):
    peeks = False  # sees the future where it is given more than two events at once

    def forward_sequence(self, x, state):
        means = []
        mean = state["mean"]
        for step in x:
            mean = 0.9 * mean + 0.1 * step
            means.append(mean)
        y = self.mix(torch.stack(means))
        return (y + 0.1 * x[-1, :, :2] if self.peeks and len(x) > 2 else y), {"mean": mean}


class Sequenced(ModuleStrategy):
    def module(self, features):
        return Sequence(features)


class Peeking(Sequenced):
    def module(self, features):
        module = Sequence(features)
        module.peeks = True
        return module


class Single(Averages):
    def forward(self, x, state):
        y, state = super().forward(x, state)
        return y.float(), {"mean": state["mean"].float()}


class Uncastable(ModuleStrategy):
    def module(self, features):
        return Single(features)


@dataclass
class Noisy(Batched):
    noise: float = 0.0

    def predict(self, batch):
        y = super().predict(batch)
        return y * np.float32(1 + self.noise)


class Forgotten(Batched):
    def reset(self, symbols):
        pass


class Crashing(Imbalance):
    def snapshot(self, symbols):
        raise ZeroDivisionError("by zero")


@dataclass
class Counter(Strategy):  # cannot forget
    needs_features = False

    def bind(self, session):
        self.count = np.zeros(len(session.symbols))

    def predict(self, batch):
        answers = np.empty((len(batch), 1), dtype=np.float32)
        for row, symbol in enumerate(batch.symbol):
            self.count[symbol] += 1
            answers[row] = self.count[symbol]
        return answers

    def snapshot(self, symbols):
        return {"count": self.count[list(symbols)]}

    def restore(self, symbols, state):
        self.count[list(symbols)] = state["count"]


@dataclass
class Clumsy(Strategy):  # answers right, but not in the form that is asked for
    how: str = "flat"
    stateful = False

    def predict(self, batch):
        if self.how == "writes":
            batch.bid[:] = 0
        answers = batch.features[:, :1].copy()
        if self.how == "flat":
            return answers[:, 0]
        return answers.tolist() if self.how == "list" else answers.astype(np.float64)


@dataclass
class Reusing(Strategy):  # hands out the same array again and again
    stateful = False

    def bind(self, session):
        self.buffer = np.empty((1000, 1), dtype=np.float32)

    def predict(self, batch):
        answers = self.buffer[: len(batch)]
        answers[:] = batch.features[:, :1]
        return answers


class Leaks(Averages):
    def forward(self, x, state):
        y, state = super().forward(x, state)
        return y + 0.1 * y.mean(), state


class Spoils(Averages):
    def forward(self, x, state):
        y, state = super().forward(x, state)
        return y + 0 * x.sum(), state


class Lone(Averages):
    def forward(self, x, state):
        if len(x) == 1:
            raise RuntimeError("one is not enough")
        return super().forward(x, state)


class Overflows(Averages):
    def forward(self, x, state):
        y, state = super().forward(x, state)
        return torch.where(y > 0.1, torch.inf, y), state


class Rotates(Averages):
    def init_state(self, n):
        return {"phase": torch.ones(n, 2, dtype=torch.complex64)}

    def forward(self, x, state):
        phase = state["phase"] * torch.exp(1j * x[:, :2])
        return phase.real, {"phase": phase}


class Overflowing(ModuleStrategy):
    def module(self, features):
        return Overflows(features)


class Rotating(ModuleStrategy):
    def module(self, features):
        return Rotates(features)


class Drifts(Averages):
    calls = 0

    def forward(self, x, state):
        y, state = super().forward(x, state)
        Drifts.calls += 1
        return y + 0.01 * (Drifts.calls % 100), state


class Drifting(ModuleStrategy):
    def module(self, features):
        return Drifts(features)


class Leaking(ModuleStrategy):
    def module(self, features):
        return Leaks(features)


class Spoiling(ModuleStrategy):
    def module(self, features):
        return Spoils(features)


class Lonely(ModuleStrategy):
    def module(self, features):
        return Lone(features)


class Follower(Imbalance):
    reference = "imbalance"
    conformance = "exact"


class Market(Imbalance):
    scope = "market"


@hookimpl
def backtest_register_strategies(register):
    own = (
        Module, Sequenced, Peeking, Uncastable, Noisy, Forgotten, Crashing, Counter, Clumsy,
        Leaking, Spoiling, Lonely, Drifting, Reusing, Overflowing, Rotating, Follower, Market,
    )
    for part in own:
        register(part.__name__.lower(), part)
"""
SMALL = TrialSizes(symbols=8, each=16, wide=100, long=0, shown=3)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugins") / "tried.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture(scope="module")
def plugins(plugin: Path) -> Plugins:
    return load_plugins([plugin], entry_points=False)


@pytest.fixture(scope="module")
def trials() -> Trials:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backtest.conformance.trials.LEVELS", {"quick": SMALL})
        patch.setattr("backtest.conformance.trials._SMALL_EVENTS", 60)
        return make_trials("quick", device="cpu", dataset="sample", seed=3)


@pytest.fixture(scope="module")
def verification(plugins: Plugins, trials: Trials) -> Verification:
    return Verification(plugins, trials, on_step=lambda text: None)


WAYS = [f"{events} features{way}" for events in ("random", "real") for way in ("", " as history")]
"""What events are like, and how they are handed out."""


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


def test_batched_is_exact_in_answers_and_state(verification: Verification) -> None:
    verdict = verification.verify("batched")
    assert verdict.holds
    assert (verdict.claimed, verdict.measured) == ("exact", "exact")
    assert set(verdict.errors) == set(WAYS)
    leaves = {e.name for e in verdict.errors["real features"] if e.kind == "state"}
    assert "tower_0/block_0/slstm.m" in leaves
    assert all(check.passed for check in verdict.checks)


def test_last_write_is_another_function_and_depends_on_batches(verification: Verification) -> None:
    verdict = verification.verify("last-write")
    assert verdict.measured == "approximate"
    assert failed(verdict) == ["batching"]
    assert verdict.holds, "it says so itself"


def test_stateless_is_another_function(verification: Verification) -> None:
    verdict = verification.verify("stateless")
    assert (verdict.measured, verdict.holds) == ("approximate", True)
    assert not [e for e in verdict.errors["random features"] if e.kind == "state"]


@pytest.mark.parametrize(("noise", "measured"), [(1e-5, "close"), (0.1, "approximate")])
def test_a_false_claim_fails(verification: Verification, noise: float, measured: str) -> None:
    verdict = verification.verify({"name": "noisy", "noise": noise})
    assert (verdict.claimed, verdict.measured, verdict.holds) == ("exact", measured, False)
    assert failed(verdict) == [f"answers, {way}" for way in WAYS]


def test_a_module_is_held_to_itself_in_double(verification: Verification) -> None:
    verdict = verification.verify("module")
    assert (verdict.measured, verdict.holds) == ("exact", True)
    assert verdict.source == "plain steps of module in float64"


@pytest.mark.parametrize("seed", range(3))
def test_one_symbol_has_so_many_events_that_every_way_is_tried(seed: int) -> None:
    small = make_trials("quick", device="cpu", dataset="sample", seed=seed).small_events
    counts = np.bincount(small.symbol)
    assert counts.max() >= _MANY
    assert counts.min() >= 2


def test_a_modules_sequences_are_held_to_its_steps(verification: Verification) -> None:
    verdict = verification.verify("sequenced")
    assert (verdict.measured, verdict.holds) == ("exact", True)
    peeking = verification.verify("peeking")
    assert not peeking.holds
    assert {"batching", "no look-ahead", "answers, random features"} <= set(failed(peeking))


def test_a_module_that_cannot_be_cast_is_held_to_its_own_precision(
    verification: Verification,
) -> None:
    verdict = verification.verify("uncastable")
    assert (verdict.measured, verdict.holds) == ("exact", True)
    assert verdict.source is not None
    assert "cannot be cast" in verdict.source


def test_one_that_defines_its_own_function_has_invariances_only(
    verification: Verification,
) -> None:
    verdict = verification.verify("imbalance")
    assert (verdict.claimed, verdict.measured, verdict.holds) == (None, None, True)
    assert len(verdict.checks) == 10


def test_one_that_follows_another_is_held_to_its_answers(verification: Verification) -> None:
    verdict = verification.verify("follower")
    assert (verdict.measured, verdict.holds) == ("exact", True)
    assert verdict.source == "imbalance, one event at a time"


def test_a_reset_that_does_nothing_fails(verification: Verification) -> None:
    assert "reset" in failed(verification.verify("forgotten"))


def test_plain_steps_that_differ_from_one_another_are_noted(verification: Verification) -> None:
    verdict = verification.verify("drifting")
    assert "isolation" in failed(verdict)
    assert any("not give the same answers twice" in note for note in verdict.notes)
    assert not verification.verify("module").notes


def test_an_array_may_be_used_again(verification: Verification) -> None:
    assert verification.verify("reusing").holds


def test_answers_must_be_finite(verification: Verification) -> None:
    assert failed(verification.verify("overflowing")) == ["finite answers"]


def test_complex_state_is_compared(verification: Verification) -> None:
    verdict = verification.verify("rotating")
    assert (verdict.measured, verdict.holds) == ("exact", True)
    (error,) = [e for e in verdict.errors["random features"] if e.kind == "state"]
    assert 0 < error.rms < 1e-5


def test_what_does_not_need_a_reset_is_not_blamed_on_it(verification: Verification) -> None:
    """Strategies are then bound anew, where otherwise one is reset."""
    assert failed(verification.verify("counter")) == ["reset", "slot reuse"]


def test_a_crash_is_a_finding(verification: Verification) -> None:
    verdict = verification.verify("crashing")
    assert not verdict.holds
    detail = next(check.detail for check in verdict.checks if check.name == "snapshot")
    assert detail.startswith("ZeroDivisionError: by zero (")
    assert "tried.py, line " in detail


def test_a_crash_while_answers_are_compared_is_a_finding(verification: Verification) -> None:
    verdict = verification.verify("lonely")
    assert (verdict.measured, verdict.holds) == (None, False)
    detail = next(check.detail for check in verdict.checks if check.name == "answers")
    assert "one is not enough" in detail
    assert "symbol permutation" in failed(verdict), "the rest is tried all the same"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("clumsy:how=flat", "predict gave float32 [1], not float32 [1, 1]"),
        ("clumsy:how=double", "predict gave float64 [1, 1], not float32 [1, 1]"),
        ("clumsy:how=list", "predict gave a list, not float32 [1, 1]"),
        ("clumsy:how=writes", "is read-only"),
    ],
)
def test_what_no_run_would_take_fails(verification: Verification, spec: str, problem: str) -> None:
    verdict = verification.verify(spec)
    assert not verdict.holds
    assert problem in next(c.detail for c in verdict.checks if c.name == "batching")


@pytest.mark.parametrize("strategy", ["leaking", "spoiling"])
def test_an_effect_on_other_symbols_is_reported_with_a_value(
    verification: Verification, strategy: str
) -> None:
    details = {check.name: check.detail for check in verification.verify(strategy).checks}
    for name in ("isolation", "padding"):
        assert re.fullmatch(
            r"answers of the other symbols: \d+ of \d+ differ; at \[\d+, \d\] is nan, not \S+",
            details[name],
        )


def test_a_market_wide_one_claims_no_look_ahead_alone(verification: Verification) -> None:
    assert [check.name for check in verification.verify("market").checks] == ["no look-ahead"]


def test_long_runs_are_judged_by_their_end_as_well(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    level = TrialSizes(symbols=8, each=4, wide=40, long=300, shown=2)
    monkeypatch.setattr("backtest.conformance.trials.LEVELS", {"full": level})
    trials = make_trials("full", device="cpu", dataset="sample", seed=1)
    verdict = Verification(plugins, trials, on_step=lambda text: None).verify("module")
    assert "answers at the end, long run" in [check.name for check in verdict.checks]
    long = trials.sets[-1].events
    assert np.bincount(long.symbol).min() == 300
    assert verdict.holds


def test_errors_are_in_units_of_the_right_answers() -> None:
    right = np.array([[0.0, 5.0], [20.0, 5.0]])  # deviation 10, and none: its size is 5
    found = right + np.array([[1.0, 1.0], [-1.0, 1.0]])
    first, second = output_errors(found, right, right + 0.01)
    assert (first.rms, first.max) == pytest.approx((0.1, 0.1))
    assert (second.rms, second.max) == pytest.approx((0.2, 0.2))
    assert first.plain_rms == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("rms", "most", "kind", "measured"),
    [
        (4e-5, 1e-4, "output", "exact"),
        (4.1e-5, 1e-4, "output", "close"),
        (4e-5, 1.1e-3, "output", "close"),
        (1e-2, 0.3, "output", "close"),
        (1e-2, 0.31, "output", "approximate"),
        (1e-2, 0.31, "state", "close"),
        (1.1e-2, 0.1, "state", "approximate"),
        (np.inf, np.inf, "state", "approximate"),
    ],
)
def test_classes(rms: float, most: float, kind: Any, measured: str) -> None:
    assert Error(kind, "x", rms, most, 1e-5, 1e-4).measured == measured


def test_infinite_and_whole_state() -> None:
    right: dict[str, Any] = {"m": np.array([-np.inf, 2.0]), "age": np.array([3, 4])}
    assert weakest(state_errors(right, right)) == "exact"
    spoilt = {"m": np.array([0.0, 2.0]), "age": np.array([3, 5])}
    assert [e.rms for e in state_errors(spoilt, right)] == [np.inf, np.inf]
    assert [e.rms for e in state_errors({"m": right["m"]}, right)] == [0, np.inf]


def test_a_narrower_class_holds_a_wider_claim() -> None:
    assert holds("exact", "approximate")
    assert holds("close", "close")
    assert not holds("close", "exact")


def test_symbols_get_events_in_every_trial() -> None:
    events = random_events(40, symbols=7, features=0, seed=1)
    assert set(events.symbol.tolist()) == set(range(7))


def run(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        main(["verify", *arguments, "--seed", "5"])
    return caught.value.code


def test_the_command(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("imbalance", "--set", "strategy.smoothing=0.5", "--json") == 0
    (verdict,) = json.loads(capsys.readouterr().out)
    assert verdict["holds"]
    assert verdict["strategy"] == "imbalance:smoothing=0.5"
    assert run("crashing", "imbalance", "--plugin", str(plugin)) == 1
    printed = capsys.readouterr().out
    assert "FAIL" in printed
    assert "imbalance claims no class" in printed


def test_one_that_cannot_be_tried_keeps_no_other_from_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("nothere", "imbalance", "northere", "--json") == 2
    captured = capsys.readouterr()
    assert [verdict["strategy"] for verdict in json.loads(captured.out)] == ["imbalance"]
    assert captured.err.count("no strategy is called") == 2


def test_a_setting_of_something_else_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("imbalance", "--set", "latency.service=1") == 2
    assert "'latency.service' cannot be set here" in capsys.readouterr().err


def test_histories_are_tried_where_grouping_must_not_matter(verification: Verification) -> None:
    names = [check.name for check in verification.verify("batched").checks]
    assert "state, real features as history" in names
    assert not [c for c in verification.verify("last-write").checks if "as history" in c.name]


PAIR = """
from dataclasses import dataclass

import numpy as np

import backtest
from backtest.errors import UsageError


@dataclass
class Pair(backtest.Strategy):
    leg: str = "ES"
    stateful = False
    needs_features = False

    def bind(self, session):
        if self.leg not in session.symbols:
            raise UsageError(f"there is no symbol {self.leg!r}")
        self.mine = session.symbols.index(self.leg)

    def predict(self, batch):
        return np.where(batch.symbol == self.mine, batch.bid_size, -1).astype(np.float32)[:, None]


@backtest.hookimpl
def backtest_register_strategies(register):
    register("pair", Pair)
"""


def test_strategies_that_name_symbols(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pair.py").write_text(PAIR)

    def code(*words: str) -> Any:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--plugin", str(tmp_path / "pair.py")])
        return ended.value.code

    assert code("verify", "pair") == 2
    assert "no symbol 'ES'" in capsys.readouterr().err
    assert code("verify", "pair", "pair:leg=NQ", "--symbols", "ES,NQ") == 0
    assert code("profile", "pair", "--sizes", "1", "--symbols", "ES", "--batches", "2") == 0
    assert code("verify", "pair", "--symbols", "ES,ES") == 2
    assert "'ES' is named twice" in capsys.readouterr().err


def test_named_symbols_come_first() -> None:
    assert named_symbols(3) == ("S000", "S001", "S002")
    assert named_symbols(4, ["ES", "S001"]) == ("ES", "S001", "S000", "S002")
    assert named_symbols(1, ["ES", "NQ"]) == ("ES", "NQ")
    many = [f"N{k}" for k in range(150)]
    trials = make_trials("quick", device="cpu", dataset="sample", seed=1, symbols=many)
    assert trials.session.symbols == trials.small_session.symbols == tuple(many)
    assert set(trials.small_events.symbol.tolist()) == set(range(150))
