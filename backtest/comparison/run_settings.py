"""What distinguishes runs: flat settings, short names, and whether they saw the same ticks."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from backtest.runs.folder import Run

FACTORS = (
    "dataset",
    "window.start",
    "window.end",
    "strategy",
    "policy",
    "latency.service",
    "latency.scale",
    "latency.feed",
    "latency.entry",
    "latency.cancel",
    "latency.replace",
    "latency.response",
    "sizing",
    "quoting",
    "fills.queue",
    "accountant",
    "warmup",
    "limit",
    "seed",
)
"""The settings that runs are sorted by, the first deciding."""

MESSAGES = ("feed", "entry", "cancel", "replace", "response")
"""What has a latency besides the service; cancels and replacements where orders rest."""


def ticks(run: Run) -> tuple[str, ...]:
    """A value that is equal for two runs if they saw the same events."""
    config = run.manifest["config"]
    chosen = (config["window"], config["limit"], config.get("symbols"))
    tested = tuple(str(fold["test_ns"]) for fold in run.manifest.get("folds", ()))
    return (str(run.manifest["determined_by"]["data"]), *map(str, chosen), *tested)


def shared_zone(runs: Sequence[Run]) -> str:
    """The zone of the clocks of all runs' markets; UTC where they differ."""
    zones = {run.hours.zone for run in runs}
    return zones.pop() if len(zones) == 1 else "UTC"


def reference_of(run: Run) -> str | None:
    """The strategy whose answers a run's are held against; ``None``: its own, to every event."""
    manifest = run.manifest
    reference = manifest.get("reference")
    return None if reference == manifest["config"]["strategy"].get("name") else reference


def chosen(name: str) -> bool:
    """Whether a setting was chosen for the run, and does not describe its inputs or machine."""
    found = ("data", "device_model")
    return name not in found and not name.startswith(("fingerprint.", "version.", "source."))


def told_apart(name: str, values: Sequence[Any]) -> bool:
    """Whether a setting that differs tells runs apart that it applies to.

    How resting orders fare applies to runs alone whose orders rest; they are told apart from the
    others by their quoting rules.

    Args:
        name: of the setting.
        values: each run's; ``None`` where it has none.
    """
    if name.startswith("fills.") or name in ("latency.cancel", "latency.replace"):
        return len({str(value) for value in values if value is not None}) > 1
    return True


def order(run: Run) -> tuple[Any, ...]:
    """What runs are sorted by: dataset, strategy, policy, latencies and the rest of ``FACTORS``.

    Numbers count as numbers, also within text, so that ``at-most:8`` comes before ``at-most:16``.
    """
    table = settings(run)
    return (*(_natural(table.get(name)) for name in FACTORS), run.id)


def short_ids(runs: Sequence[Run]) -> tuple[str, ...]:
    """The ends of the runs' ids, six characters or as many as tell them apart."""
    ids = [run.id for run in runs]
    distinct = len(set(ids))
    length = 6
    while len({name[-length:] for name in ids}) < distinct:
        length += 1
    return tuple(name[-length:] for name in ids)


def settings(run: Run) -> dict[str, Any]:
    """What determined a run, flat: parts as text, other settings by dotted key."""
    manifest = run.manifest
    labels, config = manifest["labels"], manifest["config"]
    flat: dict[str, Any] = {
        "strategy": labels["strategy"],
        "policy": labels["policy"],
        **{f"latency.{p}": labels[p] for p in ("service", *MESSAGES) if labels.get(p)},
        "latency.scale": config["latency"]["scale"],
        "accountant": labels["accountant"],
        **{part: labels[part] for part in ("sizing", "quoting") if labels.get(part)},
    }
    rest = {k: v for k, v in config.items() if k not in (*flat, "latency")}
    if labels.get("queue"):
        flat["fills.queue"] = labels["queue"]
        rest["fills"] = {k: v for k, v in rest["fills"].items() if k != "queue"}
    flat |= _flat(rest, "")
    inputs = manifest["determined_by"]
    flat["data"] = inputs["data"]
    flat |= _flat(inputs.get("fingerprint") or {}, "fingerprint.")
    flat["device_model"] = inputs.get("device")
    flat |= _flat(inputs.get("versions") or {}, "version.")
    # Sources of the parts that are the same by name, and still differ.
    return flat | {
        f"source.{place}": origin.get("sha256")
        for place, origin in (inputs.get("origins") or {}).items()
        if place != "strategy"
    }


def _natural(value: Any) -> tuple[Any, ...]:
    """A key that sorts absent values first, then numbers, then text with its numbers as such."""
    if value is None:
        return (0,)
    if isinstance(value, (int, float)):
        return (1, value)
    pieces = re.split(r"(\d+(?:\.\d+)?)", str(value))
    return (2, *((float(p), "") if k % 2 else (0.0, p) for k, p in enumerate(pieces)))


def _flat(table: dict[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def labels_of(runs: Sequence[Run], without: Collection[str] = ()) -> tuple[str, ...]:
    """The shortest distinct names for runs.

    Args:
        runs: whose names are wanted.
        without: settings that are not part of a name, such as one that an axis shows.
    """
    tables = [
        {name: value for name, value in settings(run).items() if name not in without}
        for run in runs
    ]
    parts = [[str(table["strategy"])] for table in tables]
    plain = (
        "policy", "latency.service", "latency.scale", "sizing", "quoting", "fills.queue",
        "accountant", "seed",
    )  # fmt: skip
    every = dict.fromkeys(name for table in tables for name in table)
    others = [k for k in every if k not in plain and not k.startswith(("source.", "version."))]
    for name in (*plain, *others):
        if len({tuple(p) for p in parts}) == len(runs):
            break
        if len({str(table.get(name)) for table in tables}) == 1:
            continue
        shown = {"latency.scale": "x{:g}", "seed": "seed {}"}.get(name, "{}")
        for part, table in zip(parts, tables, strict=True):
            value = table.get(name)
            part.append("-" if value is None else shown.format(value)[:40])
    labels = [", ".join(part) for part in parts]
    if len(set(labels)) == len(labels):
        return tuple(labels)
    return tuple(
        f"{label}, {run.id[-6:]}" if labels.count(label) > 1 else label
        for label, run in zip(labels, runs, strict=True)
    )
