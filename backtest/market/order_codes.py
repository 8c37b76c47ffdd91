"""Codes of messages to the venue and of its reports, for strategies, the venue and tables."""

from __future__ import annotations

ACTIONS = {"new": 1, "cancel": 2, "cancel_all": 3, "replace": 4}
"""What a message asks for."""

TIMES_IN_FORCE = {"gtc": 0, "ioc": 1, "fok": 2}
"""How long an order works: until it is cancelled; what fills at once; all of it at once or none."""

POST_ONLY = {"no": 0, "reject": 1, "slide": 2}
"""What becomes of an order that would take: it takes, is rejected, or moves off the touch."""

REPORTS = (
    *("accepted", "rejected", "filled", "took", "cancelled", "replaced", "expired", "late"),
    "flattened",
)
"""What the venue reports, by code: an order is filled while it rests, or takes on arrival; a switch
of the limits flattens a position."""

MOST_LOTS = 2**53
"""The largest total of an order."""

MOST_PRICE = 2**60
"""The largest price of an order either way, ticks."""

FLATTENED = -2
"""The id of an order by which a switch of the limits flattens."""
