"""``ray``: one Ray task per run, on one machine or many."""

from __future__ import annotations

import logging
import math
import os
from dataclasses import dataclass
from time import monotonic
from typing import Any, ClassVar

from backtest.errors import RunError, UsageError
from backtest.experiments.executors import Executor, Job, Outcome, Setup, overdue
from backtest.experiments.workers import Worker, thread_limits
from backtest.plugins.manager import load_plugins

_POLL_S = 10.0


@dataclass
class Ray(Executor):
    """One Ray task per run, on all machines of a cluster that share the folders.

    Tasks are given ids and paths alone, so the working folder, the datasets and the folder of runs
    must lie under the same paths everywhere, and the same version must be installed. Ray listens on
    the network and runs what it is sent, so it is used only with RAY_AUTH_MODE=token. Where time is
    limited, it counts from when a task begins, not from when it is queued.

    Args:
        address: the cluster: ``auto`` for the one that runs here or that RAY_ADDRESS names,
            ``local`` to start one on this machine for the sweep, or HOST:PORT.
        cpus: CPUs, and threads, of a run.
        gpus: GPUs of a run; needed where runs want a GPU.
        retries: how many more workers a run that killed one is given.
    """

    limits_time: ClassVar[bool] = True
    address: str = "auto"
    cpus: int = 1
    gpus: float = 0.0
    retries: int = 2

    def __post_init__(self) -> None:
        for name, least in (("cpus", 1), ("gpus", 0), ("retries", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least {least}")

    def open(self, setup: Setup) -> None:
        if _auth_mode() != "token":
            raise _unguarded("this process")
        if setup.accelerated and not self.gpus:
            raise UsageError(
                "the runs need a GPU, but Ray is asked for none",
                place="executor 'ray'",
                remedy="State how many each run needs: --executor ray:gpus=1",
            )
        import ray
        import ray.util.scheduling_strategies

        try:
            ray.init(
                address=self.address,
                include_dashboard=False if self.address == "local" else None,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise UsageError(
                f"no Ray cluster can be used: {error}",
                place=f"executor 'ray', address {self.address!r}",
                remedy="Start one with `ray start --head`, or use ray:local on this machine alone.",
            ) from None
        self._ray: Any = ray  # which is typed in parts only
        self._setup = setup.to_json()
        self._timeout_ns = setup.timeout_ns
        self._pending: dict[Any, _Submitted] = {}
        self._count = 0
        try:
            self._check_cluster()
            self._clock: Any = None
            if self._timeout_ns is not None:
                self._clock = ray.remote(_Clock).options(num_cpus=0).remote()
        except BaseException:
            self.close()
            raise
        self.slots = self._capacity()
        self._task = ray.remote(_perform).options(
            num_cpus=self.cpus, num_gpus=self.gpus, max_retries=self.retries
        )

    def submit(self, job: Job) -> None:
        self._count += 1
        submitted = _Submitted(job.number, self._count)
        shape = self.cpus, bool(self.gpus)
        task = self._task.remote(self._setup, job.to_json(), *shape, self._clock, submitted.turn)
        self._pending[task] = submitted

    def wait(self) -> list[Outcome]:
        poll = _POLL_S if self._timeout_ns is None else min(_POLL_S, self._timeout_ns / 1e10)
        while True:
            done, _ = self._ray.wait(list(self._pending), timeout=poll)
            outcomes = [self._outcome(task) for task in done] + self._end_overdue()
            if outcomes:
                return outcomes
            # Ray waits without end for nodes that have left, so their loss is checked for.
            if not self._capacity():
                raise RunError("the cluster has lost the nodes that runs need", place="Ray")

    def close(self) -> None:
        for task in self._pending:
            self._ray.cancel(task, force=True)
        self._ray.shutdown()

    def _end_overdue(self) -> list[Outcome]:
        """Kill the workers whose task has taken longer than it may; Ray does not try it again."""
        limit = self._timeout_ns
        if limit is None or not self._pending:
            return []
        elapsed = self._ray.get(self._clock.elapsed.remote())
        outcomes = []
        for task, submitted in list(self._pending.items()):
            if elapsed.get(submitted.turn, 0.0) >= limit / 1e9:
                self._ray.cancel(task, force=True)
                del self._pending[task]
                outcomes.append(Outcome(submitted.number, None, overdue(limit)))
        return outcomes

    def _outcome(self, task: Any) -> Outcome:
        number = self._pending.pop(task).number
        try:
            return Outcome.from_json(self._ray.get(task))
        except self._ray.exceptions.RayTaskError as error:
            return Outcome(number, None, f"the worker could not begin: {error.cause}")
        except self._ray.exceptions.RayError as error:
            why = " ".join(str(error).split())[:300]
            text = f"set aside: it killed {self.retries + 1} workers; {type(error).__name__}: {why}"
            return Outcome(number, None, text)

    def _check_cluster(self) -> None:
        if not self._capacity():
            raise UsageError(
                f"no node of the cluster has {self.cpus} CPUs and {self.gpus:g} GPUs",
                place="executor 'ray'",
                remedy="Ask for less, as in ray:cpus=1,gpus=0, or add a node to the cluster.",
            )
        nodes = [node["NodeID"] for node in self._ray.nodes() if node["Alive"]]
        pinned = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        # A client with a token is welcome where none is asked for, too.
        ask = self._ray.remote(_auth_mode)
        modes = self._ray.get(
            [
                ask.options(num_cpus=0, scheduling_strategy=pinned(node, soft=False)).remote()
                for node in nodes
            ]
        )
        for node, mode in zip(nodes, modes, strict=True):
            if mode != "token":
                raise _unguarded(f"node {node}")

    def _capacity(self) -> int:
        """Number of runs that the live nodes can execute at once."""
        runs = 0.0
        for node in self._ray.nodes():
            if node["Alive"]:
                fits = node["Resources"].get("CPU", 0) // self.cpus
                if self.gpus:
                    fits = min(fits, node["Resources"].get("GPU", 0) // self.gpus)
                runs += fits
        return math.floor(runs)


@dataclass(frozen=True, slots=True)
class _Submitted:
    """The number of a job, and which submission it is; numbers come again."""

    number: int
    turn: int


class _Clock:
    """Knows when tasks have begun; an actor of its own, for a task may do nothing but hang."""

    def __init__(self) -> None:
        self._begun: dict[int, float] = {}

    def begin(self, turn: int) -> None:
        """Note that a task begins, or is begun again."""
        self._begun[turn] = monotonic()

    def elapsed(self) -> dict[int, float]:
        """Seconds since each task began."""
        now = monotonic()
        return {turn: now - begun for turn, begun in self._begun.items()}


def _auth_mode() -> str | None:
    """How this process's Ray authenticates its peers."""
    return os.environ.get("RAY_AUTH_MODE")


def _unguarded(where: str) -> UsageError:
    return UsageError(
        "Ray executes whatever reaches its ports, and no token protects them",
        place=f"executor 'ray', {where}",
        remedy="Set RAY_AUTH_MODE=token here and on every node, with the token in RAY_AUTH_TOKEN "
        "or ~/.ray/auth_token; `ray get-auth-token --generate` makes one.",
    )


def _perform(setup: str, job: str, threads: int, accelerated: bool, clock: Any, turn: int) -> str:
    """One job in a Ray worker."""
    if clock is not None:
        clock.begin.remote(turn)
    os.environ.update(thread_limits(threads))
    if not accelerated:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # which Ray leaves as it is where no GPU is asked
    shared = Setup.from_json(setup)
    os.chdir(shared.folder)
    return Worker(shared, load_plugins).perform(Job.from_json(job)).to_json()
