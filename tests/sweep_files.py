"""Sweep files, and strategies that misbehave, for the tests of sweeps and executors."""

from __future__ import annotations

from pathlib import Path

PLUGIN = '''
import ctypes
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import backtest
from backtest.core.parameters import OutputPath


@dataclass
class Faulty(backtest.Strategy):
    """Answers by the imbalance of sizes, once it has done its mischief."""

    log: OutputPath
    fault: str = "none"
    times: int = 1
    lean: float = 0.0
    needs_features = False

    def predict(self, batch):
        with self.log.open("a") as log:
            log.write(f"{os.getpid()}\\n")
        if len(self.log.read_text().splitlines()) <= self.times:
            if self.fault == "exit":
                os._exit(3)
            if self.fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "quit":
                sys.exit("leaving")
            if self.fault == "raise":
                raise RuntimeError("no [bold]mood[/bold]")
            if self.fault == "slow":
                time.sleep(1.5)
        if self.fault == "hang":
            time.sleep(60)
        if self.fault == "ignore":  # all that can be ignored, with a child that does so, too
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            child = subprocess.Popen(["sleep", "60"])
            with self.log.open("a") as log:
                log.write(f"{child.pid}\\n")
            while True:
                time.sleep(0.1)
        if self.fault == "lock":  # no other thread of Python gets to run
            ctypes.PyDLL(None).sleep(60)
        print("talking on stdout")
        lean = batch.bid_size - batch.ask_size + self.lean
        return lean.astype(np.float32).reshape(-1, 1)


@backtest.hookimpl
def backtest_register_strategies(register):
    register("faulty", Faulty)
'''


def write_plugin(folder: Path) -> Path:
    """The plugin's file."""
    path = folder / "faulty.py"
    path.write_text(PLUGIN)
    return path


def write_sweep(path: Path, dataset: Path, strategies: str, more: str = "") -> Path:
    """A sweep of strategies by two batching policies and two latency scales."""
    path.write_text(
        f"""
        dataset = '{dataset}'
        strategy = {strategies}
        policy = ["one", "all"]
        {more}
        [latency]
        service = "affine:1ms,0.2ms"
        scale = [1.0, 2.0]
        """
    )
    return path
