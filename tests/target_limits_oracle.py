"""Limits of an account that trades towards targets, apart from the engine: event by event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction

from tests.limits_oracle import Breach, Gate, LimitRules, Reach, Switches
from tests.oracle import (
    TERMS,
    Account,
    Attribution,
    Event,
    Execution,
    Fill,
    NoClosingQuote,
    Rows,
    Sessions,
    Side,
    execute,
    execute_at,
    is_open,
    scaled,
)
from tests.order_records import Message


@dataclass
class Sent:
    """An order: signed lots, when it arrives and when the trader knows what became of it."""

    event: int
    lots: int
    t3: int
    t4: int
    t5: int
    filled: int = 0
    arrived: bool = False
    by_switch: bool = False


@dataclass
class LimitedAccount:
    """All symbols in one loop; arguments are those of ``tests.oracle.simulate_market``."""

    events: Sequence[Event]
    instants: Sequence[tuple[int, int, int, int]]
    """t0 to t3 of each event that is answered."""
    target: Callable[[int], int | None]
    entry: Sequence[int]
    response: Sequence[int]
    limits: LimitRules
    end: int
    value: Sequence[int]
    scale: float
    band: int
    impact: Fraction
    fee: Callable[[int, int, int], int]
    sessions: Sessions | None
    orders: dict[int, list[Sent]] = field(default_factory=dict)
    fills: dict[int, list[Fill]] = field(default_factory=dict)
    kept_out: int = 0

    def __post_init__(self) -> None:
        symbols = sorted({event.symbol for event in self.events})
        self.rows = {s: Rows(self.events, s) for s in symbols}
        self.done = dict.fromkeys(symbols, 0)
        self.orders = {s: [] for s in symbols}
        self.fills = {s: [] for s in symbols}
        self.taken: dict[int, dict[tuple[Side, int], int]] = {s: {} for s in symbols}
        self.now = 0
        self.gate = Gate(self.limits, self.reach, self.value_of)
        self.switches = Switches(self.limits, self.gate.breaches)

    def confirmed(self, symbol: int, now: int) -> int:
        """Lots that the trader knows to hold."""
        return sum(o.filled for o in self.orders[symbol] if o.t5 <= now)

    def reach(self) -> Reach:
        """How far each symbol may get by what is under way."""
        found = {}
        for s, orders in self.orders.items():
            held = self.confirmed(s, self.now)
            lots = [o.filled if o.by_switch else o.lots for o in orders if o.t5 > self.now]
            bought, sold = sum(max(n, 0) for n in lots), sum(max(-n, 0) for n in lots)
            found[s] = (held + bought, sold - held)
        return found

    def mid(self, symbol: int) -> int:
        """Half ticks, of the last two-sided quote of the rows so far; 0 without one."""
        quote = self.rows[symbol].standing_at(self.done[symbol] - 1)
        return 0 if quote is None else quote.mid

    def value_of(self, symbol: int) -> int:
        """Money of a lot."""
        return abs(self.mid(symbol)) * self.value[symbol]

    def run(self, answers: Sequence[int]) -> None:
        """Go through the market: rows first, then orders that arrive, then answers.

        Args:
            answers: events, in the order in which they are answered.
        """
        newest = {(self.events[i].symbol, self.instants[i][3]): i for i in sorted(answers)}
        waiting = [i for i in answers if newest[self.events[i].symbol, self.instants[i][3]] == i]
        for number, event in enumerate(self.events):
            if event.ts_event > self.end:
                break
            self.until(event.ts_event, waiting)
            self.step(number, event)
        self.until(2**63, waiting)

    def until(self, ts: int, waiting: list[int]) -> None:
        """All that happens before the row at ``ts``."""
        while waiting and self.instants[waiting[0]][3] < ts:
            self.arrive(self.instants[waiting[0]][3])
            self.answer(waiting.pop(0))
        self.arrive(ts - 1)

    def arrive(self, until: int) -> None:
        """Fill the orders that arrive by then."""
        for s, orders in self.orders.items():
            for order in orders:
                if not order.arrived and order.t4 <= until:
                    order.arrived = True
                    self.fill(s, order)

    def fill(self, symbol: int, order: Sent) -> None:
        """Let an order take what it meets."""
        if order.t4 > self.end:
            return
        halted = self.switches.halted
        if halted is not None and order.t4 < halted:
            self.kept_out += 1
            return
        if not is_open(self.sessions, order.t4):
            return
        rows = self.rows[symbol]
        met = execute(rows, order.t4, order.lots, self.taken[symbol], self.impact)
        if met is None:
            return
        order.filled = met.lots if order.lots > 0 else -met.lots
        t = (*self.instants[order.event], order.t4)
        mids = [rows.mid(each) for each in t]
        self.fills[symbol].append(
            self.booked(order.event, symbol, order.filled, met, (*t, order.t5), mids)
        )

    def answer(self, i: int) -> None:
        """Trade towards a target."""
        symbol, t3 = self.events[i].symbol, self.instants[i][3]
        wanted, self.now = self.target(i), t3
        if wanted is None:
            return
        orders = self.orders[symbol]
        lots = wanted - sum(o.filled if o.t5 <= t3 else o.lots for o in orders if not o.by_switch)
        lots -= sum(o.filled for o in orders if o.by_switch and o.t5 <= t3)
        if abs(lots) <= self.band:
            return
        if t3 <= self.end:
            side = 1 if lots > 0 else -1
            message = Message(symbol, t3, "new", -1, side, 0, abs(lots))
            allowed = self.gate.allow(
                message, t3, lambda of, total: total if of == side else 0, side
            )
            lots = side * (allowed or 0)
            if abs(lots) <= self.band:
                return
            self.gate.sent.append(t3)
        sent = [o.t4 for o in orders if not o.by_switch]
        t4 = max([t3 + scaled(self.entry[i], self.scale), *sent[-1:]])
        orders.append(Sent(i, lots, t3, t4, t4 + scaled(self.response[i], self.scale)))
        self.arrive(t3)

    def step(self, number: int, event: Event) -> None:
        """One row, and what the equity after it leads to."""
        symbol, ts = event.symbol, event.ts_event
        self.done[symbol] += 1
        halted = self.switches.halted
        held = sum(fill.lots for fill in self.fills[symbol])
        if halted is not None and ts < halted and held and is_open(self.sessions, ts):
            rows, place = self.rows[symbol], self.done[symbol] - 1
            met = execute_at(rows, place, -held, self.taken[symbol], self.impact)
            if met is not None:
                lots = -met.lots if held > 0 else met.lots
                known = ts + scaled(self.response[number], self.scale)
                self.orders[symbol].append(Sent(-1, 0, ts, ts, known, lots, True, True))
                t = (ts,) * 5
                self.fills[symbol].append(
                    self.booked(None, symbol, lots, met, (*t, known), [self.mid(symbol)] * 5)
                )
        self.switches.mark(ts, self.equity())

    def equity(self) -> int:
        """Cash of all fills so far, and what is held at the mids."""
        return sum(
            fill.cash + fill.lots * self.mid(s) * self.value[s]
            for s, fills in self.fills.items()
            for fill in fills
        )

    def booked(
        self, event: int | None, symbol: int, lots: int, met: Execution,
        instants: Sequence[int], mids: Sequence[int],
    ) -> Fill:  # fmt: skip
        """A fill with its terms."""
        closing = self.rows[symbol].closing(self.sessions, self.end)
        if closing is None:
            raise NoClosingQuote(f"symbol {symbol} has no quote to close at")
        sign = 1 if lots > 0 else -1
        price, money = 2 * met.touch + sign * met.step, self.value[symbol]
        charge = self.fee(symbol, lots, price)
        m0, m1, m2, m3, m4 = mids
        return Fill(
            event, symbol, lots, price, met.step, *instants,  # type: ignore[misc]
            cash=-lots * price * money - charge,
            decision=lots * (closing.mid - m0) * money,
            feed=lots * (m1 - m0) * money,
            queueing=lots * (m2 - m1) * money,
            service=lots * (m3 - m2) * money,
            entry=lots * (m4 - m3) * money,
            spread=lots * (2 * met.touch - m4) * money,
            impact=abs(lots) * met.step * money,
            fees=charge,
            displayed=met.displayed,
            taken=met.taken,
        )  # fmt: skip

    def account(self, unlimited: Account) -> Account:
        """What was earned; the ideal account, which knows no limits, is that of ``unlimited``."""
        account = Account(self.rows, self.value)
        for s, rows in self.rows.items():
            fills, closing = [*self.fills[s]], rows.closing(self.sessions, self.end)
            position = sum(fill.lots for fill in fills)
            account.closing_beyond[s] = 0
            if position != 0:
                assert closing is not None
                touch = closing.bid if position > 0 else closing.ask
                displayed = closing.bid_size if position > 0 else closing.ask_size
                account.closing_beyond[s] = max(0, abs(position) - displayed)
                met = Execution(abs(position), touch, 0, displayed, 0)
                mids = [closing.mid] * 5
                fills.append(self.booked(None, s, -position, met, [self.end] * 6, mids))
            account.fills += fills
            terms = Attribution(**{n: sum(getattr(f, n) for f in fills) for n in TERMS})
            terms.net = sum(fill.cash for fill in fills)
            other = unlimited.by_symbol[s]
            terms.ideal, terms.silence = other.ideal, other.silence
            if closing is not None:
                terms.missed = terms.ideal - terms.decision
                terms.liquidity = terms.missed - terms.silence
            account.by_symbol[s] = terms
        for column in fields(Attribution):
            amounts = [getattr(terms, column.name) for terms in account.by_symbol.values()]
            setattr(account.total, column.name, sum(amounts))
        return account

    @property
    def breaches(self) -> list[Breach]:
        """What limits did, in order."""
        return self.gate.breaches
