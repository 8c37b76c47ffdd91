"""From events in bus order to arrivals in the order of receipt."""

from __future__ import annotations

from backtest.core.compiled import compiled_counting, inlined


@compiled_counting
def receive(symbols, ts_event, feed, latest, received):
    """Receipts: the running maximum of ts_event + feed by symbol, carried in ``latest`` [S]."""
    for i in range(len(symbols)):
        s = symbols[i]
        t = max(ts_event[i] + feed[i], latest[s])
        latest[s] = t
        received[i] = t


@compiled_counting
def arrive(number, ts_event, first, received, heap, count, order, placed):
    """Put the arrivals that are certain at the end of ``order``, by receipt, then bus order.

    No event is received before it happens: what is received until the ``ts_event`` of an event is
    ahead of it and of all that follow. The others are on their way, in a heap by receipt.

    Args:
        number: of the first new event.
        ts_event: of the new events, ns.
        first: number of the event in row 0 of ``received``.
        heap: room for the ``count`` events that are on their way, and the new ones.
        order: event numbers by position modulo its length, a power of two; ``placed`` so far.

    Returns:
        ``count`` and ``placed``.
    """
    for i in range(len(ts_event)):
        while count > 0 and received[heap[0] - first] <= ts_event[i]:
            order[placed & (len(order) - 1)] = heap[0]
            placed += 1
            count = _pop_earliest(heap, count, received, first)
        _push_flight(heap, count, number + i, received, first)
        count += 1
    return count, placed


@compiled_counting
def arrive_all(first, received, heap, count, order, placed):
    """Put what is on its way at the end of ``order`` as well; returns ``placed``."""
    while count > 0:
        order[placed & (len(order) - 1)] = heap[0]
        placed += 1
        count = _pop_earliest(heap, count, received, first)
    return placed


@inlined
def _push_flight(heap, count, e, received, first):
    at = count
    while at > 0:
        parent = (at - 1) >> 1
        if received[heap[parent] - first] <= received[e - first]:  # a tie: the parent came before
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = e


@inlined
def _pop_earliest(heap, count, received, first):
    """Remove the earliest of ``count`` events; how many are left."""
    count -= 1
    e = heap[count]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= count:
            break
        if child + 1 < count and _earlier(heap[child + 1], heap[child], received, first):
            child += 1
        if not _earlier(heap[child], e, received, first):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = e
    return count


@inlined
def _earlier(a, b, received, first):
    return received[a - first] < received[b - first] or (
        received[a - first] == received[b - first] and a < b
    )
