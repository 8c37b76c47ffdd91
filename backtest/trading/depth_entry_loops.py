"""Compiled: the orders of the market by symbol and id, in a hash table with open addressing."""

from __future__ import annotations

from backtest.core.compiled import compiled
from backtest.trading import depth_layout as dl

_LOW = (1 << 31) - 1


@compiled
def _home(s, order_id, mask):
    """Where the search for an order begins; every product fits 63 bits."""
    low, high = order_id & _LOW, (order_id >> 31) & _LOW
    mixed = (low * 0x9E3779B1) ^ (high * 0x5BD1E995) ^ (s * 0x27D4EB2F)
    return (mixed >> 29) & mask


@compiled
def find_entry(s, order_id, sides, entries, state):
    """The place of an order; -1: it is not there, or went with its side."""
    mask = len(entries) - 1
    place = _home(s, order_id, mask)
    while entries[place, dl.E_SIDE] != 0:
        entry = entries[place]
        if entry[dl.E_ID] == order_id and entry[dl.E_SYMBOL] == s:
            of = sides[2 * s + (entry[dl.E_SIDE] < 0)]
            if entry[dl.E_CLEARED] == of[dl.CLEARED]:
                return place
            remove_entry(place, entries, state)
            return -1
        place = (place + 1) & mask
    return -1


@compiled
def add_entry(s, order_id, side, price, size, moment, restated, sides, entries, state):
    """Note an order that is not there; there is room for it."""
    mask = len(entries) - 1
    place = _home(s, order_id, mask)
    while entries[place, dl.E_SIDE] != 0:
        place = (place + 1) & mask
    entry = entries[place]
    entry[dl.E_ID], entry[dl.E_SYMBOL], entry[dl.E_SIDE] = order_id, s, side
    entry[dl.E_PRICE], entry[dl.E_SIZE] = price, size
    entry[dl.E_MOMENT], entry[dl.E_RESTATED] = moment, restated
    entry[dl.E_CLEARED] = sides[2 * s + (side < 0), dl.CLEARED]
    state[dl.HELD] += 1


@compiled
def remove_entry(place, entries, state):
    """Free an entry; those that it had pushed further move up."""
    mask = len(entries) - 1
    hole = here = place
    while True:
        here = (here + 1) & mask
        entry = entries[here]
        if entry[dl.E_SIDE] == 0:
            break
        home = _home(entry[dl.E_SYMBOL], entry[dl.E_ID], mask)
        if ((here - home) & mask) >= ((here - hole) & mask):
            for column in range(dl.ENTRY_SIZE):
                entries[hole, column] = entry[column]
            hole = here
    entries[hole, dl.E_SIDE] = 0
    state[dl.HELD] -= 1


@compiled
def count_live(sides, entries):
    """Orders that have not gone with their sides."""
    live = 0
    for place in range(len(entries)):
        live += _is_live(entries[place], sides)
    return live


@compiled
def _is_live(entry, sides):
    if entry[dl.E_SIDE] == 0:
        return False
    of = sides[2 * entry[dl.E_SYMBOL] + (entry[dl.E_SIDE] < 0)]
    return entry[dl.E_CLEARED] == of[dl.CLEARED]


@compiled
def rehash(entries, larger, sides, state):
    """Move the orders that are there into another table, whose entries are free."""
    state[dl.HELD] = 0
    for place in range(len(entries)):
        entry = entries[place]
        if _is_live(entry, sides):
            add_entry(
                entry[dl.E_SYMBOL], entry[dl.E_ID], entry[dl.E_SIDE], entry[dl.E_PRICE],
                entry[dl.E_SIZE], entry[dl.E_MOMENT], entry[dl.E_RESTATED], sides, larger, state,
            )  # fmt: skip
