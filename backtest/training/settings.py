"""What a training is asked to be."""

from __future__ import annotations

from dataclasses import dataclass

_MOST = 1_000_000


@dataclass(frozen=True)
class FitSettings:
    """Sizes of the ensemble, and how it is fitted.

    Attributes:
        hidden, mlp, depth, heads: sizes of the ensemble; see ``EnsembleConfig``.
        start, end: the window, half-open, int64 ns; ``None`` for no limit.
        validation: share of the window's time, at its end, that is held out for early stopping.
        epochs: maximum number of passes over the window.
        patience: epochs without a better validation loss after which training stops.
        lanes: sequences trained side by side; each symbol's events are cut into consecutive ones.
        chunk: events of a lane between two updates, and how far back gradients flow.
        rate: learning rate at its highest, after the first hundredth of the updates; from there it
            falls to a tenth along a cosine.
        clip: the largest norm of a gradient.
        checkpoint_every: updates between two checkpoints.
        seed: of the first weights and of where each epoch's chunks begin.
        device: where it runs.
    """

    hidden: int = 32
    mlp: int = 64
    depth: int = 1
    heads: int = 4
    start: int | None = None
    end: int | None = None
    validation: float = 0.2
    epochs: int = 20
    patience: int = 4
    lanes: int = 96
    chunk: int = 32
    rate: float = 3e-3
    clip: float = 1.0
    checkpoint_every: int = 100
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "lanes", "chunk", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("lanes", "chunk"):
            if getattr(self, name) > _MOST:
                raise ValueError(f"{name} must be at most {_MOST:,}, not {getattr(self, name)}")
        if not 0 < self.validation < 1:
            raise ValueError(f"validation is a share between 0 and 1, not {self.validation}")
        if self.rate <= 0 or self.clip <= 0:
            raise ValueError(f"rate and clip must be above 0, not {self.rate} and {self.clip}")
