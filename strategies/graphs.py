"""One batch as one CUDA graph: a copy in, branches side by side, a copy out.

Launching the hundreds of kernels of a step one by one costs the host more than the device needs to
run them. Captured once into a graph they are replayed with one call. Everything that changes
between batches is written to a fixed place: one pinned block of host memory for all inputs (so one
copy), one for all outputs.

Between kernels of a graph, a copy by the device's copy engine takes about 10 µs in and 5 µs out,
whatever its size. Where a step is that short, kernels read and write the host's memory themselves.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_log = logging.getLogger(__name__)
_ALIGNMENT = 256

Branch = Callable[[], None]
"""Launches work on the current stream, reading and writing fixed tensors; allocates nothing."""


Way: TypeAlias = Literal["copy", "kernel", "mapped"]
"""How fields cross: by the device's copy engine; by a kernel; or not at all, because kernels read
and write the host's block through the bus. Only Triton's kernels can do the last."""


class Fields:
    """Named arrays in one block of memory, on the host and again on the device.

    Args:
        shapes: ``{name: (shape, dtype)}``.
        device: where the twin is; on the CPU both are one.
        way: how they cross.

    Attributes:
        host: numpy views of the host's block by name, pinned for CUDA.
        device: tensors that view the device's block by name; of mapped fields, the host's.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
        device: torch.device,
        way: Way = "copy",
    ) -> None:
        ends = 0
        places = {}
        for name, (shape, dtype) in shapes.items():
            size = int(np.prod(shape)) * dtype.itemsize
            places[name] = (ends, size, shape, dtype)
            ends += -(-size // _ALIGNMENT) * _ALIGNMENT
        cuda = device.type == "cuda"
        twin = cuda and way != "mapped"
        self._way = way
        self._host = torch.zeros(ends, dtype=torch.uint8, pin_memory=cuda)
        self._device = torch.zeros(ends, dtype=torch.uint8, device=device) if twin else self._host

        def view(block: Tensor, name: str) -> Tensor:
            start, size, shape, dtype = places[name]
            return block[start : start + size].view(dtype).view(shape)

        self.host: dict[str, NDArray[Any]] = {n: view(self._host, n).numpy() for n in places}
        self.device: dict[str, Tensor] = {n: view(self._device, n) for n in places}

    def upload(self) -> None:
        """Copy host to device on the current stream, without waiting."""
        self._cross(self._host, self._device)

    def download(self) -> None:
        """Copy device to host on the current stream, without waiting."""
        self._cross(self._device, self._host)

    def _cross(self, source: Tensor, target: Tensor) -> None:
        if source is target:
            return
        if self._way == "kernel":
            from backtest.strategies.kernels.rows import copy_block

            copy_block(source, target)
        else:
            target.copy_(source, non_blocking=True)


class Branches:
    """Streams on which a step's branches run side by side, and the memory that graphs share.

    Args:
        device: a CUDA device, or the CPU, where branches run one after another.
        count: branches.
    """

    def __init__(self, device: torch.device, count: int) -> None:
        self.device = device
        self.captures = device.type == "cuda"
        if self.captures:
            self.origin = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self.streams: list[torch.cuda.Stream] = [
                torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
                for _ in range(count)
            ]
            self.pool = torch.cuda.graph_pool_handle()
            self._anchor = self._anchored()

    def _anchored(self) -> torch.cuda.CUDAGraph:
        """A graph that lives as long as this: torch drops a pool with the last graph in it."""
        graph, word = torch.cuda.CUDAGraph(), torch.zeros(1, device=self.device)
        with self.capturing(graph):
            word.zero_()
        return graph

    @contextmanager
    def capturing(self, graph: torch.cuda.CUDAGraph) -> Iterator[None]:
        """What is launched inside goes into the graph.

        No garbage is collected meanwhile: freeing a dead graph's memory is not allowed then.
        """
        collecting = gc.isenabled()
        gc.disable()
        try:
            with torch.cuda.stream(self.origin):
                graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")
                try:
                    yield
                finally:
                    graph.capture_end()
        finally:
            if collecting:
                gc.enable()

    def wait(self) -> None:
        """Until what was launched is done."""
        if self.captures:
            torch.cuda.current_stream(self.device).synchronize()

    def launch(self, inputs: Fields, branches: Sequence[Branch], outputs: Fields) -> None:
        """Copy in, run all branches, copy out, on the current stream; does not wait."""
        inputs.upload()
        if self.captures:
            current = torch.cuda.current_stream(self.device)
            start = current.record_event()
            # All fork from one point and join at one: a join between them would serialise them.
            for branch, stream in zip(branches, self.streams, strict=True):
                stream.wait_event(start)
                with torch.cuda.stream(stream):
                    branch()
            for stream in self.streams:
                current.wait_stream(stream)
        else:
            for branch in branches:
                branch()
        outputs.download()


class GraphReplay:
    """A step that is replayed: fill ``inputs.host``, call ``run``, read ``outputs.host``.

    The branches are run once before capture (kernels compile then), on whatever ``inputs.host``
    holds: it must be a batch of padding that changes no state. Where capture is impossible, the
    same work is launched piece by piece instead, and a warning says why.

    Args:
        streams: where the branches run.
        inputs: what changes between batches.
        branches: the step's parts, independent of each other.
        outputs: what comes back.
    """

    def __init__(
        self, streams: Branches, inputs: Fields, branches: Sequence[Branch], outputs: Fields
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self._streams = streams
        self._graph = self._capture(branches) if streams.captures else None
        # A graph needs them no more; what they refer to may refer to this.
        self._branches = branches if self._graph is None else ()

    @property
    def captured(self) -> bool:
        """Whether a graph is replayed, not its parts launched one by one."""
        return self._graph is not None

    def run(self) -> None:
        """One batch: returns when the outputs are on the host."""
        if self._graph is None:
            self._streams.launch(self.inputs, self._branches, self.outputs)
        else:
            self._graph.replay()
        self._streams.wait()

    def _capture(self, branches: Sequence[Branch]) -> torch.cuda.CUDAGraph | None:
        streams = self._streams
        streams.launch(self.inputs, branches, self.outputs)
        torch.cuda.synchronize(streams.device)
        graph = torch.cuda.CUDAGraph()
        try:
            with streams.capturing(graph):
                streams.launch(self.inputs, branches, self.outputs)
        except RuntimeError as error:
            problem = str(error).partition("\n")[0]
            _log.warning("no CUDA graph, so every kernel is launched by itself: %s", problem)
            return None
        return graph
