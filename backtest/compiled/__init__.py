"""Loops that are sequential by nature, compiled by numba. Nothing here is imported before use.

Every loop has a plain Python twin that says the same more slowly: ``backtest.timing.server`` for
``queueing``, ``backtest.execution`` and ``backtest.accounting`` for ``trading``.

Numbers that index are cast to ``np.uint64`` where it counts: for others numba provides for negative
ones, which takes a few instructions each time and keeps loops from being vectorised.
"""
