"""Queue models: how far the queue ahead of a resting order is believed to have moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from backtest.errors import PluginError, UsageError
from backtest.trading.order_layout import L3, OPTIMISTIC, POWER, THROUGH, TRADES

_CODES = {THROUGH, TRADES, OPTIMISTIC, POWER, L3}
_NUMBERS = {THROUGH, TRADES, OPTIMISTIC, L3, *(POWER + n for n in range(1, 5))}
_REMEDY = (
    "Derive it from Through, Trades, Power, Exact or Optimistic and leave code and number as they "
    "are: only what the compiled loops know can be chosen."
)


class QueueModel:
    """A model of the queue at an order's price.

    What no data tell is assumed, so a report shows what a run earns between the least and the most
    that can be assumed: ``Through`` and ``Optimistic``. The rules themselves are compiled, and a
    class only says which of them applies; one of other rules is refused when it is defined.

    Attributes:
        code: what the compiled loops know it by.
        needs_sizes: whether it asks for the sizes that the market displays.
        needs_orders: whether it asks for what became of every order of the market (L3).
    """

    code: ClassVar[int]
    needs_sizes: ClassVar[bool] = True
    needs_orders: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        if getattr(cls, "code", None) not in _CODES:
            raise PluginError(
                f"the compiled loops have no rule for the queue model {cls.__name__!r}",
                remedy=_REMEDY,
            )

    @property
    def number(self) -> int:
        """The code, with the model's parameter in it."""
        return self.code


def check_known(model: object) -> None:
    """Refuse what the compiled loops have no rule for.

    Raises:
        UsageError: it is no queue model, or has another number than the shipped ones.
    """
    if not isinstance(model, QueueModel) or model.number not in _NUMBERS:
        raise UsageError(
            f"the compiled loops have no rule for {type(model).__name__!r}",
            place="fills.queue",
            remedy=_REMEDY,
        )


@dataclass(frozen=True)
class Through(QueueModel):
    """Nothing fills at an order's price, only prints and quotes through it: the least."""

    code: ClassVar[int] = THROUGH
    needs_sizes: ClassVar[bool] = False


@dataclass(frozen=True)
class Trades(QueueModel):
    """The queue ahead moves by what is printed there; whoever cancels stood behind."""

    code: ClassVar[int] = TRADES


@dataclass(frozen=True)
class Power(QueueModel):
    """Falls that no print explains are ahead and behind by a^n : b^n, of a ahead and b behind.

    Attributes:
        n: from 1 (in proportion) to 4 (mostly where most of the queue is).
    """

    n: int = 2

    code: ClassVar[int] = POWER

    def __post_init__(self) -> None:
        if not 1 <= self.n <= 4:
            raise ValueError(f"n is {self.n}, but must be from 1 to 4")

    @property
    def number(self) -> int:
        return self.code + self.n


@dataclass(frozen=True)
class Exact(QueueModel):
    """The orders of the market say who stands before an own order, and fill it."""

    code: ClassVar[int] = L3
    needs_orders: ClassVar[bool] = True


@dataclass(frozen=True)
class Optimistic(QueueModel):
    """Nobody is ahead: the most."""

    code: ClassVar[int] = OPTIMISTIC
    needs_sizes: ClassVar[bool] = False
