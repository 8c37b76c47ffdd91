"""What a comparison comes to, in words: which variant to deploy, and whether chance explains it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backtest.comparison.comparison import Comparison
from backtest.comparison.fields import Field
from backtest.comparison.rows import earned
from backtest.comparison.run_settings import reference_of
from backtest.comparison.trials import Trials
from backtest.core.text import first_of
from backtest.trading.layout import COSTS

_NAMED = 3
"""Rivals that a sentence names, at most."""

_LOST, _GROWTH = 0.01, 0.01
"""A server falls behind the market if it loses more of the events, or if sojourn times grow faster.

Where answering takes longer than arriving, lines grow until they are full or events expire, and
sojourn times grow with them. Events that a policy skips for newer ones of their symbols keep the
line short by design, and do not count.
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A field's result in sentences.

    Attributes:
        lead: what to deploy.
        contests: what the best run beats, and whether chance explains it, one for each other run.
        luck: what having had so many trials is worth, if there were any.
        reason: why the best run is the best.
        queue: what it earns if queues are shorter or longer than its model says; ``None``: its
            orders do not rest.
        warnings: what to mind.
    """

    lead: str
    contests: tuple[str, ...] = ()
    luck: str | None = None
    reason: str | None = None
    queue: str | None = None
    warnings: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """All of it, in the order in which one reads."""
        single = [line for line in (self.luck, self.reason, self.queue) if line is not None]
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
        queue_range(labels[best], rows[best]),
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
        others = first_of(rivals, _NAMED, "; ")
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


def queue_range(name: str, row: dict[str, Any]) -> str | None:
    """What a run whose orders rest earns under other queue models; ``None``: they do not rest."""
    least, most, net = row["net_through"], row["net_optimistic"], row["net"]
    if least is None or most is None or net is None:
        return None
    text = (
        f"The orders of {name} rest: it nets {least:,.2f} {row['unit']} if they fill only when the "
        f"market goes through their prices (through), {net:,.2f} under "
        f"{row['queue'] or 'its queue model'}, and {most:,.2f} if nobody is ahead (optimistic)."
    )
    if min(least, net, most) <= 0 < max(least, net, most):
        text += " Whether it earns anything depends on the queue."
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
