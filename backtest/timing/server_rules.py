"""The rules of one simulated inference server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backtest.timing.latency import LatencyModel
from backtest.timing.policies import BatchingPolicy


@dataclass(frozen=True, slots=True)
class ServerRules:
    """What a simulated server goes by.

    Attributes:
        policy: decides what rides together.
        latency: service time of a batch.
        duplicates: how the strategy serves several events of a symbol in one batch.
        line_limit: events of one symbol that may wait; what is in service does not count.
        max_batch: the most events in a batch; by default the most that ``latency`` knows of.
        max_age: an event that has waited longer when a batch is sent is discarded, ns.
        scale: latency scale; 0 answers every event at its ``ts_event``.
        seed: of the service time draws.
    """

    policy: BatchingPolicy
    latency: LatencyModel
    duplicates: Literal["single", "rounds", "packed"] = "packed"
    line_limit: int = 100
    max_batch: int | None = None
    max_age: int | None = None
    scale: float = 1.0
    seed: int = 0
