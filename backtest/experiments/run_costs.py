"""What runs cost, learnt from the times that finished runs recorded in their manifests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class _Rate:
    seconds: float = 0.0
    events: int = 0

    def add(self, seconds: float, events: int) -> None:
        self.seconds += seconds
        self.events += events

    @property
    def known(self) -> bool:
        return self.events > 0

    def of(self, events: int) -> float:
        return self.seconds / self.events * events if self.events else 0.0


@dataclass(frozen=True, slots=True)
class NeededPredictions:
    """Predictions that runs need: who answers, on which device, and how many events."""

    strategy: str
    device: str
    answered: int


@dataclass
class Costs:
    """Mean seconds an answer, for each strategy and device, and seconds an event of all the rest.

    Attributes:
        runs: how many runs it was learnt from.
    """

    runs: int = 0
    _answers: defaultdict[tuple[str, str], _Rate] = field(
        default_factory=lambda: defaultdict(_Rate)
    )
    _rest: _Rate = field(default_factory=_Rate)

    def observe(self, manifest: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
        """Learn from a finished run; one that recorded no times teaches nothing."""
        if "seconds" not in manifest:
            return
        # Training is not part of what every run takes.
        answering = manifest.get("training", {}).get("seconds", 0.0)
        for note in manifest["predictions"].values():
            if "seconds" in note:
                answering += note["seconds"]
                rate = self._answers[note["strategy"], manifest["config"]["device"]]
                before = note["resumed"]["answered"] if "resumed" in note else 0
                rate.add(note["seconds"], note["answered"] - before)
        self._rest.add(manifest["seconds"] - answering, metrics["timing"]["events"])
        self.runs += 1

    def unknown(self, wanted: Collection[NeededPredictions]) -> set[tuple[str, str]]:
        """The (strategy, device) of the wanted ones that no run has shown the speed of."""
        asked = {(one.strategy, one.device) for one in wanted}
        return {key for key in asked if not self._answers[key].known}

    def seconds(self, events: int, wanted: Collection[NeededPredictions]) -> float:
        """Estimated seconds of a run over ``events`` events that has to compute ``wanted``."""
        return self._rest.of(events) + sum(
            self._answers[one.strategy, one.device].of(one.answered) for one in wanted
        )
