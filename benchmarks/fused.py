"""Check and time the fused ensemble at full size on an NVIDIA GPU.

    python benchmarks/fused.py check      fp16      OUT.json      about 15 s (30 s uncompiled)
    python benchmarks/fused.py strategies fp16+fp32 OUT.json      about 30 s (90 s uncompiled)
    python benchmarks/fused.py strategies fp16-start OUT.json     the cold start alone
    python benchmarks/fused.py time       fp16      OUT.json      about 10 s (25 s uncompiled)
    python benchmarks/fused.py kernels    fp16      OUT.json 20 10   about 8 s; events, symbols
    python benchmarks/fused.py history    fp16      OUT.json      about 30 s
    python benchmarks/fused.py tune       fp16      OUT.json 40 1 8   seconds, and batch sizes

``check`` compares with the plain float64 step and comes first; ``strategies`` times ``predict``,
cold start included, from a checkpoint that it writes; ``time`` times the captured steps alone, and
with ``no-overlap`` or ``write-back`` after OUT.json also without programmatic dependent launch, or
with states written after every event; ``history`` takes 39 symbols' events through in thousands.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import triton

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backtest.conformance.profiling import copy_bandwidth
from backtest.market.events import EventBatch
from backtest.strategies.base import Session
from backtest.strategies.ensemble import EnsembleConfig
from backtest.strategies.ensemble_init import init_weights
from backtest.strategies.fused.deferred_states import DeferredStates
from backtest.strategies.fused.histories import ROWS, SequenceSteps
from backtest.strategies.fused.layers import Step
from backtest.strategies.fused.strategy import Fused
from backtest.strategies.fused.tiles import Tiles
from backtest.strategies.fused.towers import FusedEnsemble
from backtest.strategies.fused.weights import prepare
from backtest.strategies.graphs import Branches, Fields, GraphReplay
from backtest.strategies.kernels.product import Precision, Tile
from backtest.strategies.kernels.runs import Runs
from backtest.strategies.tensor_files import write_safetensors
from backtest.strategies.towers import TOWERS

DEVICE = torch.device("cuda:0")
SIZES = (1, 8, 20, 39, 128)
STATE_BYTES = 153_490_224
START = time.perf_counter()


def log(*parts: Any) -> None:
    print(f"[{time.perf_counter() - START:6.1f}]", *parts, flush=True)  # noqa: T201 - a script


def state_tensors(config: EnsembleConfig, slots: int, **options: Any) -> dict[str, torch.Tensor]:
    return {
        f"tower_{t}/block_{b}/{name}": leaf
        for t, tower in enumerate(TOWERS)
        for b in range(config.depth)
        for name, leaf in tower.init_state(config, slots, **options).items()
    }


def step_fields(rows: int, features: int) -> tuple[Fields, Fields]:
    ints = dict.fromkeys(("slot", "turn", "count"), ((rows,), torch.int32))
    inputs = Fields({**ints, "features": ((rows, features), torch.float32)}, DEVICE, "kernel")
    inputs.host["slot"][:] = -1
    return inputs, Fields({"out": ((rows, 4), torch.float32)}, DEVICE, "mapped")


def make_replay(model: FusedEnsemble, streams: Branches, rows: int, turns: int = 1) -> GraphReplay:
    inputs, outputs = step_fields(rows, model.weights.config.features)
    d = inputs.device
    runs = Runs(d["slot"], d["turn"], d["count"])
    step = Step(d["features"], runs, turns, outputs.device["out"])
    return GraphReplay(streams, inputs, model.towers(step), outputs)


def fill(replay: GraphReplay, slots: list[int], rng: np.random.Generator) -> None:
    """Rows of these slots (neighbours where equal), the rest padding; fresh features."""
    host = replay.inputs.host
    host["features"][:] = rng.standard_normal(host["features"].shape)
    host["slot"][:] = -1
    host["turn"][:] = 0
    host["count"][:] = 0
    for row, slot in enumerate(slots):
        host["slot"][row] = slot
        if row and slots[row - 1] == slot:
            host["turn"][row] = host["turn"][row - 1] + 1
        host["count"][row - host["turn"][row]] += 1


def check(precision: Precision) -> dict[str, Any]:  # noqa: PLR0915 - a script, top to bottom
    """Outputs and states against the plain float64 step, duplicates and padding included."""
    config = EnsembleConfig()
    rng = np.random.default_rng(7)
    plain = init_weights(config, 0, device="cuda")
    weights = prepare(plain, precision)
    reference = plain.to(dtype=torch.float64)
    torch.backends.cuda.matmul.allow_tf32 = False
    symbols = 64
    state = state_tensors(config, symbols, dtype=torch.float32, device=DEVICE)
    deferred = DeferredStates(state, config.depth)
    model = FusedEnsemble(weights, precision, state, 128, deferred=deferred)
    streams = Branches(DEVICE, 4)
    truth, single = reference.init_state(symbols), plain.init_state(symbols)
    plans = [
        list(range(20)),
        [0, 0, 0, 1, 2, 2, 5, 6, 7, 8, 9, 10, 11, 12, 13],
        [23],
        [3] * 4 + [4] * 3 + list(range(10, 20)) + [22] * 4,
        list(range(24)),
        [1, 2, 2, 3, 3, 3, 3, 21],
        list(range(39)),  # from here on the tiles of 64 and 128 rows
        sorted([*range(64)] * 2),
        list(range(64)),
        sorted([*range(32)] * 3),
    ] + [list(range(24))] * 6
    errors, plain_errors, spread = [], [], []
    for plan in plans:
        turns = max(plan.count(s) for s in plan)
        rows = min(128, -(-(len(plan) + 1) // 8) * 8)  # with padding where there is room
        replay = make_replay(model, streams, rows, turns)
        fill(replay, plan, rng)
        replay.outputs.host["out"][:] = np.nan
        replay.run()
        x = replay.inputs.device["features"]
        turn = replay.inputs.host["turn"][: len(plan)]
        for ensemble, kept, found in ((reference, truth, errors), (plain, single, plain_errors)):
            y = torch.zeros(len(plan), 4, dtype=torch.float64, device=DEVICE)
            for t in range(turns):
                for at in torch.tensor(np.flatnonzero(turn == t), device=DEVICE).split(32):
                    own = torch.tensor(plan, device=DEVICE)[at]
                    part = {
                        a: {
                            b: {n: v[own] for n, v in leaves.items()}
                            for b, leaves in blocks.items()
                        }
                        for a, blocks in kept.items()
                    }
                    out, new = ensemble(x[at].to(ensemble.dtype), part)
                    y[at] = out.double()
                    for a, blocks in new.items():
                        for b, leaves in blocks.items():
                            for n, v in leaves.items():
                                kept[a][b][n][own] = v
            if ensemble is reference:
                exact = y.cpu()
                spread.append(exact)
                found.append(torch.tensor(replay.outputs.host["out"][: len(plan)]).double() - exact)
            else:
                found.append(y.cpu() - exact)
    deviation = torch.cat(spread).std(0)
    e, p = torch.cat(errors) / deviation, torch.cat(plain_errors) / deviation
    deferred.settle(range(symbols))
    leaves: dict[str, float] = {}
    plain_leaves: dict[str, float] = {}
    for name, value in state.items():
        tower, block, leaf = name.split("/")
        want = truth[tower][block][leaf].double()
        fine = torch.isfinite(want)
        assert bool((torch.isfinite(value) == fine).all()), name
        scale = want[fine].norm() + 1e-30
        key = f"{tower}/{leaf}"
        error = float(((value.double() - want)[fine]).norm() / scale)
        other = float(((single[tower][block][leaf].double() - want)[fine]).norm() / scale)
        leaves[key] = max(leaves.get(key, 0), error)
        plain_leaves[key] = max(plain_leaves.get(key, 0), other)
    result = {
        "outputs_rms": e.square().mean(0).sqrt().tolist(),
        "outputs_max": e.abs().amax(0).tolist(),
        "plain_float32_rms": p.square().mean(0).sqrt().tolist(),
        "plain_float32_max": p.abs().amax(0).tolist(),
        "states": leaves,
        "plain_float32_states": plain_leaves,
    }
    log(precision, json.dumps({k: v for k, v in result.items() if "states" not in k}))
    result["by_batch_max"] = [
        [len(plan), *(error.abs().amax(0) / deviation).tolist()]
        for plan, error in zip(plans, errors, strict=True)
    ]
    log("by batch", [[n, *(f"{v:.1e}" for v in row)] for n, *row in result["by_batch_max"]])
    log("worst states", sorted(leaves.items(), key=lambda item: -item[1])[:5])
    return result


class Bench:
    """A full-size model with one state pool, for timing."""

    def __init__(self, precision: Precision, slots: int = 128) -> None:
        self.precision = precision
        self.bandwidth = copy_bandwidth(str(DEVICE)) or 1.0
        torch.cuda.empty_cache()
        config = EnsembleConfig()
        self.weights = prepare(init_weights(config, 0, device="cuda"), precision)
        torch.cuda.empty_cache()
        self.state = state_tensors(config, slots, dtype=torch.float32, device=DEVICE)
        self.deferred: DeferredStates | None = DeferredStates(self.state, config.depth)
        self.streams = Branches(DEVICE, 4)
        self.rng = np.random.default_rng(0)

    def model(self, tiles: Tiles, rows: int = 128) -> FusedEnsemble:
        return FusedEnsemble(self.weights, self.precision, self.state, rows, tiles, self.deferred)

    def milliseconds(
        self, model: FusedEnsemble, rows: int, slots: list[int], repeats: int = 40
    ) -> list[float]:
        turns = max(slots.count(s) for s in slots)
        replay = make_replay(model, self.streams, rows, turns)
        if not replay.captured and DEVICE.type == "cuda":
            raise RuntimeError("not captured")
        fill(replay, slots, self.rng)
        times = []
        for _ in range(repeats + 5):
            start = time.perf_counter()
            replay.run()
            times.append(1e3 * (time.perf_counter() - start))
        assert np.isfinite(replay.outputs.host["out"][: len(slots)]).all()
        return sorted(times[5:])

    def floor(self, symbols: int) -> float:
        return 1e3 * (self.weights.bytes + 2 * STATE_BYTES * symbols) / self.bandwidth


class Fixed(Tiles):
    """Tiles with some choices replaced."""

    def __init__(self, precision: Precision, **choices: Any) -> None:
        super().__init__(precision)
        self._choices = choices
        for name in ("mlstm", "retnet", "mamba2", "chunks"):
            if name in choices:
                setattr(self, name, choices[name])

    def up(self, tower: int, rows: int, weight: torch.Tensor) -> Tile:
        return self._choices.get("up") or super().up(tower, rows, weight)

    def down(self, tower: int, rows: int, weight: torch.Tensor) -> Tile:
        return self._choices.get("down") or super().down(tower, rows, weight)

    def scan(self, weight: torch.Tensor) -> Tile:
        return self._choices.get("scan") or super().scan(weight)

    def sequence(self, tower: int) -> tuple[int, int]:
        return self._choices.get(f"sequence_{tower}") or super().sequence(tower)

    def cell(self, rows: int, weight: torch.Tensor) -> Tile:
        return self._choices.get("cell") or super().cell(rows, weight)


def candidates(precision: Precision, rows: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Variations of one choice at a time."""
    bm = min(128, max(16, 1 << (rows - 1).bit_length()))
    yield "default", {}
    if precision == "fp16":
        ups = [(64, 64, 4, 6), (128, 64, 8, 4), (32, 128, 4, 4)]
        downs = [(64, 64, 4, 6, 4), (64, 128, 4, 3, 8), (32, 128, 4, 4, 2), (128, 64, 8, 4, 8)]
        cells = [(bm, 16, 128, 4, 3), (bm, 32, 64, 4, 3), (bm, 16, 64, 2, 4)]
    else:
        ups = [(64, 64, 4, 3), (64, 64, 4, 2), (32, 32, 4, 4), (64, 32, 4, 5), (128, 32, 8, 4)]
        downs = [(64, 64, 4, 3, 4), (64, 64, 4, 2, 4), (64, 32, 4, 5, 8), (32, 32, 4, 4, 2)]
        cells = [(bm, 16, 64, 4, 2), (bm, 16, 32, 2, 3), (bm, 16, 32, 8, 3), (16, 16, 32, 2, 3)]
    for n, k, warps, stages in ups:
        yield f"up {n} {k} w{warps} s{stages}", {"up": Tile(bm, n, k, 1, warps, stages)}
    for n, k, warps, stages, split in downs:
        tile = Tile(bm, n, k, split, warps, stages)
        yield f"down {n} {k} w{warps} s{stages} /{split}", {"down": tile}
    for m, n, k, warps, stages in cells:
        tile = Tile(min(m, 64), n, k, 1, warps, stages)
        yield f"cell {tile.rows} {n} {k} w{warps} s{stages}", {"cell": tile}
    if precision == "fp16":
        for columns, warps in ((16, 4), (64, 8)):
            yield f"mlstm {columns} w{warps}", {"mlstm": (columns, warps)}
        for columns, warps in ((16, 4), (64, 8)):
            yield f"retnet {columns} w{warps}", {"retnet": (columns, warps)}
        yield "mamba2 w8", {"mamba2": 8}


