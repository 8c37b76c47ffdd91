"""Strategies given as classes, as in a notebook: a changed class is never met by an old result."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import backtest
from backtest.core.parts import Origin
from backtest.errors import PluginError
from backtest.plugins.class_source import class_sha256, kind_of, name_of
from backtest.plugins.manager import Plugins, load_plugins
from backtest.trading.sizing import SizingRule

TYPED_IN = """
from dataclasses import dataclass, field
import backtest
import numpy as np

SIGN = 1.0
WEIGHTS = np.arange(3.0)

def signal(batch):
    return SIGN * (batch.bid_size - batch.ask_size)

@dataclass
class LastMove(backtest.Strategy):
    gain: float = 1.0
    needs_features = False
    stateful = False
    _seen: list = field(default_factory=list, init=False)

    @property
    def scaled(self):
        return self.gain * WEIGHTS[1]

    def predict(self, batch):
        return np.stack([self.scaled * value for value in signal(batch)])[:, None].astype("f4")
"""


def typed_in(source: str, name: str = "LastMove") -> Any:
    """A class of a module that no file stands behind, as the one of a notebook."""
    module = ModuleType("__typed_in__")
    sys.modules["__typed_in__"] = module
    exec(compile(source, "<cell>", "exec"), module.__dict__)
    return getattr(module, name)


def changed(old: str, new: str) -> str:
    assert TYPED_IN.count(old) == 1
    return TYPED_IN.replace(old, new)


def test_the_same_class_typed_in_again_is_the_same() -> None:
    assert class_sha256(typed_in(TYPED_IN)) == class_sha256(typed_in(TYPED_IN))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return np.stack", "return -np.stack"),  # a method
        ("gain: float = 1.0", "gain: float = 1.5"),  # a default
        ("stateful = False", "stateful = True"),  # an attribute
        ("SIGN = 1.0", "SIGN = -1.0"),  # a number that a function of the module reads
        ("np.arange(3.0)", "np.arange(3.0) + 1"),  # an array that a property reads
        ("bid_size - batch.ask_size", "bid_size + batch.ask_size"),  # a function it calls
        ("self.scaled * value for", "value - self.scaled for"),  # code within code
        ("default_factory=list", "default_factory=dict"),
    ],
)
def test_a_changed_class_is_another(old: str, new: str) -> None:
    assert class_sha256(typed_in(TYPED_IN)) != class_sha256(typed_in(changed(old, new)))


def test_what_it_does_not_read_changes_nothing() -> None:
    other = TYPED_IN + "\nUNUSED = object()\n"
    assert class_sha256(typed_in(other)) == class_sha256(typed_in(TYPED_IN))


def test_its_digest_is_that_of_another_process() -> None:
    code = (
        "import sys\nfrom tests.test_class_strategies import TYPED_IN, typed_in\n"
        "from backtest.plugins.class_source import class_sha256\n"
        "print(class_sha256(typed_in(TYPED_IN)))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == class_sha256(typed_in(TYPED_IN))


def test_a_class_whose_content_cannot_be_told_is_refused() -> None:
    source = "import threading\nSIGNED = threading.Lock()\n" + changed("SIGN *", "bool(SIGNED) *")
    with pytest.raises(PluginError, match="'LastMove' reads 'SIGNED', a lock") as caught:
        load_plugins([typed_in(source)], entry_points=False)
    assert "in `bind`" in str(caught.value.remedy)


LOCK = threading.Lock()


class Locked(backtest.Strategy):
    def predict(self, batch: backtest.EventBatch) -> Any:
        with LOCK:
            return np.zeros((len(batch), 1), np.float32)


def test_with_a_file_that_file_stands_for_what_cannot_be_told() -> None:
    assert len(class_sha256(Locked)) == 64


class Halved(SizingRule):
    def targets(self, forecast: Any, *others: Any) -> Any:
        return forecast / 2


def test_the_kind_is_that_of_the_base_class() -> None:
    assert kind_of(Halved) == "sizing rule"
    with pytest.raises(PluginError, match="'Path' is no part"):
        kind_of(Path)


@pytest.mark.parametrize(
    ("name", "called"),
    [("LastMove", "last-move"), ("Pressure", "pressure"), ("HTTPServer2", "http-server2")],
)
def test_it_is_called_by_the_name_of_its_class(name: str, called: str) -> None:
    assert name_of(type(name, (), {})) == called


def test_a_class_that_a_plugin_registers_without_a_file_is_told_from_a_changed_one() -> None:
    digests = set()
    for source in (TYPED_IN, changed("SIGN = 1.0", "SIGN = 2.0")):
        part, plugins, plugin = typed_in(source), Plugins(), ModuleType("plugin")

        def register_strategies(register: Any, part: Any = part) -> None:
            register("typed", part)

        plugin.__dict__["backtest_register_strategies"] = backtest.hookimpl(register_strategies)
        plugins.add(plugin, Origin("plugin"))
        digests.add(plugins.origin("strategy", "typed").sha256)
    assert len(digests - {None}) == 2


def test_a_run_takes_classes_and_instances(small_dataset: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "dataset": str(small_dataset),
        "latency": {"service": "constant:1ms"},
        "runs": tmp_path,
    }
    part = typed_in(TYPED_IN)
    named = backtest.run(strategy="last-move:2", plugins=[part], **settings)
    alone = backtest.run(strategy="last-move:2", plugins=part, **settings)
    made = backtest.run(strategy=part(gain=2.0), **settings)
    plain = backtest.run(strategy=part, **settings)
    assert alone.reused
    assert made.reused
    assert named.id == alone.id == made.id != plain.id
    assert named.manifest["labels"]["strategy"] == "last-move:2.0"
    other = typed_in(changed("return np.stack", "return -np.stack"))
    negative = backtest.run(strategy=other(gain=2.0), **settings)
    assert not negative.reused
    forecasts = [run.table("predictions")["forecast"].to_numpy() for run in (named, negative)]
    assert np.abs(forecasts[0]).max() > 0
    assert np.array_equal(forecasts[0], -forecasts[1])
    # A file gives parts in the same way.
    (tmp_path / "mine.py").write_text(
        TYPED_IN + "\n@backtest.hookimpl\ndef backtest_register_strategies(register):\n"
        "    register('mine', LastMove)\n"
    )
    of_file = backtest.run(strategy="mine:2", plugins=[tmp_path / "mine.py"], **settings)
    assert of_file.table("predictions").equals(named.table("predictions"))


class Unshown(backtest.Strategy):
    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def predict(self, batch: backtest.EventBatch) -> Any:
        return np.full((len(batch), 1), self.gain, np.float32)


def test_an_instance_that_does_not_show_its_parameters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="parameters of this Unshown"):
        backtest.run(
            dataset="sample",
            strategy=Unshown(2.0),
            latency={"service": "constant:1ms"},
            runs=tmp_path,
        )


def test_a_script_runs_its_own_class(small_dataset: Path, tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    script.write_text(
        TYPED_IN + "\nimport json, sys\nrun = backtest.run(strategy=LastMove, dataset=sys.argv[1],"
        "\n    latency={'service': 'constant:1ms'}, runs=sys.argv[2])\n"
        "print(json.dumps([run.id, run.reused]))\n"
    )
    ids = []
    for edit in ("", "SIGN = 2.0\n"):
        script.write_text(script.read_text().replace("\nimport json", f"\n{edit}import json"))
        command = [sys.executable, str(script), str(small_dataset), str(tmp_path / "runs")]
        for reused in (False, True):
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
            assert found[1] is reused
            ids.append(found[0])
    assert len(set(ids)) == 2
