"""Runs under equal conditions, and whether chance explains what the best is ahead by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backtest.comparison.comparison import Comparison
from backtest.comparison.intervals import CONFIDENCE, Estimate, total_difference
from backtest.comparison.multiple_testing import holm
from backtest.comparison.profits import Profits, gains
from backtest.comparison.rows import earned
from backtest.comparison.run_settings import labels_of, settings, ticks, told_apart
from backtest.core.zones import HOUR_NS

SIGNIFICANCE = 1 - CONFIDENCE

_VARIANT = ("strategy", "policy", "sizing", "quoting")
_SIGNS = {"fingerprint.", "source.", "training.", "version."}
"""Settings that begin so are no conditions: variants may differ in them, such as in training."""


@dataclass(frozen=True, slots=True)
class Contest:
    """How far one run beat another on the same ticks.

    Attributes:
        better, worse: positions in the comparison; ``better`` may still have earned less.
        difference: in the unit of the profits, summed over the window.
        p: corrected for all contests of its kind (Holm); ``None`` if there is no interval.
        rate: what turns a total into ``per``, such as profits an hour.
    """

    better: int
    worse: int
    difference: Estimate
    p: float | None
    rate: float
    per: str
    unit: str

    @property
    def settled(self) -> bool:
        """Whether chance does not explain it."""
        return self.p is not None and self.p < SIGNIFICANCE

    def sentence(self, labels: Mapping[int, str]) -> str:
        """Such as ``batched beats stateless by 41.2 [35.0, 47.9] USD a day; not explained ...``."""
        d, sign = self.difference, 1 if self.difference.value >= 0 else -1
        first, second = (self.better, self.worse)[::sign]
        if d.value == 0:
            return f"{labels[first]} earns exactly what {labels[second]} earns."
        by = f"{sign * d.value * self.rate:,.2f}"
        if d.low is not None and d.high is not None:
            ends = sorted((sign * d.low * self.rate, sign * d.high * self.rate))
            by += f" [{ends[0]:,.2f}, {ends[1]:,.2f}]"
        judged = (
            f"the window is too short to rule out chance: {d.reason}"
            if self.p is None
            else "not explained by chance"
            if self.settled
            else f"chance may explain it (p = {self.p:.2g})"
        )
        return f"{labels[first]} beats {labels[second]} by {by} {self.unit} {self.per}; {judged}."


def contests(compared: Comparison, champion: int, others: Sequence[int]) -> list[Contest]:
    """A run against others with the same ticks and the same unit of profit, corrected together.

    Each is judged in the buckets of the two runs alone, and by their own span of time.
    """
    chosen = [
        k
        for k in others
        if k != champion
        and ticks(compared.runs[k]) == ticks(compared.runs[champion])
        and compared.profits[k].unit == compared.profits[champion].unit
    ]
    if not chosen:
        return []
    mine = compared.profits[champion]
    found = [total_difference(*gains([mine, compared.profits[k]])) for k in chosen]
    corrected = holm([d.p for d in found])
    return [
        Contest(champion, k, d, p, *_rate(mine, compared.profits[k]), mine.unit)
        for k, d, p in zip(chosen, found, corrected, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Field:
    """Runs that differ only in the variant: the same conditions for all.

    Attributes:
        conditions: settings that distinguish it from the other fields, by name.
        members: positions in the comparison, the best first.
        contests: the best against each of the others.
    """

    conditions: dict[str, Any]
    members: tuple[int, ...]
    contests: tuple[Contest, ...]

    def labels(self, compared: Comparison) -> dict[int, str]:
        """The shortest distinct names for its members, by position."""
        return dict(
            zip(self.members, labels_of([compared.runs[k] for k in self.members]), strict=True)
        )

    @property
    def title(self) -> str:
        """Its conditions as text; empty if there is no other field."""
        return ", ".join(
            f"{name.replace('.', ' ')} {str(value).removesuffix('.0')}"
            for name, value in self.conditions.items()
        )


def fields(compared: Comparison) -> list[Field]:
    """The runs in fields of equal conditions, the main one first, each in order.

    Runs that are paid in different units are never in one field.

    The main one is the largest, of equally large ones that of unscaled latency, and of these the
    slowest, then the first by its title; members are in the order of what they earned.

    A variant is a strategy with its policy and sizing or quoting, and with its own service times
    where no variant was run under several. What is assumed of resting orders is no condition of
    runs whose orders do not rest, where all others assume the same.
    """
    tables = [settings(run) for run in compared.runs]
    differing = [
        name
        for name, values in compared.differences()
        if name not in _VARIANT
        and not any(name.startswith(s) for s in _SIGNS)
        and told_apart(name, values)
    ]
    variants: dict[tuple[str, ...], set[str]] = {}
    for table in tables:
        others = tuple(str(table.get(n)) for n in differing if n != "latency.service")
        key = (*(str(table.get(n)) for n in _VARIANT), *others)
        variants.setdefault(key, set()).add(str(table["latency.service"]))
    if all(len(services) == 1 for services in variants.values()):
        differing = [name for name in differing if name != "latency.service"]
    if len(compared.units) > 1:
        differing.append("unit")
        tables = [t | {"unit": p.unit} for t, p in zip(tables, compared.profits, strict=True)]
    groups: dict[tuple[str, ...], list[int]] = {}
    for k, table in enumerate(tables):
        groups.setdefault(tuple(str(table.get(n)) for n in differing), []).append(k)
    found = []
    for key, members in groups.items():
        members.sort(key=lambda k: -_rank(compared.rows[k]))
        conditions = dict(zip(differing, key, strict=True))
        found.append(
            Field(conditions, tuple(members), tuple(contests(compared, members[0], members[1:])))
        )

    def order(field: Field) -> tuple[float, float, float, str]:
        rows = [compared.rows[k] for k in field.members]
        slowest = max((row["p50_ms"] or 0 for row in rows), default=0)
        return -len(rows), abs(rows[0]["scale"] - 1), -slowest, field.title

    return sorted(found, key=order)


def _rank(row: dict[str, Any]) -> float:
    value = earned(row)
    return float("-inf") if value is None else value


def _rate(*of: Profits) -> tuple[float, str]:
    """The factor from a window's total to a rate over at most its open time, and the rate's unit.

    A day is one of ``Profits.days``.
    """
    longest = max(of, key=lambda earned: earned.open_ns)
    spans = ((longest.hours.day_ns, "a day"), (HOUR_NS, "an hour"), (HOUR_NS // 60, "a minute"))
    for length, per in spans:
        if longest.open_ns >= length:
            return length / longest.open_ns, per
    return 1.0, "in all"
