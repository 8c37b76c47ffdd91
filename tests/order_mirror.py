"""The mirrored market: bid for ask, buyer for seller, every price negated."""

from __future__ import annotations

from dataclasses import replace

from tests.depth_records import Depth
from tests.order_markets import Simulate
from tests.order_oracle import Result
from tests.order_records import Fill, Message, Report, Row


def mirror_row(row: Row) -> Row:
    """Bid for ask, buyer for seller, every price negated."""
    return replace(
        row,
        bid=None if row.ask is None else -row.ask,
        ask=None if row.bid is None else -row.bid,
        bid_size=row.ask_size,
        ask_size=row.bid_size,
        trade_price=None if row.trade_price is None else -row.trade_price,
        aggressor=None if row.aggressor is None else -row.aggressor,
    )


def mirror_message(message: Message) -> Message:
    """A buy for a sell at the price negated."""
    return replace(message, side=-message.side, price=-message.price)


def mirror_fill(fill: Fill) -> Fill:
    """The fill of the mirrored order; money is the same."""
    return replace(fill, lots=-fill.lots, price_half_ticks=-fill.price_half_ticks)


def mirror_report(report: Report) -> Report:
    """The report on the mirrored order."""
    return replace(report, price=-report.price)


def mirrored(simulate: Simulate) -> Simulate:
    """Replay the mirrored market, and mirror what comes of it."""

    def through_the_mirror(
        rows: list[Row],
        messages: list[Message],
        *args: object,
        depth: Depth | None = None,
        **options: object,
    ) -> Result:
        if depth is not None:
            options["depth"] = depth.mirrored()
        result = simulate(
            [mirror_row(row) for row in rows],
            [mirror_message(message) for message in messages],
            *args,  # type: ignore[arg-type]  # handed on as they came
            **options,  # type: ignore[arg-type]
        )
        return replace(
            result,
            fills=[mirror_fill(fill) for fill in result.fills],
            closes=[mirror_fill(fill) for fill in result.closes],
            reports=[mirror_report(report) for report in result.reports],
        )

    return through_the_mirror
