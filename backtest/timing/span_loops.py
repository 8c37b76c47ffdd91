"""How long a batch is served, from the table of the latency model."""

from __future__ import annotations

import numpy as np

from backtest.core.addresses import float64_array, int32_array, int64_array
from backtest.core.compiled import compiled_counting, inlined
from backtest.timing import layout as at


@compiled_counting
def span_of_passes(places, number, count):
    """Scaled service time of the batch in ``taken``, pass by pass; -1 where the table does not know
    the size of one (then in the state). What cannot be counted is ``LONGEST``."""
    rules, base = int64_array(places, at.RULES_ARRAY), int64_array(places, at.BASE_ARRAY)
    rounds, sizes = int64_array(places, at.ROUNDS_ARRAY), int64_array(places, at.SIZES_ARRAY)
    scale = float64_array(places, at.SCALE_ARRAY)[0]
    passes = _count_passes(places, count)
    draw = number - rules[at.FIRST_DRAW] if len(base) > 1 else np.int64(0)
    span = np.int64(0)
    if len(sizes) == 0:
        each, per_event = base[draw], rules[at.PER_EVENT]
        if float(passes) * each + float(per_event) * count >= at.LONGEST:
            return np.int64(at.LONGEST)
        span = passes * each + per_event * count
    for k in range(passes if len(sizes) > 0 else 0):
        piece = _between_sizes(places, rounds[k], draw)
        if piece < 0:
            int64_array(places, at.STATE_ARRAY)[at.SIZE] = rounds[k]
            return np.int64(-1)
        if piece >= at.LONGEST - span:
            return np.int64(at.LONGEST)
        span += np.int64(piece)
    if scale == 1.0:
        return span
    scaled = np.rint(span * scale)
    return np.int64(at.LONGEST) if scaled >= at.LONGEST else np.int64(scaled)


@inlined
def _count_passes(places, count):
    """Fill ``rounds`` with the sizes of the passes that serve a batch; how many there are."""
    rules, rounds = int64_array(places, at.RULES_ARRAY), int64_array(places, at.ROUNDS_ARRAY)
    taken, symbols = int64_array(places, at.TAKEN_ARRAY), int32_array(places, at.SYMBOL_ARRAY)
    seen = int64_array(places, at.SEEN_ARRAY)
    if rules[at.PASSES] == at.PACKED:
        rounds[0] = count
        return np.int64(1)
    if rules[at.PASSES] == at.SINGLE:
        for k in range(count):
            rounds[k] = 1
        return count
    passes = np.int64(0)
    for k in range(count):
        s = symbols[taken[k] - rules[at.FIRST]]
        seen[s] += 1
        if seen[s] > passes:  # the first symbol to come so often opens a round
            passes = seen[s]
            rounds[passes - 1] = 0
        rounds[seen[s] - 1] += 1
    for k in range(count):
        seen[symbols[taken[k] - rules[at.FIRST]]] = 0
    return passes


@inlined
def _between_sizes(places, size, draw):
    """The span of a pass between the nearest two measured sizes, ns; -1 outside of them."""
    sizes, quantiles = (
        int64_array(places, at.SIZES_ARRAY),
        float64_array(places, at.QUANTILES_ARRAY),
    )
    width = len(sizes)
    if size < sizes[0] or size > sizes[width - 1]:
        return -1.0
    upper = 0
    while sizes[upper] < size:
        upper += 1
    lower = upper if sizes[upper] == size else upper - 1
    weight = (size - sizes[lower]) / max(sizes[upper] - sizes[lower], 1)
    low, high = quantiles[draw * width + lower], quantiles[draw * width + upper]
    return np.rint(low + weight * (high - low))
