"""A run's row of figures, as far as its manifest and metrics hold them."""

from __future__ import annotations

from typing import Any

from backtest.comparison.profits import in_currency
from backtest.comparison.run_settings import MESSAGES
from backtest.runs.folder import Run
from backtest.trading.layout import COSTS

MONEY = ("net", "ideal", "missed", "silence", "liquidity", "decision", *COSTS)
"""Amounts of money in the account of a run, from what was possible to what each cause cost."""

BRACKET = ("through", "optimistic")
"""Queue models that fill the least and the most; of both, runs whose orders rest know the net."""

BOUNDS = tuple(f"net_{name}" for name in BRACKET)
"""What a run whose orders rest would have earned under these."""


def facts(run: Run) -> dict[str, Any]:
    """The figures of a run that its manifest and metrics hold, by the names of a comparison's rows.

    Raises:
        DataError: neither can be read.
    """
    manifest, metrics = run.manifest, run.metrics
    timing, account = metrics["timing"], metrics["account"]
    sojourn = timing["latency_ns"]["sojourn"]
    reference, targets = (metrics["accuracy"].get(k) or {} for k in ("reference", "targets"))
    labels, config = manifest["labels"], manifest["config"]
    points = account.get("net_points")
    row: dict[str, Any] = {
        "run": run.id,
        "strategy": labels["strategy"],
        "class": manifest["conformance"],
        "policy": labels["policy"],
        "service_model": labels["service"],
        "scale": config["latency"]["scale"],
        **{f"{kind}_model": labels.get(kind) for kind in MESSAGES},
        **{kind: labels.get(kind) for kind in ("sizing", "quoting", "queue")},
        "accountant": labels["accountant"],
        "warmup": config["warmup"],
        "seed": config["seed"],
        "dataset": manifest["dataset"],
        "partial": manifest["partial"],
        "in_sample": manifest["in_sample"],
        "folds": len(manifest["folds"]) if "folds" in manifest else None,
        "trials": sum(study["trials"] for study in manifest.get("studies", {}).values()) or None,
        "events": timing["events"],
        "response_rate": timing["response_rate"],
        "conflated_rate": _share(timing, "conflated"),
        "lost_rate": _share(timing, "dropped", "expired"),
        "sojourn_growth": timing.get("sojourn_growth"),
        **{f"{q}_ms": None if ns is None else ns / 1e6 for q, ns in sojourn.items()},
        "agreement": reference.get("correlation"),
        "rmse": reference.get("rmse"),
        "ic": targets.get("ic"),
        "r2": targets.get("r2"),
        "net_points": points,
        "currency": account.get("currency"),
        "unit": str(account.get("currency") or "") if points is None else "points",
    }
    bracket = (metrics.get("orders") or {}).get("bracket", {})
    bounds = {
        field: bracket.get(name, {}).get("net") for field, name in zip(BOUNDS, BRACKET, strict=True)
    }
    return row | {
        name: in_currency(run, amount)
        for name, amount in ({name: account.get(name) for name in MONEY} | bounds).items()
    }


def earned(row: dict[str, Any]) -> float | None:
    """What a run is ranked by: its net PnL, or its points."""
    value = row["net"] if row["net"] is not None else row["net_points"]
    return None if value is None else float(value)


def _share(timing: dict[str, Any], *statuses: str) -> float | None:
    """The share of events that came to one of these ends; ``None``: there are no events."""
    total = timing["events"]
    return sum(timing[status] for status in statuses) / total if total else None
