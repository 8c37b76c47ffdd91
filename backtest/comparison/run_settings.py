"""What distinguishes runs: flat settings, short names, and whether they saw the same ticks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backtest.runs.folder import Run


def ticks(run: Run) -> tuple[str, ...]:
    """A value that is equal for two runs if they saw the same events."""
    config = run.manifest["config"]
    chosen = (config["window"], config["limit"], config.get("symbols"))
    tested = tuple(str(fold["test_ns"]) for fold in run.manifest.get("folds", ()))
    return (str(run.manifest["determined_by"]["data"]), *map(str, chosen), *tested)


def settings(run: Run) -> dict[str, Any]:
    """What determined a run, flat: parts as text, other settings by dotted key."""
    manifest = run.manifest
    labels, config = manifest["labels"], manifest["config"]
    flat: dict[str, Any] = {
        "strategy": labels["strategy"],
        "policy": labels["policy"],
        **{f"latency.{p}": labels[p] for p in ("service", "feed", "entry", "response")},
        "latency.scale": config["latency"]["scale"],
        "accountant": labels["accountant"],
        "sizing": labels["sizing"],
    }
    rest = {k: v for k, v in config.items() if k not in (*flat, "latency")}
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


def _flat(table: dict[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def labels_of(runs: Sequence[Run]) -> tuple[str, ...]:
    """The shortest distinct names for runs."""
    tables = [settings(run) for run in runs]
    parts = [[str(table["strategy"])] for table in tables]
    plain = ("policy", "latency.service", "latency.scale", "sizing", "accountant", "seed")
    others = [k for k in tables[0] if k not in plain and not k.startswith(("source.", "version."))]
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
