"""Loops that are sequential by nature, compiled by numba. Nothing here is imported before use.

Every loop has a plain Python twin that says the same more slowly: ``backtest.server`` for
``queueing``, ``backtest.execution`` and ``backtest.accounting`` for ``trading``.
"""

COMPILED_FROM = 20_000
"""Events from which on the compiled loops are worth loading."""
