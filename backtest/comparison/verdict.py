"""What a comparison comes to, in words: which variant to deploy, and whether chance explains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backtest.comparison.comparison import Comparison
from backtest.comparison.intervals import CONFIDENCE, Estimate, total_difference
from backtest.comparison.multiple_testing import holm
from backtest.comparison.profits import gains
from backtest.comparison.run_settings import labels_of, reference_of, settings, ticks
from backtest.comparison.trials import Trials
from backtest.trading.layout import COSTS

SIGNIFICANCE = 1 - CONFIDENCE

_NAMED = 3
"""Rivals that a sentence names, at most."""

_LOST, _GROWTH = 0.01, 0.01
"""A server falls behind the market if it loses more of the events, or if sojourn times grow faster.

Where answering takes longer than arriving, lines grow until they are full or events expire, and
sojourn times grow with them. Events that a policy skips for newer ones of their symbols keep the
line short by design, and do not count.
"""

_VARIANT = ("strategy", "policy", "sizing")
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
        Contest(champion, k, d, p, *_rate(max(mine.hours, compared.profits[k].hours)), mine.unit)
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


def earned(row: dict[str, Any]) -> float | None:
    """What a run is ranked by: its net PnL, or its points."""
    value = row["net"] if row["net"] is not None else row["net_points"]
    return None if value is None else float(value)


def fields(compared: Comparison) -> list[Field]:
    """The runs in fields of equal conditions, the main one first, each in order.

    Runs that are paid in different units are never in one field.

    The main one is the largest, of equally large ones that of unscaled latency, and of these the
    slowest, then the first by its title; members are in the order of what they earned.

    A variant is a strategy with its policy and sizing, and with its own service times where no
    variant was run under several.
    """
    tables = [settings(run) for run in compared.runs]
    differing = [
        name
        for name, _ in compared.differences()
        if name not in _VARIANT and not any(name.startswith(s) for s in _SIGNS)
    ]
    variants: dict[tuple[str, ...], set[str]] = {}
    for table in tables:
        others = tuple(str(table.get(n)) for n in differing if n != "latency.service")
        key = (*(str(table[n]) for n in _VARIANT), *others)
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


@dataclass(frozen=True, slots=True)
class Verdict:
    """A field's result in sentences.

    Attributes:
        lead: what to deploy.
        contests: what the best run beats, and whether chance explains it, one for each other run.
        luck: what having had so many trials is worth, if there were any.
        reason: why the best run is the best.
        warnings: what to mind.
    """

    lead: str
    contests: tuple[str, ...] = ()
    luck: str | None = None
    reason: str | None = None
    warnings: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """All of it, in the order in which one reads."""
        single = [line for line in (self.luck, self.reason) if line is not None]
        return [self.lead, *self.contests, *single, *self.warnings]


def verdict(
    compared: Comparison,
    field: Field,
    trials: Trials | None = None,
    labels: Mapping[int, str] | None = None,
) -> Verdict:
    """What to deploy, what it beats, why, and what to mind.

    Args:
        compared: the runs.
        field: some of them.
        trials: what its best run was chosen from, if it comes from a sweep.
        labels: what to call runs, by position; by default the field's own names.
    """
    rows, labels = compared.rows, labels or field.labels(compared)
    best = field.members[0]
    if earned(rows[best]) is None:
        return Verdict("No run has been paid, so that none can be recommended.")
    weaknesses = [_weakness(labels[k], rows[k]) for k in field.members]
    warnings = [weakness for weakness in weaknesses if weakness is not None]
    if any(rows[k]["partial"] for k in field.members):
        warnings.append(
            "Partial runs are among them: they saw only the first events of the window."
        )
    if any(compared.runs[k].manifest.get("in_sample") for k in field.members):
        warnings.append("In-sample runs are among them: their weights were trained on this window.")
    studied = max((rows[k]["trials"] or 0 for k in field.members), default=0)
    if studied:
        warnings.append(
            f"Runs among them were chosen out of {studied} trials of a study: the best of many "
            "looks better than it will be."
        )
    return Verdict(
        _lead(compared, field, labels),
        tuple(contest.sentence(labels) for contest in field.contests),
        None if trials is None else trials.sentence(labels[best]),
        _reason(labels[best], rows[best], reference_of(compared.runs[best])),
        tuple(warnings),
    )


def _lead(compared: Comparison, field: Field, labels: Mapping[int, str]) -> str:
    best = field.members[0]
    name, unit, value = labels[best], compared.profits[best].unit, earned(compared.rows[best])
    assert value is not None
    rivals = [labels[c.worse] for c in field.contests if not c.settled]
    if len(field.members) == 1:
        return f"{name} nets {value:,.2f} {unit}; there is nothing to compare it with."
    if value <= 0:
        return f"Deploy none: the best, {name}, nets {value:,.2f} {unit}."
    if rivals:
        others = "; ".join(rivals[:_NAMED])
        if len(rivals) > _NAMED:
            others += f"; and {len(rivals) - _NAMED} others"
        return f"{name} leads with {value:,.2f} {unit}, but {others} may be as good."
    return f"Deploy {name}: it nets {value:,.2f} {unit}, more than any other."


def _reason(name: str, row: dict[str, Any], reference: str | None) -> str:
    facts = []
    if row["response_rate"] is not None:
        facts.append(f"answers {100 * row['response_rate']:.1f} % of the events")
    if row["p99_ms"] is not None:
        facts.append(f"99 % of them within {row['p99_ms']:,.1f} ms")
    if row["conflated_rate"]:
        facts.append(f"skips {100 * row['conflated_rate']:.1f} % for newer ones of their symbols")
    text = f"{name} " + ", ".join(facts) + "."
    if row["ic"] is not None:
        text += f" Its answers have an IC of {row['ic']:.3f} against the dataset's targets."
    if row["agreement"] is not None:
        whose = "its own to every event" if reference is None else f"those of {reference}"
        text += f" Its answers agree with {whose} at a correlation of {row['agreement']:.3f}."
    costs = {c: row[c] for c in COSTS if row[c] is not None and row[c] > 0}
    if costs:
        dearest = max(costs, key=lambda c: costs[c])
        text += f" What costs it most is {dearest}: {costs[dearest]:,.2f} {row['currency']}."
    return text


def _weakness(name: str, row: dict[str, Any]) -> str | None:
    """What is wrong with figures of a server that falls behind; ``None``: it does not."""
    lost, growth = row["lost_rate"] or 0.0, row["sojourn_growth"] or 0.0
    if lost > _LOST:
        how = f"{100 * lost:.1f} % of the events found its line full, or waited too long"
    elif growth > _GROWTH:
        how = f"its answers come {1e3 * growth:,.0f} ms later with each second"
    else:
        return None
    return (
        f"{name} falls behind the market: {how}. Its net PnL and its accuracy are of the "
        f"{100 * row['response_rate']:.1f} % of the events alone that it answers."
    )


def _rank(row: dict[str, Any]) -> float:
    value = earned(row)
    return float("-inf") if value is None else value


def _rate(hours: float) -> tuple[float, str]:
    """The factor from a window's total to a rate over at most the window, and the rate's unit."""
    for length, per in ((24.0, "a day"), (1.0, "an hour"), (1 / 60, "a minute")):
        if hours >= length:
            return length / hours, per
    return 1.0, "in all"