def tune(precision: Precision, sizes: list[int], seconds: float) -> dict[str, Any]:
    """Whole steps with one choice changed at a time."""
    bench = Bench(precision)
    found: dict[str, Any] = {}
    began = time.perf_counter()
    for place, rows in enumerate(sizes):
        row: dict[str, Any] = {"floor": bench.floor(rows)}
        found[str(rows)] = row
        limit = began + seconds * (place + 1) / len(sizes)
        for name, choices in candidates(precision, rows):
            if time.perf_counter() > limit:
                break
            try:
                model = bench.model(Fixed(precision, **choices), rows)
                row[name] = median(bench.milliseconds(model, rows, list(range(rows))))
            except Exception as error:  # a candidate may not fit the device
                row[name] = str(error).partition("\n")[0][:120]
            del model
        log(
            precision, rows, {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}
        )
    return found


def kernels(precision: Precision, rows: int, symbols: int) -> dict[str, Any]:
    """Time of each kernel, run alone in order, with this many events of so many symbols."""
    without_overlap()
    bench = Bench(precision, slots=max(rows, 2))
    model = bench.model(Tiles(precision), rows)
    slots = [row * symbols // rows for row in range(rows)]
    replay = make_replay(model, bench.streams, rows, max(map(slots.count, slots)))
    fill(replay, slots, bench.rng)
    replay.run()
    return {
        f"tower_{index}": profiled(branch, precision, rows, index)
        for index, branch in enumerate(replay._branches)
    }


def profiled(branch: Callable[[], None], *what: Any) -> dict[str, list[float]]:
    """Launches, median and sum of microseconds by kernel."""
    branch()
    torch.cuda.synchronize()
    with (
        warnings.catch_warnings(),
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile,
    ):
        branch()
        torch.cuda.synchronize()
    names: dict[str, list[float]] = {}
    for event in profile.events():
        names.setdefault(event.name, []).append(event.device_time)
    found = {name: [len(times), median(times), sum(times)] for name, times in names.items()}
    log(*what, {n: (v[0], round(v[1], 1), round(v[2])) for n, v in found.items() if v[2] > 1})
    return found


def history(precision: Precision) -> dict[str, Any]:
    """Events a second of 39 symbols' histories, alone and by kernel, with some tiles exchanged."""
    symbols = 39
    bench = Bench(precision, slots=symbols)
    assert bench.deferred is not None
    steps = SequenceSteps(bench.weights, precision, bench.state, bench.deferred, bench.streams)
    n = ROWS // symbols * symbols
    symbol = bench.rng.permutation(np.arange(n, dtype=np.int32) % symbols)
    features = bench.rng.standard_normal((n, 79), dtype=np.float32)
    out = np.empty((n, 4), dtype=np.float32)
    ensemble, found = steps._ensemble, {}
    tiles = {"default": Tiles(precision)}
    k = 64 if precision == "fp16" else 32
    for name, tile in {
        "256x128": Tile(128, 256, k, 1, 8, 3),
        "64x128": Tile(64, 128, k, 1, 4, 4),
    }.items():
        tiles[name] = Fixed(precision, up=tile, down=tile)
    tiles["scan w8 s2"] = Fixed(precision, scan=Tile(64, 16, 64, 1, 8, 2))
    if precision == "fp16":
        for warps in ((4, 4, 8), (8, 8, 8), (8, 4, 4)):
            tiles[f"chunks w{warps}"] = Fixed(precision, chunks=warps)
    else:
        others = ((16, 8), (32, 16)), ((32, 4), (64, 8)), ((16, 4), (32, 8))
        for tower, choices in enumerate(others):
            for size in choices:
                tiles[f"sequence {tower} {size}"] = Fixed(precision, **{f"sequence_{tower}": size})
    for name, choice in tiles.items():
        ensemble.layers.tiles = choice
        times = []
        try:
            for _ in range(3):
                began = time.perf_counter()
                steps.answer(features, symbol, symbol.astype(np.int64), out)
                times.append(time.perf_counter() - began)
            assert np.isfinite(out).all()
        except Exception as error:  # a candidate may not fit the device
            found[name] = str(error).partition("\n")[0][:120]
            log(precision, name, found[name])
            continue
        found[name] = {"events_per_s": n / min(times[1:]), "ms": [1e3 * t for t in times]}
        log(precision, name, f"{n / min(times[1:]):.0f} events/s", [round(1e3 * t) for t in times])
    ensemble.layers.tiles = Tiles(precision)
    captured: list[Any] = []
    launch = steps._streams.launch

    def keep(inputs: Fields, branches: Any, outputs: Fields) -> None:
        captured[:] = branches
        launch(inputs, branches, outputs)

    steps._streams.launch = keep  # type: ignore[method-assign]
    steps.answer(features, symbol, symbol.astype(np.int64), out)
    for index, branch in enumerate(captured):
        found[f"tower_{index}"] = profiled(branch, precision, n, index)
    return found


def without_overlap() -> None:
    """Launch kernels one after the other, as a comparison."""
    for name, module in list(sys.modules.items()):
        if name.startswith("backtest.strategies.kernels.") and hasattr(module, "follow"):
            module.overlap = lambda x, starts=False: {"PDL": False}  # type: ignore[attr-defined]


def timings(precision: Precision, variants: list[str]) -> dict[str, Any]:
    """Median and tail at the figures' sizes, and duplicates."""
    bench = Bench(precision)
    found = {}
    for variant in ["default", *variants]:
        if variant == "no-overlap":
            without_overlap()
        if variant == "write-back":
            bench.deferred = None
        model = bench.model(Tiles(precision))
        rows_of = {str(n): list(range(n)) for n in SIZES} | {
            "20 of 10": [i // 2 for i in range(20)],
            "20 of 5": [i // 4 for i in range(20)],
        }
        for name, slots in rows_of.items():
            try:
                times = bench.milliseconds(model, len(slots), slots, 100)
            except RuntimeError as error:
                log(variant, name, str(error)[:200])
                continue
            found[f"{variant} {name}"] = {
                "floor": bench.floor(len(set(slots))),
                "median": median(times),
                "mean": sum(times) / len(times),
                "p99": times[-2],
            }
        log(precision, {k: round(v["median"], 3) for k, v in found.items() if variant in k})
    return found


def batches(strategy: Fused, symbols: list[int], repeats: int) -> list[float]:
    """Sorted milliseconds of ``predict``: host work and both copies included."""
    rng = np.random.default_rng(1)
    n = len(symbols)
    batch = EventBatch(
        symbol=np.array(symbols, dtype=np.int32),
        ts_event=np.arange(n),
        features=rng.standard_normal((n, 79)).astype(np.float32),
    )
    times = []
    for _ in range(repeats + 5):
        start = time.perf_counter()
        answers = strategy.predict(batch)
        times.append(1e3 * (time.perf_counter() - start))
        assert np.isfinite(answers).all()
    return sorted(times[5:])


def strategies(precisions: list[str], save: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The strategy itself, from a checkpoint on disk: cold start, and every size."""
    path = Path(tempfile.mkdtemp()) / "full.safetensors"
    write_safetensors(path, init_weights(EnsembleConfig(), 0, device="cuda").state_dict())
    torch.cuda.empty_cache()
    bandwidth = copy_bandwidth(str(DEVICE)) or 1.0
    torch.cuda.empty_cache()
    log("written")
    found: dict[str, Any] = {}
    for name in precisions:
        precision, _, only = name.partition("-")
        strategy = Fused(path, precision)  # type: ignore[arg-type]
        session = Session(tuple(map(str, range(128))), tuple(map(str, range(79))), str(DEVICE))
        start = time.perf_counter()
        strategy.bind(session)
        row: dict[str, Any] = {"cold_start_s": time.perf_counter() - start}
        found[name] = row
        row["memory_gb"] = torch.cuda.memory_allocated() / 1e9
        row["captured"] = all(replay.captured for replay in strategy._replays.values())
        row["graphs"] = len(strategy._replays)
        if not only:
            plans = {str(n): list(range(n)) for n in SIZES}
            plans |= {"20 of 10": [i // 2 for i in range(20)], "256": list(range(128)) * 2}
            for key, symbols in plans.items():
                times = batches(strategy, symbols, 100)
                floor = strategy._ensemble.weights.bytes + 2 * STATE_BYTES * len(set(symbols))
                row[key] = {
                    "floor": 1e3 * floor / bandwidth,
                    "median": median(times),
                    "p99": times[-2],
                }
        flat = {k: round(v["median"], 3) if isinstance(v, dict) else v for k, v in row.items()}
        log(name, flat)
        save(found)
        del strategy
        gc.collect()
        torch.cuda.empty_cache()
    return found


def main() -> None:
    command, precision, out = sys.argv[1:4]

    def save(result: dict[str, Any]) -> None:
        about = {
            "device": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "triton": triton.__version__,
            "command": " ".join(["python", *sys.argv[:3], Path(out).name, *sys.argv[4:]]),
        }
        Path(out).write_text(json.dumps(about | {"result": result}, indent=1))

    jobs: dict[str, Callable[[], dict[str, Any]]] = {
        "check": lambda: check(precision),  # type: ignore[arg-type]
        "history": lambda: history(precision),  # type: ignore[arg-type]
        "tune": lambda: tune(precision, [*map(int, sys.argv[5:])], float(sys.argv[4])),  # type: ignore[arg-type]
        "kernels": lambda: kernels(precision, int(sys.argv[4]), int(sys.argv[-1])),  # type: ignore[arg-type]
        "strategies": lambda: strategies(precision.split("+"), save),
        "time": lambda: timings(precision, sys.argv[4:]),  # type: ignore[arg-type]
    }
    with torch.inference_mode():
        save(jobs[command]())


if __name__ == "__main__":
    main()
