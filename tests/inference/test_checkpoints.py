"""A pass that is stopped between any two calls and gone on from answers as one that was not."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backtest.core.array_files import ArrayWriter
from backtest.core.arrays import Float32Array
from backtest.core.marks import Marks
from backtest.core.spool import Spool
from backtest.core.times import format_utc
from backtest.data.dataset import Dataset
from backtest.data.reading import stream as stream_module
from backtest.data.reading.stream import Stream
from backtest.inference import checkpoints
from backtest.inference.bound_strategy import BoundStrategy
from backtest.inference.checkpoints import MANIFEST, Checkpoint, resumable
from backtest.inference.prediction import predict
from backtest.market.events import EventBatch
from backtest.strategies.base import Session, StateArrays, Strategy
from backtest.strategies.imbalance import Imbalance
from backtest.strategies.module import ModuleStrategy
from tests.parquet_files import SYMBOLS, dataset_of, random_events

ROWS = 300
EVENTS = random_events(ROWS, seed=7)
ANSWERED = np.random.default_rng(1).random(ROWS) < 0.8
ANSWERED[64:96] = False  # a piece without any
LATE = np.flatnonzero(ANSWERED) + np.random.default_rng(2).integers(0, 9, ANSWERED.sum())
BATCHES = np.array_split(np.flatnonzero(ANSWERED)[np.argsort(LATE)], 11)  # some overtake others
KEY = "0" * 64


@dataclass
class Summing(Strategy):
    """The running sum of its symbol's first feature, in double precision."""

    scale: float = 0.1

    def bind(self, session: Session) -> None:
        self.sums = np.zeros(len(session.symbols))

    def predict(self, batch: EventBatch) -> Float32Array:
        assert batch.features is not None
        out = np.empty((len(batch), 2), dtype=np.float32)
        for row, symbol in enumerate(batch.symbol):
            self.sums[symbol] += self.scale * batch.features[row, 0]
            out[row] = self.sums[symbol], row
        return out

    outputs = 2

    def snapshot(self, symbols: Sequence[int]) -> dict[str, NDArray[Any]]:
        return {"sums": self.sums[list(symbols)]}

    def restore(self, symbols: Sequence[int], state: StateArrays) -> None:
        self.sums[list(symbols)] = state["sums"]

    def reset(self, symbols: Sequence[int]) -> None:
        self.sums[list(symbols)] = 0


class ByBatch(Summing):
    """Answers depend on the batches, of which each ends in one step for all its symbols."""

    batch_invariant: ClassVar[bool] = False

    def predict(self, batch: EventBatch) -> Float32Array:
        out = super().predict(batch)
        self.sums[np.unique(batch.symbol)] *= 0.9
        return out


class Stateless(Summing):
    """Only answers are there to be kept."""

    stateful: ClassVar[bool] = False
    snapshot = Strategy.snapshot

    def predict(self, batch: EventBatch) -> Float32Array:
        assert batch.features is not None
        return np.array(batch.features[:, :2])


class Hiding(Summing):
    """Has state and shows none of it."""

    snapshot = Strategy.snapshot


class Taking(Summing):
    """Shows its state and does not take it back."""

    restore = Strategy.restore


class Market(Summing):
    """Sums over all symbols."""

    scope: ClassVar[Literal["symbol", "market"]] = "market"


