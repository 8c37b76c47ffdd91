"""``ray``: one Ray task per run, on one machine or many."""

from __future__ import annotations

import logging
import math
import os
from dataclasses import dataclass
from typing import Any

from backtest.errors import RunError, UsageError
from backtest.experiments.executors import Executor, Job, Outcome, Setup
from backtest.experiments.workers import Worker, thread_limits
from backtest.plugins.manager import load_plugins

_POLL_S = 10.0


@dataclass
class Ray(Executor):
    """One Ray task per run, on all machines of a cluster that share the folders.

    Tasks are given ids and paths alone, so the working folder, the datasets and the folder of runs
    must lie under the same paths everywhere, and the same version must be installed. Ray listens on
    the network and runs what it is sent, so it is used only with RAY_AUTH_MODE=token.

    Args:
        address: the cluster: ``auto`` for the one that runs here or that RAY_ADDRESS names,
            ``local`` to start one on this machine for the sweep, or HOST:PORT.
        cpus: CPUs, and threads, of a run.
        gpus: GPUs of a run; needed where runs want a GPU.
        retries: how many more workers a run that killed one is given.
    """

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
        self._pending: dict[Any, int] = {}
        try:
            self._check_cluster()
        except BaseException:
            self.close()
            raise
        self.slots = self._capacity()
        self._task = ray.remote(_perform).options(
            num_cpus=self.cpus, num_gpus=self.gpus, max_retries=self.retries
        )

    def submit(self, job: Job) -> None:
        task = self._task.remote(self._setup, job.to_json(), self.cpus, bool(self.gpus))
        self._pending[task] = job.number

    def wait(self) -> list[Outcome]:
        while True:
            done, _ = self._ray.wait(list(self._pending), timeout=_POLL_S)
            if done:
                return [self._outcome(task) for task in done]
            # Ray waits without end for nodes that have left, so their loss is checked for.
            if not self._capacity():
                raise RunError("the cluster has lost the nodes that runs need", place="Ray")

    def close(self) -> None:
        for task in self._pending:
            self._ray.cancel(task, force=True)
        self._ray.shutdown()

    def _outcome(self, task: Any) -> Outcome:
        number = self._pending.pop(task)
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


def _perform(setup: str, job: str, threads: int, accelerated: bool) -> str:
    """One job in a Ray worker."""
    os.environ.update(thread_limits(threads))
    if not accelerated:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # which Ray leaves as it is where no GPU is asked
    shared = Setup.from_json(setup)
    os.chdir(shared.folder)
    return Worker(shared, load_plugins).perform(Job.from_json(job)).to_json()
