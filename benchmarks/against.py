"""Whole runs of two checkouts in turn: ``python -m benchmarks.against FOLDER``.

FOLDER is a checkout of another commit (``git worktree add FOLDER COMMIT``). Both read the same
files and do the same: 39 symbols of quotes, a rule, the market accountant, a run folder. CPU
seconds are those of all threads, and what both are compared by, since a busy machine stretches
wall time first.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

from benchmarks.data import dataset
from benchmarks.running import RUN
from benchmarks.timing import parser_of

_RUNS = """
import json, resource, shutil, sys, time
sys.path.insert(0, {root!r})
import backtest
found = []
for repeat in range({repeats} + 1):
    shutil.rmtree({runs!r}, ignore_errors=True)
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    backtest.run(dataset={folder!r}, runs={runs!r}, **{run!r})
    spent, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    found.append((cpu, spent, after.ru_minflt - before.ru_minflt))
print(json.dumps(found[1:]))
"""


def main() -> None:
    """Run it."""
    parser = parser_of(__doc__, repeats=3)
    parser.add_argument("folder", type=Path, help="a checkout of another commit")
    parser.add_argument("--rounds", type=int, default=4, help="how often both take their turn")
    given = parser.parse_args()
    folder = dataset(given.scratch, given.events)
    trees = {"this": Path(__file__).parents[1], "other": given.folder.resolve()}
    spent: dict[str, list[tuple[float, float, int]]] = {name: [] for name in trees}
    ratios = []
    for _ in range(given.rounds):
        for name, tree in trees.items():
            program = _RUNS.format(
                root=str(tree), repeats=given.repeats, folder=str(folder),
                runs=str(given.scratch / f"runs-{name}"), run=RUN,
            )  # fmt: skip
            command = [sys.executable, "-c", program]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tree)
            spent[name] += json.loads(done.stdout)
        latest = {
            name: median(cpu for cpu, _, _ in of[-given.repeats :]) for name, of in spent.items()
        }
        ratios.append(latest["this"] / latest["other"])
    for name, of in spent.items():
        cpu, wall, faults = (sorted(values) for values in zip(*of, strict=True))
        speeds = [given.events / seconds / 1e6 for seconds in (wall[0], median(wall))]
        print(  # noqa: T201
            f"{name:5}  CPU ns an event {cpu[0] / given.events * 1e9:.0f} best, "
            f"{median(cpu) / given.events * 1e9:.0f} median; million events/s "
            f"{speeds[0]:.2f} best, {speeds[1]:.2f} median; "
            f"page faults {median(faults):.0f}"
        )
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"CPU of this to the other, round by round: {shown}")  # noqa: T201


if __name__ == "__main__":
    main()