class Cell(nn.Module):
    """An LSTM's cell, with a count and a half-precision mean beside it."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, 4)
        self.head = nn.Linear(4, 2)

    def init_state(self, n: int) -> Any:
        return {
            "cell": (torch.zeros(1, n, 4), torch.full((1, n, 4), 0.5)),
            "age": torch.zeros(1, n, dtype=torch.int16),
            "mean": torch.zeros(1, n, dtype=torch.bfloat16),
        }

    def forward(self, x: Tensor, state: Any) -> Any:
        y, cell = self.lstm(x[None], state["cell"])
        mean = state["mean"] * 0.5 + x[None, :, 0].bfloat16()
        age = state["age"] + 1
        return self.head(y[0]) + mean[0, :, None] / age[0, :, None], {
            "cell": cell, "age": age, "mean": mean
        }  # fmt: skip


class Recurrent(ModuleStrategy):
    """State of several leaves and dtypes, in slots."""

    batch_dim = 1

    def module(self, features: int) -> nn.Module:
        return Cell(features)


class Stopped(Exception):
    """A pass is stopped here."""


@dataclass
class Pass:
    """Pass 2 over the events by new strategies, stopped where a test wants it."""

    dataset: Dataset
    make: Callable[[], Strategy]
    capacity: int | None = None

    def run(self, checkpoint: Checkpoint | None = None, *, calls: int | None = None) -> Any:
        """The answers; stopped by ``Stopped`` before the call with number ``calls``."""
        strategy = self.make()
        session = Session(SYMBOLS, ("f0", "f1", "f2"), capacity=self.capacity)
        strategy.bind(session)
        if calls is not None:
            self._stop(strategy, calls)
        batches = None if strategy.batch_invariant else BATCHES
        bound = BoundStrategy(strategy, {"name": "tested"}, {}, session)
        answered = Marks(ROWS, False)
        answered.set(0, ANSWERED)
        done: list[int] = []
        with Spool(Path(self.dataset.root), ROWS, strategy.outputs) as out:
            predict(
                bound, Stream(self.dataset), answered, batches, out,
                progress=lambda n, _: done.append(n), checkpoint=checkpoint,
            )  # fmt: skip
            assert done[-1] == np.count_nonzero(ANSWERED)
            return out.read(0, ROWS)

    @staticmethod
    def _stop(strategy: Strategy, calls: int) -> None:
        answer = strategy.predict
        left = iter([False] * calls + [True])

        def predict(batch: EventBatch) -> Float32Array:
            if next(left):
                raise Stopped
            return answer(batch)

        setattr(strategy, "predict", predict)  # noqa: B010 - an instance's


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small pieces, and a checkpoint after each."""
    monkeypatch.setattr(stream_module, "WITH_FEATURES", 32)
    monkeypatch.setattr(stream_module, "WITHOUT_FEATURES", 48)
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    monkeypatch.setattr(checkpoints, "_SHARE", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def columns() -> dict[str, Any]:
    assert EVENTS.features is not None
    plain = {n: getattr(EVENTS, n) for n in ("ts_event", "bid", "ask", "bid_size", "ask_size")}
    features = {f"f{k}": EVENTS.features[:, k] for k in range(3)}
    return plain | {"symbol": [SYMBOLS[i] for i in EVENTS.symbol]} | features


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Without sessions."""
    folder = tmp_path_factory.mktemp("carried")
    names = {"columns": ["f0", "f1", "f2"]}
    return dataset_of(folder, {"a.parquet": columns()}, 77, features=names)


@pytest.fixture(scope="module")
def reset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Sessions that begin within pieces, at an edge of pieces, and one after another."""
    folder = tmp_path_factory.mktemp("reset")
    opens = [int(EVENTS.ts_event[k]) for k in (0, 40, 160, 162, 254)]
    opens.append(int(EVENTS.ts_event[-1]) + 1)
    sessions = [[format_utc(a), format_utc(b)] for a, b in itertools.pairwise(opens)]
    return dataset_of(
        folder,
        {"a.parquet": columns()},
        77,
        features={"columns": ["f0", "f1", "f2"]},
        calendar={"sessions": sessions, "session_breaks": "reset"},
    )


KINDS: dict[str, Callable[[], Strategy]] = {
    "summing": Summing,
    "imbalance": partial(Imbalance, 0.3),
    "by batch": ByBatch,
    "stateless": Stateless,
    "module": Recurrent,
}


@pytest.mark.parametrize("breaks", ["carried", "reset"])
@pytest.mark.parametrize("kind", KINDS)
def test_stopped_between_any_two_calls_and_gone_on_from(
    kind: str, breaks: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    whole = Pass(request.getfixturevalue(breaks), KINDS[kind])
    wanted = whole.run()
    resumed = set()
    for calls in itertools.count(1):
        folder = tmp_path / f"{calls}"
        try:
            with Checkpoint(folder, KEY) as checkpoint:
                whole.run(checkpoint, calls=calls)
        except Stopped:
            pass
        else:
            break
        with Checkpoint(folder, KEY) as checkpoint:
            found = whole.run(checkpoint)
            resumed.add(checkpoint.resumed and checkpoint.resumed["event"])
        np.testing.assert_array_equal(found, wanted)
    assert len(resumed - {None}) >= 5


def test_stopped_again_and_again(carried: Dataset, tmp_path: Path) -> None:
    whole = Pass(carried, Recurrent, capacity=2)
    wanted, found, events = whole.run(), None, []
    while found is None:
        with Checkpoint(tmp_path / "c", KEY) as checkpoint:
            with contextlib.suppress(Stopped):
                found = whole.run(checkpoint, calls=2)
            events.append(checkpoint.resumed and checkpoint.resumed["event"])
    np.testing.assert_array_equal(found, wanted)
    assert events[0] is None
    assert len(events) > 3
    assert events[1:] == sorted({event for event in events if event})


def stop(whole: Pass, folder: Path, calls: int = 5) -> list[Path]:
    """Stop a pass, and return the files of its checkpoint."""
    with pytest.raises(Stopped), Checkpoint(folder, KEY) as checkpoint:
        whole.run(checkpoint, calls=calls)
    return sorted(folder.iterdir())


def test_answers_are_written_once_and_state_replaced(carried: Dataset, tmp_path: Path) -> None:
    files = stop(Pass(carried, Summing), tmp_path / "c", calls=3)
    assert [path.name for path in files] == [
        "answers-1", "answers-2", "answers-3", "answers-4", "checkpoint.json", "state-4"
    ]  # fmt: skip
    manifest = json.loads((tmp_path / "c" / MANIFEST).read_text())
    assert manifest["position"] == {"call": 4, "answered": int(ANSWERED[:128].sum()), "session": 0}
    answered = sum(path.stat().st_size for path in files if path.name.startswith("answers"))
    assert answered == 8 * ANSWERED[:128].sum()


def flipped(at: float, content: bytes) -> bytes:
    """A bit flipped somewhere between the beginning (0) and the end (1)."""
    changed = bytearray(content)
    changed[int(at * (len(content) - 1))] ^= 4
    return bytes(changed)


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    **{f"flipped at {at}": partial(flipped, at) for at in (0, 0.3, 0.7, 1)},
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "longer": lambda content: content + b"x",
    "missing": lambda content: None,
}


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", ["answers-1", "answers-4", "state-4", MANIFEST])
def test_damage_is_found_and_the_pass_starts_over(
    carried: Dataset,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    how: str,
) -> None:
    whole = Pass(carried, Summing)
    stop(whole, tmp_path / "c", calls=3)
    path = tmp_path / "c" / name
    content = DAMAGES[how](path.read_bytes())
    path.unlink() if content is None else path.write_bytes(content)
    with caplog.at_level(logging.WARNING), Checkpoint(tmp_path / "c", KEY) as checkpoint:
        found = whole.run(checkpoint, calls=None)
        assert checkpoint.resumed is None
    np.testing.assert_array_equal(found, whole.run())
    warned = [record.getMessage() for record in caplog.records]
    if (name, how) == (MANIFEST, "missing"):  # as if there were none: a killed process's remains
        assert warned == []
    else:
        assert len(warned) == 1
        assert f"{tmp_path / 'c'}: the pass starts over" in warned[0]


def test_another_passs_checkpoint_is_not_gone_on_from(
    carried: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = Pass(carried, Summing)
    stop(whole, tmp_path / "c")
    with caplog.at_level(logging.WARNING), Checkpoint(tmp_path / "c", "1" * 64) as checkpoint:
        np.testing.assert_array_equal(whole.run(checkpoint), whole.run())
    assert "of another pass" in caplog.text


def test_a_restore_that_fails_half_way_leaves_no_trace(
    carried: Dataset,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Failing(Summing):
        def restore(self, symbols: Sequence[int], state: StateArrays) -> None:
            super().restore(symbols, state)
            if 1 in symbols:
                raise ZeroDivisionError

    monkeypatch.setattr(checkpoints, "_TOGETHER", 1)
    whole = Pass(carried, Failing)
    stop(whole, tmp_path / "c")
    with caplog.at_level(logging.WARNING), Checkpoint(tmp_path / "c", KEY) as checkpoint:
        np.testing.assert_array_equal(whole.run(checkpoint), whole.run())
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("kind", [Hiding, Taking, Market])
def test_what_a_snapshot_does_not_cover_gets_no_checkpoint(
    carried: Dataset, tmp_path: Path, kind: type[Strategy]
) -> None:
    assert not resumable(kind())
    with pytest.raises(Stopped), Checkpoint(tmp_path / "c", KEY) as checkpoint:
        Pass(carried, kind).run(checkpoint, calls=5)
    assert not (tmp_path / "c").exists()


def test_a_checkpoint_is_not_taken_by_a_strategy_that_cannot_go_on(
    carried: Dataset, tmp_path: Path
) -> None:
    stop(Pass(carried, Summing), tmp_path / "c")
    with Checkpoint(tmp_path / "c", KEY) as checkpoint:
        found = Pass(carried, Hiding).run(checkpoint)
        assert checkpoint.resumed is None
    np.testing.assert_array_equal(found, Pass(carried, Summing).run())


class Odd(Summing):
    """Shows what no file keeps."""

    def snapshot(self, symbols: Sequence[int]) -> dict[str, NDArray[Any]]:
        return {"sums": self.sums[list(symbols)].astype(object)}


class Unable(Summing):
    """Shows nothing."""

    def snapshot(self, symbols: Sequence[int]) -> dict[str, NDArray[Any]]:
        raise NotImplementedError("no state is shown")


@pytest.mark.parametrize(("kind", "problem"), [(Odd, "'sums' is object"), (Unable, "no state is")])
def test_state_that_cannot_be_kept_is_warned_of(
    carried: Dataset,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    kind: type[Strategy],
    problem: str,
) -> None:
    whole = Pass(carried, kind)
    with caplog.at_level(logging.WARNING), Checkpoint(tmp_path / "c", KEY) as checkpoint:
        found = whole.run(checkpoint)
    np.testing.assert_array_equal(found, Pass(carried, Summing).run())
    (warned,) = (record.getMessage() for record in caplog.records)  # once, not every few minutes
    assert problem in warned
    assert not (tmp_path / "c" / MANIFEST).exists()
    assert not [path for path in (tmp_path / "c").iterdir() if "state" in path.name]


def test_a_full_disk_stops_nothing_and_leaves_the_last_checkpoint(
    carried: Dataset,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Pass(carried, Summing)
    wanted = whole.run()
    put = ArrayWriter.put
    for room in range(0, 400, 90):  # bytes
        left = [room + 8 * int(ANSWERED[:64].sum())]

        def full(writer: ArrayWriter, array: NDArray[Any], left: list[int] = left) -> None:
            left[0] -= array.nbytes
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            put(writer, array)

        folder = tmp_path / f"{room}"
        caplog.clear()
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            patch.setattr(ArrayWriter, "put", full)
            with pytest.raises(Stopped), Checkpoint(folder, KEY) as checkpoint:
                whole.run(checkpoint, calls=8)
        (warned,) = (record.getMessage() for record in caplog.records if record.levelname != "INFO")
        assert "no checkpoint was written: it cannot be written: No space left on device" in warned
        manifest = json.loads((folder / MANIFEST).read_text())
        named = {entry["file"] for entry in (*manifest["answers"], manifest["state"])}
        assert {path.name for path in folder.iterdir()} == named | {MANIFEST}
        with Checkpoint(folder, KEY) as checkpoint:
            np.testing.assert_array_equal(whole.run(checkpoint), wanted)
            assert checkpoint.resumed is not None


def test_a_pass_that_cannot_write_at_all_goes_on(
    carried: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    whole = Pass(carried, Summing)
    with (
        caplog.at_level(logging.WARNING),
        Checkpoint(tmp_path / "file" / "c", KEY) as checkpoint,
    ):
        np.testing.assert_array_equal(whole.run(checkpoint), whole.run())
    assert "no checkpoint was written" in caplog.text


def test_of_two_at_once_one_keeps_a_checkpoint(carried: Dataset, tmp_path: Path) -> None:
    whole = Pass(carried, Summing)
    wanted = whole.run()
    stop(whole, tmp_path / "c")
    with Checkpoint(tmp_path / "c", KEY) as first, Checkpoint(tmp_path / "c", KEY) as second:
        with pytest.raises(Stopped):
            whole.run(first, calls=1)
        before = {path: path.read_bytes() for path in (tmp_path / "c").iterdir()}
        np.testing.assert_array_equal(whole.run(second), wanted)
        assert second.resumed is None
        assert not second.discard()
        assert {path: path.read_bytes() for path in (tmp_path / "c").iterdir()} == before
        assert first.discard()
    assert not (tmp_path / "c").exists()


def test_checkpoints_are_at_least_five_minutes_apart(
    carried: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(stream_module, "WITH_FEATURES", 32)
    assert checkpoints.EVERY == 300
    now = [1000.0]
    saved: list[float] = []

    class Slow(Summing):
        def predict(self, batch: EventBatch) -> Float32Array:
            now[0] += 101
            return super().predict(batch)

        def snapshot(self, symbols: Sequence[int]) -> dict[str, NDArray[Any]]:
            if 0 in symbols:
                saved.append(now[0])
                now[0] += 20 * (len(saved) == 2)  # a slow disk
            return super().snapshot(symbols)

    with Checkpoint(tmp_path / "c", KEY, clock=lambda: now[0]) as checkpoint:
        Pass(carried, Slow).run(checkpoint)
    # After three calls of 101 s each; after three more; then not before 20 times 20 s are over.
    assert saved == [1303, 1606, 1606 + 20 + 4 * 101][: len(saved)]
    assert len(saved) >= 2


def test_state_is_asked_for_in_groups_of_bounded_size(
    carried: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []

    class Asked(Summing):
        def snapshot(self, symbols: Sequence[int]) -> dict[str, NDArray[Any]]:
            asked.append(list(symbols))
            return super().snapshot(symbols)

    for most, groups in ((1, [[0], [1], [2]]), (17, [[0], [1, 2]])):
        asked.clear()
        monkeypatch.setattr(checkpoints, "_TOGETHER", most)
        whole = Pass(carried, Asked)
        stop(whole, tmp_path / f"{most}", calls=3)
        assert asked[-len(groups) :] == groups
        with Checkpoint(tmp_path / f"{most}", KEY) as checkpoint:
            np.testing.assert_array_equal(whole.run(checkpoint), whole.run())


def test_only_symbols_that_advanced_since_the_reset_are_kept(
    reset: Dataset, tmp_path: Path
) -> None:
    opened = int(np.searchsorted(EVENTS.ts_event, EVENTS.ts_event[254]))
    advanced = EVENTS.symbol[opened:256][ANSWERED[opened:256]]
    for calls in itertools.count(1):
        stop(Pass(reset, Summing), tmp_path / f"{calls}", calls)
        manifest = json.loads((tmp_path / f"{calls}" / MANIFEST).read_text())
        if manifest["position"]["call"] == 8:  # the first 256 events
            break
    kept = [s for group in manifest["state"]["groups"] for s in group["symbols"]]
    assert kept == np.unique(advanced).tolist()
    assert len(kept) < len(SYMBOLS)
