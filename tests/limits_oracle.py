"""Limits that a venue holds an account to, apart from the engine: one event after another.

Lots that fit are found by trying. All symbols are in one loop, since money is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from tests.oracle import execute_at, is_open
from tests.order_matching import Venue
from tests.order_oracle import Fee, Result, no_fee, settle
from tests.order_records import FLATTENED, Fill, Message, OrderRules, Report, Row
from tests.quote_oracle import Answer, Desk, DeskRules
from tests.unresolved import Known

SECOND = 10**9


@dataclass(frozen=True)
class Group:
    """Most money at stake in some symbols together; unnamed: in the account."""

    name: str
    symbols: frozenset[int]
    gross: int | None = None
    net: int | None = None


@dataclass(frozen=True)
class LimitRules:
    """Lots and money; ``None``, or a symbol that is missing: no limit. ``days``: their starts."""

    position: dict[int, int] = field(default_factory=dict)
    gross_by_symbol: dict[int, int] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    orders_per_second: int | None = None
    daily_loss: int | None = None
    drawdown: int | None = None
    days: tuple[int, ...] = ()


@dataclass(frozen=True)
class Breach:
    """What was not sent because of a limit, or a switch that was thrown (no symbol)."""

    ts: int
    limit: str
    symbol: int | None = None
    id: int = -1
    side: int = 0
    lots: int = 0


Reach = dict[int, tuple[int, int]]
"""By symbol, how many lots long and how many short it may become."""


@dataclass
class Gate:
    """Lets through what keeps the worst case within the limits.

    ``values`` gives money of a lot of a symbol now, 0 before it has had a two-sided quote.
    """

    rules: LimitRules
    reach: Callable[[], Reach]
    values: Callable[[int], int]
    sent: list[int] = field(default_factory=list)
    breaches: list[Breach] = field(default_factory=list)

    def too_many(self, now: int) -> bool:
        """Whether one more message would be one too many within a second."""
        most = self.rules.orders_per_second
        return most is not None and sum(t > now - SECOND for t in self.sent) >= most

    def worst(self, symbol: int, side: int, lots: int) -> list[tuple[str, int, int]]:
        """(limit, most, worst case) of each limit, if a side of a symbol grew by some lots.

        The symbol is taken to be filled on that side, the others on the side that is worse.
        """
        reach = self.reach()
        k = 0 if side > 0 else 1
        own = reach[symbol][k] + lots
        found = []
        if symbol in self.rules.position:
            found.append(("position", self.rules.position[symbol], own))
        if symbol in self.rules.gross_by_symbol:
            most = self.rules.gross_by_symbol[symbol]
            found.append(("gross_by_symbol", most, own * self.values(symbol)))
        for group in self.rules.groups:
            if symbol not in group.symbols:
                continue
            name = f"groups.{group.name}." if group.name else ""
            others = [s for s in group.symbols if s in reach and s != symbol]
            if group.gross is not None:
                gross = sum(max(reach[s]) * self.values(s) for s in others)
                found.append((f"{name}gross", group.gross, gross + own * self.values(symbol)))
            if group.net is not None:
                net = sum(reach[s][k] * self.values(s) for s in others)
                found.append((f"{name}net", group.net, net + own * self.values(symbol)))
        return found

    def fitting(self, symbol: int, side: int, lots: int) -> tuple[int, str]:
        """The most of some lots by which a side may grow, and what keeps it from more."""
        best, by = lots, ""
        for k, (name, most, before) in enumerate(self.worst(symbol, side, 0)):
            fits = lots
            while fits > 0 and self.worst(symbol, side, fits)[k][2] > max(most, before):
                fits -= 1
            if fits < best:
                best, by = fits, name
        return best, by

    def allow(
        self, message: Message, now: int, growth: Callable[[int, int], int], side: int
    ) -> int | None:
        """The total of a message that may be sent; ``None``: it may not.

        Args:
            growth: (side, total) → lots by which unresolved ones of the side would grow.
            side: of the message, or 0.
        """
        if self.too_many(now):
            lots = message.total if message.action in ("new", "replace") else 0
            self.note(now, "orders_per_second", message, side, lots)
            return None
        if message.action not in ("new", "replace"):
            return message.total
        allowed, limit, of = message.total, "", 0
        for each in (1, -1):
            grows = growth(each, allowed)
            if grows > 0:
                fits, by = self.fitting(message.symbol, each, grows)
                if fits < grows:
                    allowed = max(t for t in range(allowed) if growth(each, t) <= fits)
                    limit, of = by, each
        if limit:
            self.note(now, limit, message, of, message.total - allowed)
            if allowed == 0:
                return None
        return allowed

    def note(self, now: int, limit: str, message: Message, side: int, lots: int) -> None:
        """Keep a breach."""
        self.breaches.append(Breach(now, limit, message.symbol, message.id, side, lots))


@dataclass
class Switches:
    """Watches the equity: when trading has to end, and until when."""

    rules: LimitRules
    breaches: list[Breach]
    opened: int = 0
    marked: int = 0
    highest: int = 0
    day: int = 0
    halted: int | None = None
    ended: bool = False

    def mark(self, ts: int, equity: int) -> bool:
        """Take note of the equity after a row; returns whether a switch is thrown."""
        started = sum(day <= ts for day in self.rules.days)
        if started > self.day:
            self.day, self.opened = started, self.marked
        self.marked, self.highest = equity, max(self.highest, equity)
        loss, fall = self.rules.daily_loss, self.rules.drawdown
        thrown = False
        trades = self.halted is None or ts >= self.halted
        if loss is not None and trades and self.opened - equity >= loss:
            self.halted = (*self.rules.days, 2**63 - 1)[started]
            self.breaches.append(Breach(ts, "daily_loss"))
            thrown = True
        if fall is not None and not self.ended and self.highest - equity >= fall:
            self.ended, self.halted = True, 2**63 - 1
            self.breaches.append(Breach(ts, "drawdown"))
            thrown = True
        return thrown


class HeldDesk(Desk):
    """A desk whose messages pass a gate."""

    market: HeldMarket

    def allow(self, message: Message, side: int) -> int | None:
        return self.market.allow(message, side)


@dataclass
class HeldMarket:
    """The venues of all symbols in one loop, with all that is known of their orders."""

    rows: Sequence[Row]
    rules: OrderRules
    limits: LimitRules
    response_of_row: Sequence[int]
    impact: Fraction
    value: Sequence[int]
    maker_fee: Fee
    taker_fee: Fee

    def __post_init__(self) -> None:
        symbols = sorted({row.symbol for row in self.rows})
        self.venues = {
            s: Venue(self.rows, s, self.rules, self.response_of_row, self.impact) for s in symbols
        }
        self.known = {s: Known() for s in symbols}
        self.heard = dict.fromkeys(symbols, 0)
        self.gate = Gate(self.limits, self.reach, self.value_of)
        self.switches = Switches(self.limits, self.gate.breaches)
        self.fleeting: dict[int, list[int]] = {s: [] for s in symbols}

    # What is at stake

    def reach(self) -> Reach:
        """How far each symbol may get by what is under way."""
        found = {}
        for s, known in self.known.items():
            fleeting = sum(self.fleeting[s])
            found[s] = (
                known.confirmed + known.unresolved(1) + max(fleeting, 0),
                -known.confirmed + known.unresolved(-1) - min(fleeting, 0),
            )
        return found

    def mid(self, symbol: int) -> int | None:
        """Half ticks, of the last two-sided quote of the rows so far."""
        venue = self.venues[symbol]
        quote = venue.history.standing_at(venue.rows_done - 1)
        return None if quote is None else quote.mid

    def value_of(self, symbol: int) -> int:
        """Money of a lot."""
        return abs(self.mid(symbol) or 0) * self.value[symbol]

    def hear(self, now: int) -> None:
        """Let the trader hear of all symbols."""
        for s, venue in self.venues.items():
            while self.heard[s] < len(venue.reports):
                report: Report = venue.reports[self.heard[s]]
                if report.known > now:
                    break
                self.heard[s] += 1
                if report.id == FLATTENED:
                    self.known[s].confirmed += self.fleeting[s].pop(0)
                    continue
                number = report.number
                message = None if number is None else venue.inbox[number][1]
                self.known[s].hear(report, message)

    def allow(self, message: Message, side: int) -> int | None:
        """What the gate lets through of a message that is about to be sent."""
        now = message.sent
        if now > self.rules.end:
            return message.total
        self.hear(now)
        orders = self.known[message.symbol].orders.values()

        def growth(of: int, total: int) -> int:
            if message.action == "new":
                return total if message.side == of else 0
            alike = [o for o in orders if o.id == message.id and o.side == of]
            return sum(max(total - o.largest, 0) for o in alike)

        return self.gate.allow(message, now, growth, side)

    def send(self, message: Message) -> None:
        """Take note of a message that is sent."""
        if message.sent <= self.rules.end:
            self.gate.sent.append(message.sent)
        venue = self.venues[message.symbol]
        self.known[message.symbol].send(len(venue.inbox), message)

    # Time

    def run(self, commands: Sequence[tuple[int, Callable[[], None]]]) -> None:
        """Go through the market: at one instant rows first, then messages, then commands.

        Args:
            commands: when each is due and what it does, in their order.
        """
        waiting = [*commands]

        def until(ts: int) -> None:
            """All that happens before the row at ``ts``."""
            while waiting and waiting[0][0] < ts:
                due, command = waiting.pop(0)
                for venue in self.venues.values():
                    venue.advance(due)
                command()
            for venue in self.venues.values():
                venue.advance(ts - 1)

        for number, row in enumerate(self.rows):
            if row.ts > self.rules.end:
                break
            until(row.ts)
            self.step(number, row)
        until(2**63)
        for venue in self.venues.values():
            venue.finish()

    def step(self, number: int, row: Row) -> None:
        """One row, and what the equity after it leads to."""
        venue = self.venues[row.symbol]
        venue.expire(row.ts)
        venue.rows_done += 1
        venue.on_row(venue.rows_done - 1)
        venue.note_standing(row.ts)
        halted = self.switches.halted
        if halted is not None and row.ts < halted and is_open(self.rules.sessions, row.ts):
            self.flatten(number, row)
        if not self.switches.mark(row.ts, self.equity()):
            return
        for venue in self.venues.values():
            venue.halted = self.switches.halted
            venue.expire(row.ts)
            for order in venue.all_open():
                venue.withdraw(order, row.ts, "cancelled", self.response_of_row[number])
            venue.note_standing(row.ts)

    def flatten(self, number: int, row: Row) -> None:
        """Take what the touch displays against what is held."""
        venue, place = self.venues[row.symbol], self.venues[row.symbol].rows_done - 1
        held = sum(fill.lots for fill in venue.fills)
        if held == 0:
            return
        met = execute_at(venue.history, place, -held, venue.taken, self.impact)
        if met is None:
            return
        sign = -1 if held > 0 else 1
        price = 2 * met.touch + sign * met.step
        venue.fills.append(
            Fill(
                row.symbol, FLATTENED, row.ts, sign * met.lots, price, False,
                row.ts, row.ts, row.ts, row.ts, row.ts, met.step, number,
            )
        )  # fmt: skip
        venue.flattened.append(sign * met.lots)
        self.fleeting[row.symbol].append(sign * met.lots)
        response = self.response_of_row[number]
        venue.report(row.ts, FLATTENED, "filled", response, met.lots, met.touch)

    def equity(self) -> int:
        """Cash of all fills so far, and what is held at the mids."""
        total = 0
        for s, venue in self.venues.items():
            for fill in venue.fills:
                fee = self.maker_fee if fill.maker else self.taker_fee
                total -= fill.lots * fill.price_half_ticks * self.value[s]
                total -= fee(s, fill.lots, fill.price_half_ticks)
                total += fill.lots * (self.mid(s) or 0) * self.value[s]
        return total

    def result(self) -> Result:
        """What became of it all."""
        venues = [*self.venues.values()]
        return settle(venues, self.rules, self.value, self.maker_fee, self.taker_fee)


def simulate_limited_orders(
    rows: Sequence[Row],
    messages: Sequence[Message],
    rules: OrderRules,
    response_of_row: Sequence[int],
    *,
    limits: LimitRules,
    impact: Fraction = Fraction(0),
    value: Sequence[int] = (1, 1),
    maker_fee: Fee = no_fee,
    taker_fee: Fee = no_fee,
) -> tuple[Result, list[Breach]]:
    """As ``simulate_orders``, within limits; messages are in order of ``sent``."""
    market = HeldMarket(rows, rules, limits, response_of_row, impact, value, maker_fee, taker_fee)

    def command(message: Message) -> Callable[[], None]:
        def carry_out() -> None:
            allowed = market.allow(message, message.side)
            if allowed is not None:
                sent = cut(message, allowed)
                market.send(sent)
                market.venues[message.symbol].send(sent)

        return carry_out

    market.run([(m.sent, command(m)) for m in messages if m.symbol in market.venues])
    return market.result(), market.gate.breaches


def cut(message: Message, total: int) -> Message:
    """The message with another total."""
    return message if total == message.total else Message(**{**vars(message), "total": total})


def simulate_limited_quotes(
    rows: Sequence[Row],
    answers: Sequence[Answer],
    desk_rules: DeskRules,
    rules: OrderRules,
    response_of_row: Sequence[int],
    entry: Sequence[int],
    cancel: Sequence[int],
    replacing: Sequence[int],
    response: Sequence[int],
    *,
    limits: LimitRules,
    impact: Fraction = Fraction(0),
    value: Sequence[int] = (1, 1),
    maker_fee: Fee = no_fee,
    taker_fee: Fee = no_fee,
) -> tuple[Result, list[Breach]]:
    """As ``simulate_quotes``, within limits."""
    market = HeldMarket(rows, rules, limits, response_of_row, impact, value, maker_fee, taker_fee)
    desks = {}
    for s, venue in market.venues.items():
        desks[s] = HeldDesk(venue, desk_rules, entry, cancel, replacing, response)
        desks[s].market = market
        let_out(venue, market)
    newest: dict[tuple[int, int], Answer] = {}
    for answer in sorted(answers, key=lambda answer: answer.event):
        if answer.t3 <= rules.end:
            newest[rows[answer.event].symbol, answer.t3] = answer

    def command(answer: Answer) -> Callable[[], None]:
        return lambda: desks[rows[answer.event].symbol].on_answer(answer)

    due = sorted(newest.values(), key=lambda answer: (answer.t3, answer.event))
    market.run([(answer.t3, command(answer)) for answer in due])
    return market.result(), market.gate.breaches


def let_out(venue: Venue, market: HeldMarket) -> None:
    """Have the market take note of all that a desk sends."""
    send = venue.send

    def noted(message: Message) -> int:
        market.send(message)
        return send(message)

    venue.send = noted  # type: ignore[method-assign]
