"""What a comparison comes to, in words: which variant to deploy, and whether chance explains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backtest.comparison.bootstrap import CONFIDENCE, Difference, holm, paired_difference
from backtest.comparison.comparison import Comparison
from backtest.comparison.profits import gains
from backtest.comparison.run_settings import labels_of, settings, ticks
from backtest.trading.layout import COSTS

SIGNIFICANCE = 1 - CONFIDENCE

_VARIANT = ("strategy", "policy")
_SIGNS = {"fingerprint.", "source.", "version."}


@dataclass(frozen=True, slots=True)
class Contest:
    """How far one run beat another on the same ticks.

    Attributes:
        better, worse: positions in the comparison; ``better`` may still have earned less.
        difference: in the unit of the profits, summed over the window.
        p: corrected for all contests of its kind (Holm); ``None`` if the window is too short.
        rate: what turns a total into ``per``, such as profits an hour.
    """

    better: int
    worse: int
    difference: Difference
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
        d, sign = self.difference, 1 if self.difference.total >= 0 else -1
        first, second = (self.better, self.worse)[::sign]
        if d.total == 0:
            return f"{labels[first]} earns exactly what {labels[second]} earns."
        by = f"{sign * d.total * self.rate:,.2f}"
        if d.low is not None and d.high is not None:
            ends = sorted((sign * d.low * self.rate, sign * d.high * self.rate))
            by += f" [{ends[0]:,.2f}, {ends[1]:,.2f}]"
        judged = (
            f"the window is too short to rule out chance ({d.buckets} buckets, blocks of {d.block})"
            if self.p is None
            else "not explained by chance"
            if self.settled
            else f"chance may explain it (p = {self.p:.2g})"
        )
        return f"{labels[first]} beats {labels[second]} by {by} {self.unit} {self.per}; {judged}."


def contests(compared: Comparison, champion: int, others: Sequence[int]) -> list[Contest]:
    """A run against others with the same ticks and the same unit of profit, corrected together."""
    chosen = [
        k
        for k in others
        if k != champion
        and ticks(compared.runs[k]) == ticks(compared.runs[champion])
        and compared.profits[k].unit == compared.profits[champion].unit
    ]
    if not chosen:
        return []
    earned = gains([compared.profits[k] for k in (champion, *chosen)])
    found = [paired_difference(earned[0], other) for other in earned[1:]]
    corrected = holm([d.p for d in found])
    hours = max(p.hours for p in compared.profits)
    rate, per = _rate(hours)
    unit = compared.profits[champion].unit
    return [
        Contest(champion, k, d, p, rate, per, unit)
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

    The main one is the largest, of equally large ones that of unscaled latency, and of these the
    slowest, then the first by its title; members are in the order of what they earned.

    A variant is a strategy with its policy, and with its own service times where no variant was run
    under several.
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


def verdict(compared: Comparison, field: Field) -> list[str]:
    """A field's result in sentences: what to deploy, what it beats, why, and what to mind."""
    rows, labels = compared.rows, field.labels(compared)
    best = field.members[0]
    row = rows[best]
    unit, value = compared.profits[best].unit, earned(row)
    if value is None:
        return ["No run has been paid, so that none can be recommended."]
    name = labels[best]
    rivals = [c for c in field.contests if not c.settled]
    if len(field.members) == 1:
        lines = [f"{name} nets {value:,.2f} {unit}; there is nothing to compare it with."]
    elif value <= 0:
        lines = [f"Deploy none: the best, {name}, nets {value:,.2f} {unit}."]
    elif rivals:
        others = ", ".join(labels[c.worse] for c in rivals)
        lines = [f"{name} leads with {value:,.2f} {unit}, but {others} may be as good."]
    else:
        lines = [f"Deploy {name}: it nets {value:,.2f} {unit}, more than any other."]
    lines += [contest.sentence(labels) for contest in field.contests]
    lines.append(_reason(name, row))
    lines += [_weakness(labels[k], rows[k]) for k in field.members[1:] if _overloaded(rows[k])]
    if any(rows[k]["partial"] for k in field.members):
        lines.append("Partial runs are among them: they saw only the first events of the window.")
    if any(compared.runs[k].manifest.get("in_sample") for k in field.members):
        lines.append("In-sample runs are among them: their weights were trained on this window.")
    trials = max((rows[k]["trials"] or 0 for k in field.members), default=0)
    if trials:
        lines.append(
            f"Runs among them were chosen out of {trials} trials of a study: the best of many "
            "looks better than it will be."
        )
    return lines


def _reason(name: str, row: dict[str, Any]) -> str:
    facts = []
    if row["response_rate"] is not None:
        facts.append(f"answers {100 * row['response_rate']:.1f} % of the events")
    if row["p99_ms"] is not None:
        facts.append(f"99 % of them within {row['p99_ms']:,.1f} ms")
    if row["correlation"] is not None:
        facts.append(f"with a correlation of {row['correlation']:.3f} to the reference")
    text = f"{name} " + ", ".join(facts) + "."
    costs = {c: row[c] for c in COSTS if row[c] is not None and row[c] > 0}
    if costs:
        dearest = max(costs, key=lambda c: costs[c])
        text += f" What costs it most is {dearest}: {costs[dearest]:,.2f} {row['currency']}."
    return text


def _overloaded(row: dict[str, Any]) -> bool:
    return row["response_rate"] is not None and row["response_rate"] < 0.99


def _weakness(name: str, row: dict[str, Any]) -> str:
    return (
        f"{name} falls behind the market: it answers {100 * row['response_rate']:.1f} % of the "
        "events, so that its net PnL and its accuracy are of those alone."
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
