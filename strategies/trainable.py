"""What strategies share that ``module_fit`` trains: how they are trained, and what was learnt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast

from backtest.strategies.base import StateArrays, Strategy


@dataclass
class TrainableStrategy(Strategy):
    """A strategy that learns by truncated backpropagation through time; see ``fit_module``.

    Args:
        loss: what training minimises: squared, Huber's or absolute errors.
        optimiser: torch's of that name.
        rate: its learning rate.
        epochs: maximum number of passes over the stretch.
        patience: epochs without a better validation loss after which training stops.
        validation: share of the stretch's time, at its end, that is used for early stopping; 0:
            none is, and all epochs are made.
        lanes: sequences trained side by side; symbols' events are cut into about so many.
        chunk: events of a lane between two updates, and how far back gradients flow.
        clip: largest norm of a gradient.
        fit_seed: for the initial weights and all that training draws; by default the run's seed.
    """

    loss: Literal["squared", "huber", "absolute"] = field(default="squared", kw_only=True)
    optimiser: Literal["adam", "adamw", "sgd"] = field(default="adam", kw_only=True)
    rate: float = field(default=1e-3, kw_only=True)
    epochs: int = field(default=10, kw_only=True)
    patience: int = field(default=3, kw_only=True)
    validation: float = field(default=0.2, kw_only=True)
    lanes: int = field(default=32, kw_only=True)
    chunk: int = field(default=32, kw_only=True)
    clip: float = field(default=1.0, kw_only=True)
    fit_seed: int | None = field(default=None, kw_only=True)

    _learnt = cast("StateArrays | None", None)

    def load_weights(self, weights: StateArrays) -> None:
        """Use what ``fit`` returned instead of ``weights``."""
        self._learnt = weights
