"""A model's step over a pool's slots as CUDA graphs, one for each bucket of batch sizes.

A batch is rounded up to the next bucket; the rows added step the pool's spare slot, which keeps the
init state: state that counts events must not grow with padding. What is left for Python at each
batch is to fill two arrays in pinned memory and to replay a graph.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from backtest.core.arrays import Float32Array, Int64Array
from backtest.strategies.device import exact_float32
from backtest.strategies.graphs import Branches, Fields, GraphReplay, Way
from backtest.strategies.state_pool import SymbolStatePool
from backtest.strategies.state_tree import first_difference, named_leaves, rebuild

_log = logging.getLogger(__name__)

_BUCKETS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)

_Bucket: TypeAlias = tuple[Float32Array, Int64Array, Float32Array, Callable[[], None]]
"""Host arrays of features, slots and answers, and what replays the step."""


def bucket_sizes(capacity: int) -> list[int]:
    """The batch sizes that steps are captured for, rising; the last serves all larger batches."""
    last = min(capacity, _BUCKETS[-1])
    return [*(size for size in _BUCKETS if size < last), last]


class CapturedSteps:
    """The model's step, captured. On a CPU nothing is captured; the arrays and buckets are alike.

    Args:
        model: steps a batch; it must allocate the same and launch the same at every call.
        pool: whose slots the steps read and write. All slots hold the init state.
        features: numbers read for each event.
        outputs: predictions for each event.
        kernels: move state, and step recurrent layers, by kernels of this project.

    Raises:
        Uncapturable: a step waits for the device, or cannot be captured for another reason.
        torch.OutOfMemoryError: the buckets' buffers do not fit.
    """

    def __init__(
        self,
        model: nn.Module,
        pool: SymbolStatePool,
        features: int,
        outputs: int,
        *,
        kernels: bool = False,
    ) -> None:
        self._model = model
        self._pool = pool
        self._features = features
        self._outputs = outputs
        self._kernels = kernels
        self._streams = Branches(pool.device, 1)
        self._sizes = bucket_sizes(pool.capacity)
        self._largest = self._sizes[-1]
        with ExitStack() as around:
            around.enter_context(exact_float32())
            around.enter_context(torch.inference_mode())
            if kernels:
                from backtest.strategies.single_event import single_events

                around.enter_context(single_events(model))
            # The largest first: the others then fit into the memory that it took.
            replays = {size: self._capture(size) for size in reversed(self._sizes)}
        buckets = {size: _bucket(replay) for size, replay in replays.items()}
        self._bucket_of = [
            buckets[next(size for size in self._sizes if size >= count)]
            for count in range(self._largest + 1)
        ]

    def run(self, features: Float32Array, slots: Int64Array) -> Float32Array:
        """Answer one event of each of the distinct slots [n] and advance their state.

        Args:
            features: [n, F], in any memory order.
            slots: distinct slots of the pool, [n].

        Returns:
            float32 [n, outputs].
        """
        n = len(slots)
        if n > self._largest:
            size = self._largest
            pieces = [slice(start, start + size) for start in range(0, n, size)]
            return np.concatenate([self.run(features[at], slots[at]) for at in pieces])
        x, slot, y, replay = self._bucket_of[n]
        x[:n] = features
        slot[:n] = slots
        slot[n:] = self._pool.spare
        replay()
        return y[:n].copy()

    def disagreement(self) -> str | None:
        """What differs between replays and the plain step on fresh rows; ``None``: nothing does.

        Two steps of every bucket; whatever the slots held is lost.
        """
        random = np.random.default_rng(0)
        with exact_float32(), torch.inference_mode():
            for size in self._sizes:
                self._pool.clear()
                slots = random.permutation(self._pool.capacity)[:size]
                on_device = torch.from_numpy(slots).to(self._pool.device)
                state = self._pool.gather(on_device)  # the module may change it in place
                for _ in range(2):
                    x = random.standard_normal((size, self._features), dtype=np.float32)
                    y, state = self._model(torch.from_numpy(x).to(self._pool.device), state)
                    found = torch.from_numpy(self.run(x, slots))
                    wanted = {"the answers": y.float().reshape(size, -1).cpu()}
                    wanted |= dict(named_leaves(state))
                    kept = dict(named_leaves(self._pool.gather(on_device)))
                    different = first_difference({"the answers": found, **kept}, wanted)
                    if different:
                        return f"{different} at batches of {size}"
        return None

    def _capture(self, size: int) -> GraphReplay:
        device = self._pool.device
        way: Way = "mapped" if self._kernels else "copy"
        shapes = {
            "features": ((size, self._features), torch.float32),
            "slots": ((size,), torch.int64),
        }
        inputs = Fields(shapes, device, way)
        outputs = Fields({"answers": ((size, self._outputs), torch.float32)}, device, way)
        inputs.host["slots"][:] = self._pool.spare
        inputs.upload()  # also for the step that is tried before it is captured
        parts = self._by_kernels if self._kernels else self._by_torch
        step = partial(parts, inputs.device, outputs.device["answers"])
        _refuse_to_wait(step, device)
        replay = GraphReplay(self._streams, inputs, [step], outputs)
        if self._streams.captures and not replay.captured:
            _mend_generator(device)
            raise Uncapturable("a step cannot be captured")
        return replay

    def _by_torch(self, inputs: Mapping[str, Tensor], answers: Tensor) -> None:
        slots = inputs["slots"]
        y, state = self._model(inputs["features"], self._pool.gather(slots))
        self._pool.scatter(slots, state)
        self._pool.clear_spare()
        answers.copy_(y.reshape(answers.shape))

    def _by_kernels(self, inputs: Mapping[str, Tensor], answers: Tensor) -> None:
        """Features and slots are read with the state, and answers written with it."""
        from backtest.strategies.kernels.rows import gather_rows, scatter_rows

        pool, device = self._pool, self._pool.device
        pools = list(pool.tensors.values())
        crossed = {
            name: torch.empty(field.shape, dtype=field.dtype, device=device)
            for name, field in inputs.items()
        }
        along = [(inputs[name], crossed[name]) for name in inputs]
        picked = gather_rows(pools, inputs["slots"], pool.batch_dim, along)
        y, state = self._model(crossed["features"], rebuild(pool.init, iter(picked)))
        named = dict(named_leaves(state))
        batch = [named[name] for name in pool.tensors]
        out = [(y.reshape(answers.shape).contiguous(), answers)]
        scatter_rows(pools, crossed["slots"], batch, pool.batch_dim, out, pool.spare)


class Uncapturable(Exception):
    """A step that no graph can hold."""


def capture_steps(
    model: nn.Module, pool: SymbolStatePool, features: int, outputs: int
) -> CapturedSteps | None:
    """The model's steps as graphs; ``None``, with a warning, if they cannot be captured.

    Replays are compared with the plain step on fresh rows. The project's kernels are tried first,
    then torch's own. The pool's slots all hold the init state again when this returns.
    """
    for kernels in (True, False):
        try:
            steps = CapturedSteps(model, pool, features, outputs, kernels=kernels)
            different = steps.disagreement()
            if different is None:
                return steps
            del steps  # its memory is needed for the next
        except (Uncapturable, torch.OutOfMemoryError) as error:
            _log.warning("no CUDA graphs: %s", str(error).partition(". ")[0])
            return None
        except Exception as error:
            # Triton may be missing or unable to compile, in ways that differ by version.
            if not kernels:
                raise
            _log.info("stepping by torch's kernels: %s", error)
        finally:
            pool.clear()
    _log.warning(
        "no CUDA graphs: replays of the module's step differ from it in %s, so they are not used",
        different,
    )
    return None


def _bucket(replay: GraphReplay) -> _Bucket:
    inputs = replay.inputs.host
    return inputs["features"], inputs["slots"], replay.outputs.host["answers"], replay.run


def _refuse_to_wait(step: Callable[[], None], device: torch.device) -> None:
    """Run a step, which must not wait for the device: waiting during a capture breaks more than it.

    Raises:
        Uncapturable: it waits.
    """
    if device.type != "cuda":
        return
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the mode a prototype
        torch.cuda.set_sync_debug_mode("error")
        try:
            step()
        except RuntimeError as error:
            if "synchronizing" not in str(error):
                raise
            raise Uncapturable("the module waits for the device amid a step") from None
        finally:
            torch.cuda.set_sync_debug_mode(before)


def _mend_generator(device: torch.device) -> None:
    """Give the device a generator that no broken capture holds; it continues from its seed."""
    index = torch.cuda.current_device() if device.index is None else device.index
    generator = torch.cuda.default_generators[index]
    fresh = torch.Generator(device).manual_seed(generator.initial_seed())
    generator.graphsafe_set_state(fresh.graphsafe_get_state())
