"""Matrix states moved by whole chunks of events, against plain recurrences in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.strategies.interpreted import DEVICE  # isort: skip  # before any kernel
from backtest.strategies.kernels.chunks import EVENTS, Prepared, matrix_chunks, parts_of
from backtest.strategies.kernels.deferred import Deferred
from backtest.strategies.kernels.matrix_state import advance_plain
from backtest.strategies.kernels.runs import Runs

pytestmark = pytest.mark.one_python

LENGTHS = [5, 0, EVENTS, 1, EVENTS + 1]
"""Events of each slot."""

HEADS = 2


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def integers(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int32, device=DEVICE)


def make_runs() -> Runs:
    slots = [slot for slot, n in enumerate(LENGTHS) for _ in range(n)]
    turns = [turn for n in LENGTHS for turn in range(n)]
    counts = [n if turn == 0 else 0 for n in LENGTHS for turn in range(n)]
    first = [row for row, n in enumerate(counts) if n]
    return Runs(integers(slots), integers(turns), integers(counts), integers(first))


def inputs(keys: int, values: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, Tensor], Tensor]:
    rows = sum(LENGTHS)
    qkv = tuple(
        draw(rows, HEADS, size, seed=seed).half() for seed, size in enumerate((keys, keys, values))
    )
    steps = (
        torch.sigmoid(3 + 2 * draw(rows, HEADS, seed=3)),
        keys**-0.5 * draw(rows, HEADS, seed=4).abs(),
    )
    return qkv, steps, draw(len(LENGTHS), HEADS, keys, values, seed=5)


def plain(
    runs: Runs, qkv: tuple[Tensor, ...], steps: tuple[Tensor, Tensor], state: Tensor
) -> tuple[Tensor, Tensor]:
    kept, found = state.double(), []
    q, k, v = (part.double() for part in qkv)
    keep, scale = (part.double() for part in steps)
    for row, slot in enumerate(runs.slot.tolist()):
        k_row = k[row] * scale[row, :, None]
        kept[slot], read = advance_plain(kept[slot], keep[row], k_row, v[row], q[row])
        found.append(read.flatten())
    return kept, torch.stack(found)


def advance(
    qkv: tuple[Tensor, ...],
    steps: tuple[Tensor, Tensor],
    state: Tensor,
    deferred: Deferred | None = None,
    *,
    transposed: bool = False,
) -> Tensor:
    """What is read from the state, which moves on."""
    runs = make_runs()
    q, k, v = qkv
    rows, heads, keys = q.shape
    weights = torch.full((rows, heads, EVENTS), torch.nan, dtype=torch.float16, device=DEVICE)
    prepared = Prepared(weights, *torch.full((3, rows, heads), torch.nan, device=DEVICE))
    out = torch.full((parts_of(keys), rows, heads * v.shape[2]), torch.nan, device=DEVICE)
    matrix_chunks(
        (q, k, v), steps, state, runs, prepared, out,
        deferred=deferred, transposed=transposed, warps=4,
    )  # fmt: skip
    return out.sum(0)


def assert_like(found: Tensor, wanted: Tensor) -> None:
    """A few roundings of float16 of what is summed up."""
    error = (found.double() - wanted).norm() / wanted.norm()
    assert float(error) < 6e-4
    assert float((found.double() - wanted).abs().max() / wanted.std()) < 6e-3


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("keys", "values"), [(20, 40), (300, 24), (64, 64), (128, 130)])
def test_matrix_chunks(transposed: bool, keys: int, values: int) -> None:
    (q, _, v), steps, state = inputs(keys, values)
    qkv = q, q[:, :1].flip(2).expand(-1, HEADS, -1), v
    wanted_state, wanted = plain(make_runs(), qkv, steps, state)
    stored = state.mT.contiguous() if transposed else state
    out = advance(qkv, steps, stored, transposed=transposed)
    assert_like(out, wanted)
    assert_like(stored.mT if transposed else stored, wanted_state)


@pytest.mark.skipif(DEVICE.type == "cpu", reason="sizes for a GPU")
@pytest.mark.parametrize(
    ("keys", "values", "transposed"),
    [(512, 512, False), (128, 64, True), (256, 256, False), (1024, 128, False)],
)
def test_large_heads(keys: int, values: int, transposed: bool) -> None:
    qkv, steps, state = inputs(keys, values)
    wanted_state, wanted = plain(make_runs(), qkv, steps, state)
    stored = state.mT.contiguous() if transposed else state
    out = advance(qkv, steps, stored, transposed=transposed)
    assert_like(out, wanted)
    assert_like(stored.mT if transposed else stored, wanted_state)


def test_it_catches_up_first() -> None:
    keys = values = 20
    qkv, steps, late = inputs(keys, values)
    since = integers([0, 0, 1, 0, 0])
    deferred = Deferred.empty(since, HEADS, (HEADS, keys), values, phase=0)
    # Slot 2, one event behind: the place in its ring is slot + phase.
    for ring, seed in ((deferred.keep, 6), (deferred.k, 7), (deferred.v, 8)):
        ring[2, 2] = draw(*ring.shape[2:], seed=seed)
    at_once = late.clone()
    at_once[2], _ = advance_plain(
        late[2], deferred.keep[2, 2], deferred.k[2, 2], deferred.v[2, 2], deferred.k[2, 2]
    )
    wanted_state, wanted = plain(make_runs(), qkv, steps, at_once)
    out = advance(qkv, steps, late, deferred)
    assert_like(out, wanted)
    assert_like(late, wanted_state)


def test_products_and_states_beyond_float16_use_larger_units() -> None:
    (q, k, v), (keep, scale), state = inputs(20, 20)
    qkv, state = (200 * q, 200 * k, v), 1e6 * state
    assert float((qkv[0].float() * qkv[1].float()).sum(2).abs().max()) > 1e5
    steps = keep, torch.ones_like(scale)
    wanted_state, wanted = plain(make_runs(), qkv, steps, state)
    out = advance(qkv, steps, state)
    assert_like(out, wanted)
    assert_like(state, wanted_state)


def test_values_times_steps_beyond_float16_use_larger_units() -> None:
    (q, k, v), (keep, scale), state = inputs(20, 20)
    qkv, steps = (q, k, 3e4 * v.clamp(-2, 2)), (keep, 50 + 50 * scale)
    assert float((qkv[2].float() * steps[1][:, :, None]).abs().max()) > 1e6
    assert qkv[2].isfinite().all()
    wanted_state, wanted = plain(make_runs(), qkv, steps, state)
    out = advance(qkv, steps, state)
    assert_like(out, wanted)
    assert_like(state, wanted_state)


def test_what_is_forgotten_is_gone() -> None:
    qkv, (keep, scale), state = inputs(20, 20)
    keep[::3] = 0
    wanted_state, wanted = plain(make_runs(), qkv, (keep, scale), state)
    out = advance(qkv, (keep, scale), state)
    assert_like(out, wanted)
    assert_like(state, wanted_state)


@pytest.mark.parametrize("what", range(4))
def test_rubbish_reaches_no_earlier_event_and_no_other_symbol(what: int) -> None:
    qkv, (keep, scale), state = inputs(20, 20)
    bad = LENGTHS[0] + 40  # of slot 2
    end = LENGTHS[0] + LENGTHS[2]
    kept = state.clone()
    clean = advance(qkv, (keep, scale), kept)
    (*qkv, keep)[what][bad] = torch.nan
    out = advance(qkv, (keep, scale), state)
    assert bool(torch.isnan(out[bad]).all())
    same = [*range(bad), *range(end, len(out))]
    torch.testing.assert_close(out[same], clean[same], atol=0, rtol=0)
    for slot in (0, 1, 3, 4):
        torch.testing.assert_close(state[slot], kept[slot], atol=0, rtol=0)
    if what == 0:  # a query changes nothing
        torch.testing.assert_close(state, kept, atol=0, rtol=0)
    else:
        assert bool(torch.isnan(out[bad + 1 : end]).all())
        assert bool(torch.isnan(state[2]).all())
