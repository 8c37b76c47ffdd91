"""Where rows of one sorted stream lie among those of another."""

from __future__ import annotations

from backtest.core.compiled import compiled


@compiled
def count_preceding(event_ts, event_seq, passed, at, ts, seq, row, follows):
    """Fill ``follows`` from ``row`` on: how many events precede each row by (ts, seq).

    Args:
        event_ts, event_seq: a piece of the events in order, int64 [m]; ``passed`` lie before it.
        at: how many of the piece precede the row before.
        ts, seq: of the rows in order, int64 [n].

    Returns the row and the event at which it stopped: all rows, or all of the piece's events,
    after which the row needs the next piece. An event with a row's very key precedes it.
    """
    events, rows = len(event_ts), len(ts)
    while row < rows:
        now, number = ts[row], seq[row]
        while at < events and (
            event_ts[at] < now or (event_ts[at] == now and event_seq[at] <= number)
        ):
            at += 1
        if at == events:
            break
        follows[row] = passed + at
        row += 1
    return row, at
