"""Resting orders here and in hftbacktest, order by order: ``python -m benchmarks.order_differences
FILE``.

FILE is a recording of one USD-margined future of Binance, lines ``local_ns JSON`` of the streams
``bookTicker``, ``trade`` and ``depth@0ms``: hftbacktest's collector writes such files, and its
documentation links samples of BTCUSDT (https://github.com/nkaz001/hftbacktest). One list of
post-only orders at the touch and one tick behind it, cancelled after some seconds, goes to

- hftbacktest on the depth, converted by its own ``binancefutures.convert``;
- the same, where ``bookTicker`` tells the touch and the depth only what lies behind it;
- the same on the touch alone, which is what this engine has;
- this engine: strategy ``order-list``, queue ``trades``, through and cross ``full``.

Where two of them differ in the fate of an order, the reason is what lies between them; where the
last two do, ``order_rules`` says by which rule.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from backtest.core.environment import versions
from benchmarks.order_engines import ours, speeds, theirs
from benchmarks.order_feeds import (
    LATENCY,
    MS,
    depth_events,
    ingested,
    messages_of,
    order_list,
    ticks_of,
    touch_events,
)
from benchmarks.order_rules import Fate, Rules, fates
from benchmarks.peers import python_with
from benchmarks.timing import parser_of

_FEEDS = ("depth", "depth, touch of bookTicker", "touch")
_MODELS = ("through", "trades", "power:2", "optimistic")
_PAIRED = "trades, pairing 50 ms"
_STEPS = (
    ("a queue behind the touch is unknown until it is displayed", Rules(True, False, False)),
    ("own orders share what a print traded", Rules(True, True, False)),
    ("a print fills no more than it traded beyond the queue", Rules(True, True, True)),
)


def main() -> None:
    """Run it."""
    parser = parser_of(__doc__, repeats=5)
    parser.add_argument("file", type=Path)
    parser.add_argument("--orders", type=int, default=2000)
    parser.add_argument("--copies", type=int, default=10, help="of the day, for the speeds")
    given = parser.parse_args()
    scratch = given.scratch / "order-differences"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    python = python_with(given.scratch, "hftbacktest")
    day, dataset = ingested(given.file, scratch / "day")
    feeds = {name: scratch / f"{k}.npz" for k, name in enumerate(_FEEDS)}
    depth = depth_events(python, given.file, feeds["depth"])
    np.savez(feeds["depth, touch of bookTicker"], data=touch_events(day, depth))
    np.savez(feeds["touch"], data=touch_events(day))
    command = f"python -m benchmarks.order_differences {given.file.name} --copies {given.copies}"
    found: dict[str, Any] = {"command": command}
    for name, lots in (("one lot each", (1,)), ("1, 20 and 200 lots", (1, 20, 200))):
        listed = order_list(day, given.orders, lots)
        fate_of = {feed: theirs(python, of, listed, scratch) for feed, of in feeds.items()}
        for queue in _MODELS:
            fate_of[queue] = ours(dataset, listed, scratch, queue=queue)
        fate_of[_PAIRED] = ours(dataset, listed, scratch, pairing="50ms")
        found[name] = _compared(day, listed, fate_of)
    found["speed"] = speeds(
        python, day, {name: feeds[name] for name in ("depth", "touch")}, given, scratch
    )
    found["versions"] = _versions(python)
    found["load"] = round(os.getloadavg()[0], 2)
    print(json.dumps(found, indent=2))  # noqa: T201


def _compared(
    day: Mapping[str, Any], listed: Mapping[str, Any], fate_of: Mapping[str, dict[int, Fate]]
) -> dict[str, Any]:
    """How many orders have another fate from one engine or rule to the next."""
    ticks, messages = ticks_of(day), messages_of(listed)
    own, touch = fate_of["trades"], fate_of["touch"]
    before = fates(ticks, messages, Rules(False, False, False))
    behind = _behind(day, listed)
    steps: dict[str, Any] = {}
    for some, others in pairwise(_FEEDS):
        for where, chosen in (("at the touch", ~behind), ("behind it", behind)):
            those = [order for order in own if chosen[order]]
            steps[f"{some} -> {others}: {where}"] = _changes(fate_of[some], fate_of[others], those)
    stated = _differing(touch, before)
    for what, rules in _STEPS:
        after = fates(ticks, messages, rules)
        steps[what] = _changes(before, after, [*own])
        before = after
    return {
        "orders": len(own),
        "of these behind the touch": int(behind.sum()),
        "fates": {name: _summary(of) for name, of in fate_of.items()},
        "same as trades": {
            name: sum(fate_of[name][order] == own[order] for order in own)
            for name in (*_FEEDS, _PAIRED)
        },
        "steps": steps,
        "touch there, and its rules stated again: differ": stated,
        "all rules exchanged, and here: differ": _differing(before, own),
        "filled more by a model that fills less": _out_of_order(fate_of),
    }


def _out_of_order(fate_of: Mapping[str, dict[int, Fate]]) -> int:
    """Orders of which a queue model fills more lots than one that can only fill more."""
    return sum(
        fate_of[less][order].lots > fate_of[more][order].lots
        for less, more in pairwise(_MODELS)
        for order in fate_of[less]
    )


def _summary(of: Mapping[int, Fate]) -> dict[str, int]:
    ends = Counter(fate.end for fate in of.values())
    filled = [fate.lots for fate in of.values() if fate.lots]
    return {**dict(sorted(ends.items())), "orders with fills": len(filled), "lots": sum(filled)}


def _differing(some: Mapping[int, Fate], others: Mapping[int, Fate]) -> list[Any]:
    return [[k, some[k], others[k]] for k in some if some[k] != others[k]][:10]


def _changes(
    before: Mapping[int, Fate], after: Mapping[int, Fate], orders: list[int]
) -> dict[str, int]:
    """What changes of some orders, and how often."""
    kinds: Counter[str] = Counter()
    for order in orders:
        old, new = before[order], after[order]
        if old == new:
            continue
        if (old.end == "rejected") != (new.end == "rejected"):
            kinds["rejected in one alone"] += 1
        elif not (old.lots and new.lots):
            kinds["filled before alone" if old.lots else "filled after alone"] += 1
        elif old.lots != new.lots:
            kinds["fewer lots" if new.lots < old.lots else "more lots"] += 1
        else:
            near = abs(old.time - new.time) <= 100 * MS
            kinds[
                f"{'earlier' if new.time < old.time else 'later'}"
                f"{' by 100 ms at most' if near else ''}"
            ] += 1
    return {"orders": sum(kinds.values()), **dict(sorted(kinds.items()))}


def _behind(day: Mapping[str, Any], listed: Mapping[str, Any]) -> Any:
    """Which orders arrive behind the touch, by id."""
    new = listed["action"] == 0
    rows = np.searchsorted(day["ts_event"], listed["sent"][new] + LATENCY) - 1
    side, price = listed["side"][new], listed["price"][new]
    touch = np.where(side > 0, day["bid"][rows], day["ask"][rows])
    behind = np.zeros(int(listed["id"].max()) + 1, dtype=np.bool_)
    behind[listed["id"][new]] = side * price < side * touch
    return behind


def _versions(python: Path) -> dict[str, str]:
    program = "import hftbacktest, numba, numpy; print(hftbacktest.__version__, numba.__version__)"
    done = subprocess.run([python, "-c", program], check=True, capture_output=True, text=True)
    theirs, compiler = done.stdout.split()
    return {"hftbacktest": theirs, "its numba": compiler, **versions()}


if __name__ == "__main__":
    main()
