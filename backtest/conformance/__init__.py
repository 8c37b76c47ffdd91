"""Checks that a strategy is what it claims to be.

``properties`` holds for any strategy, whatever it computes; ``comparison`` judges answers and state
against plain steps in float64; ``verification`` does both to one strategy and gives the verdict.
"""
