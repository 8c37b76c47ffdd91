"""What became of a single run's resting orders, and what they lost to those who knew more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from markupsafe import Markup

from backtest.comparison.profits import money_units
from backtest.plugins.report_sections.trades import span
from backtest.report.charts import Axis, Chart, Series
from backtest.report.fill_markouts import HORIZONS_NS, STALE_HORIZON, FillMarkouts
from backtest.report.html import amount, paragraph, percent, table
from backtest.report.material import Material
from backtest.report.picked_off import STAGES
from backtest.report.resting import MAKER, TAKER, Filled, RestingOrders
from backtest.report.sections import ReportSection

MOST_PARTICIPATION = 0.1
"""Share of the traded lots above which own orders cannot be taken for ghosts."""

_SHOWN = (0, 3, 6, 9)
"""Horizons with a row in the tables: 0.1, 1, 10 and 60 s."""

_KINDS = (
    *("accepted", "replaced", "filled", "took"),
    *("cancelled", "expired", "rejected", "late", "flattened"),
)
_QUANTILES = (0.1, 0.5, 0.9, 0.99)

HOUR = 3600 * 10**9
"""ns."""


class RestingSection(ReportSection):
    """Resting orders of a single run: queue bracket, fills, markouts, and stale fills by stage."""

    title: ClassVar[str] = "Resting orders"
    place: ClassVar[int] = 51

    def render(self, material: Material) -> Markup | None:
        resting = material.resting
        if resting is None or material.single is None:
            return None
        units, currency = money_units(material.single), material.compared.profits[0].unit
        markouts, queue = material.fill_markouts, material.compared.rows[0]["queue"]
        shown = _bracket(resting, str(queue or "chosen"), units, currency)
        shown += Markup('<div class="pair"><div>{}</div><div>{}</div></div>').format(
            _figures(resting), _reports(resting)
        )
        shown += Markup('<div class="pair"><div>{}</div><div>{}</div></div>').format(
            _standing(resting), _queued(resting)
        )
        shown += _markouts(resting, markouts, units, currency)
        shown += _picked_off(resting, markouts, units, currency)
        return shown + _participation(markouts)


def _bracket(resting: RestingOrders, queue: str, units: int, currency: str) -> Markup:
    names = {"through": "through", "chosen": f"{queue} (chosen)", "optimistic": "optimistic"}
    rows, nets = [], []
    for key, of in resting.bracket.items():
        name = names[key]
        net, fills, lots = of["net"], of["fills"], of["lots"]
        nets.append(net)
        counts = ("–" if count is None else f"{count:,}" for count in (fills, lots))
        rows.append((name, amount(None if net is None else net / units), *counts))
    numbers = (f"net, {currency}", "fills", "lots")
    shown = table(
        ("queue model", *numbers), rows, right=numbers, caption="The run under other queue models"
    )
    if queue == "l3":
        text = (
            "The data tell of every order of the market, so l3 fills an order when one in its "
            "place was filled. The other models show what could be believed without them."
        )
        return shown + paragraph(text)
    text = (
        "No data tell how many lots stood ahead of these orders: through fills one only when the "
        "market trades or quotes through its price, optimistic puts it ahead of all others, and "
        "what a real order would have earned is to be looked for between. "
    )
    if len(nets) == 1:
        text += (
            "The strategy sends its own orders, and would have sent others after other fills: run "
            "it under these models, too."
        )
        return shown + paragraph(text)
    known = [net for net in nets if net is not None]
    if known and min(known) <= 0 < max(known):
        text += "Here it decides whether anything is earned, so a profit is not shown yet."
    else:
        text += "Here it does not decide whether anything is earned."
    return shown + paragraph(text)


def _figures(resting: RestingOrders) -> Markup:
    """Fills, and how long they took."""
    maker, taker = resting.filled[MAKER], resting.filled[TAKER]
    waits = resting.waits.at(np.array(_QUANTILES))
    rows = [
        ("maker fills", f"{maker.fills:,}"),
        ("maker lots", f"{maker.lots:,}"),
        ("taker fills", f"{taker.fills:,}"),
        ("taker lots", f"{taker.lots:,}"),
        ("lots quoted", f"{resting.quoted:,}"),
        ("fill ratio", percent(resting.fill_ratio)),
        *(
            (f"time to fill, {_percentile(q)}", span(None if waits is None else float(waits[k])))
            for k, q in enumerate(_QUANTILES)
        ),
        ("cancel races lost", f"{resting.reports['late']['reports']:,}"),
    ]
    note = (
        "lots quoted: of accepted orders, each at its size after its last replacement. fill ratio: "
        "of these, those filled. time to fill: from the arrival of the message that gave the order "
        "its place to each of its fills."
    )
    shown = table(("figure", "value"), rows, right=("value",), caption="Orders and fills")
    return shown + paragraph(note, "note")


def _percentile(quantile: float) -> str:
    return "median" if quantile == 0.5 else f"{100 * quantile:.0f}th percentile"


def _reports(resting: RestingOrders) -> Markup:
    numbers = ("reports", "lots")
    kinds = [kind for kind in _KINDS if kind in resting.reports]
    rows = [(kind, *(f"{resting.reports[kind][name]:,}" for name in numbers)) for kind in kinds]
    note = (
        "filled: while the order rested; took: on its arrival. Lots are those filled, those that "
        "were left when an order was cancelled or expired, or else all of the order. rejected: a "
        "new order or replacement that was not to take but would have, that met own orders, or "
        "that came while the market was closed. late: a message found its order gone. flattened: "
        "a switch of the limits closed a position."
    )
    shown = table(("report", *numbers), rows, right=numbers, caption="Reports of the venue")
    return shown + paragraph(note, "note")


def _standing(resting: RestingOrders) -> Markup:
    """How long orders stood where, against the touch."""
    if resting.standing is None:
        return Markup("")
    names = {"buy": "bid", "sell": "ask", "total": "both"}
    shares = ("at", "behind", "better", "none")
    numbers = (*shares, "lot hours")
    rows = []
    for side, name in names.items():
        of = resting.standing[side]
        rows.append((name, *(percent(of[share]) for share in shares), amount(of["lot_ns"] / HOUR)))
    note = (
        "Shares of the open time, a mean over tradable symbols, in which the best own order of the "
        "side stood at the touch, behind it, or better than it (or alone, where the side showed "
        "nothing), and in which there was none. lot hours: open lots, by how long they were open."
    )
    shown = table(("side", *numbers), rows, right=numbers, caption="Quotes against the touch")
    return shown + paragraph(note, "note")


def _queued(resting: RestingOrders) -> Markup:
    """Where in the queue filled orders had begun, and what it took to fill them."""
    quantiles = np.array(_QUANTILES)
    ahead, printed = resting.ahead.at(quantiles), resting.printed.at(quantiles)
    if ahead is None or printed is None:
        return Markup("")
    numbers = ("ahead", "printed")
    rows = [
        (_percentile(q), *(f"{int(of[k]):,}" for of in (ahead, printed)))
        for k, q in enumerate(_QUANTILES)
    ]
    note = (
        "Of maker fills whose place was known, in lots. ahead: at the price, when the order joined "
        "or when the touch came to it; printed: at the price, from then to the fill, that of its "
        f"own row included. Nobody was ahead of {resting.first:,} of them."
    )
    shown = table(("quantile", *numbers), rows, right=numbers, caption="Queues of the fills")
    return shown + paragraph(note, "note")


def _markouts(
    resting: RestingOrders, markouts: FillMarkouts | None, units: int, currency: str
) -> Markup:
    """What fills lost to those who knew more, in money."""
    if markouts is None:
        return paragraph(
            "No markouts: the dataset with the quotes is missing, or has changed.", "note"
        )
    kinds = [
        (k, name) for k, name in ((MAKER, "maker"), (TAKER, "taker")) if resting.filled[k].fills
    ]
    if not kinds:
        return paragraph("No order was filled.")
    lines = [
        Series(f"{name} fills", 0, HORIZONS_NS / 1e9, _money(markouts.adverse[k], units), dash)
        for dash, (k, name) in enumerate(kinds)
    ]
    shown = Chart(
        "What the market moved against fills", Axis("time after the fill, s", kind="log"),
        Axis(currency), lines, zero=True, note="Solid: maker fills. Dashed: taker fills."
        if len(kinds) > 1 else "",
    ).render()  # fmt: skip
    impact = any(resting.filled[k].money["impact"] for k, _ in kinds)
    numbers = ("hold", "adverse", "spread", *(("impact",) if impact else ()), "fees", "net")
    rows = []
    for k, name in kinds:
        for h in _SHOWN:
            figures = _split(resting.filled[k], markouts.adverse[k][h])
            cells = (amount(figures[c] / units) for c in numbers)
            rows.append((f"{name}, {span(float(HORIZONS_NS[h]))}", *cells))
    shown += table(
        ("fills, time after them", *numbers), rows, right=numbers, bars=numbers,
        caption=f"From what was held to net, {currency}",
    )  # fmt: skip
    note = (
        "adverse: how far the mid went against the fills within that time, from right before the "
        "row that filled them; hold: what they earned from then to the end of the window; spread: "
        "what the price was better (a gain) or worse than that mid. The columns add up exactly, "
        "for each time. Fills that close positions at the end are not among them."
    )
    return shown + paragraph(note, "note")


def _split(of: Filled, adverse: int) -> dict[str, int]:
    """net = hold - adverse - spread - impact - fees, costs with a minus."""
    costs = {name: -of.money[name] for name in ("spread", "impact", "fees")}
    return {
        "hold": of.money["moved"] + adverse, "adverse": -adverse, **costs, "net": of.money["net"],
    }  # fmt: skip


def _money(amounts: Sequence[int], units: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([value / units for value in amounts], dtype=np.float64)


def _picked_off(
    resting: RestingOrders, markouts: FillMarkouts | None, units: int, currency: str
) -> Markup:
    """Fills that a message on its way would have prevented, by where it was."""
    fills, lots = (sum(of[k] for of in resting.late[1:]) for k in range(2))
    sudden = resting.late[1][1]
    maker = resting.filled[MAKER]
    if not maker.fills:
        return Markup("")
    if not fills:
        return paragraph(
            "No fill was picked off in flight: none came while a message that withdrew or changed "
            "its order was on its way."
        )
    after = span(float(HORIZONS_NS[STALE_HORIZON]))
    numbers = ("fills", "lots", "adverse")
    late = None if markouts is None else markouts.late
    rows = [
        (name, f"{resting.late[k][0]:,}", f"{resting.late[k][1]:,}",
         amount(None if late is None else late[k] / units))
        for k, name in enumerate(STAGES, 1)
    ]  # fmt: skip
    total = None if late is None else sum(late) / units
    rows.append(("all", f"{fills:,}", f"{lots:,}", amount(total)))
    shown = table(
        ("stage", *numbers), rows, right=numbers,
        caption=f"Picked off in flight, by stage; adverse after {after}, {currency}",
    )  # fmt: skip
    note = (
        f"{percent((lots - sudden) / maker.lots)} of the maker lots were filled while a message "
        "that withdrew or changed their order was on its way: its event had happened, and it had "
        "not reached the venue. stage: where it was at the fill. "
        f"{percent(sudden / maker.lots)} were filled at the very instant of its event, often by it "
        "(same instant), which no speed would have prevented."
    )
    return shown + paragraph(note, "note")


def _participation(markouts: FillMarkouts | None) -> Markup:
    """Own maker lots against those traded."""
    shares = None if markouts is None else markouts.participation
    if not shares:
        return Markup("")
    own, traded = (sum(pair[k] for pair in shares.values()) for k in range(2))
    text = (
        f"Participation: {own:,} lots were filled while resting, and {traded:,} traded at the same "
        "prices in the same minutes"
    )
    shown = paragraph(f"{text} ({percent(own / traded)})." if traded else f"{text}.")
    much = [name for name, (o, t) in shares.items() if o > MOST_PARTICIPATION * t]
    if much:
        named = ", ".join(much[:3]) + (f" and {len(much) - 3} more" if len(much) > 3 else "")
        shown += paragraph(
            f"More than {MOST_PARTICIPATION:.0%} in {named}: own orders are taken to leave the "
            "market as it was, which cannot be believed of so many lots. Run smaller sizes.",
            "warning",
        )
    return shown
