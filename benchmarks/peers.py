"""Other engines on the same ticks, each in an environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import quotes

_PEERS = {"hftbacktest": "hftbacktest==2.4.4", "nautilus": "nautilus_trader"}


def peers(scratch: Path, events: int) -> dict[str, Any]:
    """Other engines on the same ticks, each in an environment of its own; or why there is none."""
    found: dict[str, Any] = {}
    ticks = [*quotes(events)]
    columns = ("symbol", "ts_event", "bid", "ask", "bid_size", "ask_size")
    path = scratch / f"ticks-{events}.npz"
    np.savez(path, **{c: np.concatenate([getattr(b, c) for b in ticks]) for c in columns})
    for name, requirement in _PEERS.items():
        home = scratch / f"venv-{name}"
        python = home / "bin" / "python"
        try:
            if not python.exists():
                subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            install = [str(python), "-m", "pip", "install", "--quiet", requirement]
            subprocess.run(install, check=True, capture_output=True, text=True)
            script = Path(__file__).with_name(f"peer_{name}.py")
            done = subprocess.run(
                [str(python), str(script), str(path)], check=True, capture_output=True, text=True
            )
            found[name] = json.loads(done.stdout.splitlines()[-1])
        except subprocess.CalledProcessError as error:
            last = (error.stderr or str(error)).strip().splitlines()
            found[name] = {"unavailable": last[-1] if last else str(error)}
    return found
