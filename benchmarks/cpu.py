"""CPU benchmarks: ``python -m benchmarks.cpu``. JSON on stdout, or a table with ``--table``.

Each figure is the best and the median of several runs, in million events a second, beside the load
average while it was taken and beside a bound: what the same machine does where nothing but the
unavoidable is done.
"""

from __future__ import annotations

import json
import os
import platform
from typing import Any

from benchmarks.data import dataset
from benchmarks.peers import peers
from benchmarks.reading import reading
from benchmarks.running import closed_loop, end_to_end, memory, queues
from benchmarks.timing import parser_of

_READ = {
    "quotes": "one file of quotes",
    "merge": "39 files of quotes merged in time",
    "features_wide": "79 features in columns, handed out row by row",
    "features_packed": "79 features in one column, handed out row by row",
}

_AIMED_AT = {
    "quotes": "60 %, then 90 % of the bound",
    "features_wide": "60 %, then 87 % of the bound",
    "features_packed": "60 %, then 87 % of the bound",
    "all": "100",
    "newest-per-symbol": "30",
    "end_to_end": "8",
    "closed_loop": "1.5, then 6",
}
"""Medians that the project aims at, where it has said so: first what must be, then what may be."""


def table(results: dict[str, Any]) -> str:
    """The figures as a Markdown table, each beside its bound and what is aimed at."""
    rows: list[tuple[str, str, dict[str, Any], str, dict[str, Any]]] = []
    read = results["reading"]
    for key, what in _READ.items():
        rows.append((key, f"bus: {what}", read[key]["bus"], "bare scan of them", read[key]["scan"]))
    passes = dict(results["pass_1"])
    copy = passes.pop("copy")
    rows += [
        (name, f"pass 1, `{name}`", row, "its columns copied", copy) for name, row in passes.items()
    ]
    whole, scan = results["end_to_end"], read["quotes"]["scan"]
    whole_run = "end to end: quotes, rule, market, run folder"
    rows.append(("end_to_end", whole_run, whole, "bare scan", scan))
    loop = results["closed_loop"]
    calls = "the calls alone", loop["calls"]
    rows.append(("closed_loop", "closed loop, batches of 16", loop["loop"], *calls))
    lines = [
        "| million events/s | best | median | bound | median | of the bound | aimed at | load |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for key, what, row, bound, of in rows:
        figures = f"{row['best']:.3g} | {row['median']:.3g} | {bound} | {of['median']:.3g}"
        share = f"{row['median'] / of['median']:.0%}"
        lines.append(f"| {what} | {figures} | {share} | {_AIMED_AT.get(key, '')} | {row['load']} |")
    for name, row in results.get("peers", {}).items():
        speed = row.get("median", row.get("unavailable"))
        load = row.get("load", "")
        lines.append(f"| {name}, {row.get('what', '')} | {speed} | | | | | | {load} |")
    if "memory" in results:
        short, long = results["memory"].items()
        lines += [
            "",
            f"Peak resident memory of a whole run: {short[1]:,} MB with {short[0]:,} events, "
            f"{long[1]:,} MB with {long[0]:,} ({long[1] / short[1]:.2f} times as much; aimed at: "
            "1.2 at most).",
        ]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmarks."""
    parser = parser_of(__doc__, repeats=5)
    parser.add_argument("--long", type=int, default=0, help="also compare memory with so many")
    parser.add_argument("--peers", action="store_true", help="install and run other engines")
    parser.add_argument("--table", action="store_true", help="print a table instead of JSON")
    given = parser.parse_args()
    events, repeats, scratch = given.events, given.repeats, given.scratch
    folder = dataset(scratch, events)
    results: dict[str, Any] = {
        "machine": {"platform": platform.platform(), "cores": os.cpu_count()},
        "reading": reading(scratch, events, repeats),
        "pass_1": queues(events, repeats),
        "end_to_end": end_to_end(folder, events, repeats, scratch),
        "closed_loop": closed_loop(min(events, 1_000_000), repeats),
    }
    if given.long:
        results["memory"] = memory(scratch, events, given.long)
    if given.peers:
        results["peers"] = peers(scratch, min(events, 2_000_000), repeats)
    print(table(results) if given.table else json.dumps(results, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
