"""A result is never reused once something that it depends on has changed, wherever that lies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import backtest
from backtest.core.parameters import file_digests
from backtest.plugins.code_digest import code_sha256
from backtest.runs.folder import Run

STRATEGY = '''
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import backtest
{imports}

@dataclass
class Read(backtest.Strategy):
    """Answers by the number in a file."""

    model: {kind}
    needs_features = False

    def bind(self, session):
        self.factor = float(Path(self.model).read_text()) * {sign}

    def predict(self, batch):
        lean = (batch.bid_size - batch.ask_size) * self.factor
        return lean.astype(np.float32).reshape(-1, 1)


@backtest.hookimpl
def backtest_register_strategies(register):
    register("read", Read)
'''


def run(dataset: Path, runs: Path, plugin: Path, model: Path, **settings: Any) -> Run:
    return backtest.run(
        runs=runs,
        plugins=[plugin],
        **{
            "dataset": str(dataset),
            "strategy": {"name": "read", "model": str(model)},
            "latency": {"service": "constant:1ms"},
            **settings,
        },
    )


@pytest.mark.parametrize("kind", ["Path", "str"])
def test_a_model_that_is_trained_again_at_the_same_path(
    kind: str, small_dataset: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "read.py"
    plugin.write_text(STRATEGY.format(imports="", kind=kind, sign="1"))
    model = tmp_path / "model.txt"
    model.write_text("1")
    first = run(small_dataset, tmp_path / "runs", plugin, model)
    assert run(small_dataset, tmp_path / "runs", plugin, model).reused
    model.write_text("-1")
    second = run(small_dataset, tmp_path / "runs", plugin, model)
    assert second.id != first.id
    assert not second.reused
    assert second.manifest["predictions"]["answers"]["reused"] is False
    assert (
        second.metrics["accuracy"]["targets"]["ic"] == -first.metrics["accuracy"]["targets"]["ic"]
    )


def test_a_helper_beside_a_plugins_file(
    small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    plugin, helper = tmp_path / "reader.py", tmp_path / "turned_sign.py"
    deeper = tmp_path / "turned_more" / "inner.py"
    deeper.parent.mkdir()
    deeper.write_text("MORE = 1\n")
    helper.write_text("import turned_more.inner\nSIGN = 1 * turned_more.inner.MORE\n")
    text = STRATEGY.format(imports="import turned_sign\n", kind="Path", sign="turned_sign.SIGN")
    plugin.write_text(text)
    model = tmp_path / "model.txt"
    model.write_text("1")
    ids = [run(small_dataset, tmp_path / "runs", plugin, model).id]
    for changed, content in (
        (helper, "import turned_more.inner\nSIGN = -1 * turned_more.inner.MORE\n"),
        (deeper, "MORE = 2\n"),
    ):
        changed.write_text(content)
        for name in [n for n in sys.modules if n.startswith("turned_")]:
            del sys.modules[name]
        ids.append(run(small_dataset, tmp_path / "runs", plugin, model).id)
    assert len(set(ids)) == 3
    (tmp_path / "unrelated.py").write_text("X = 1\n")
    assert run(small_dataset, tmp_path / "runs", plugin, model).reused


def test_every_module_of_an_installed_plugins_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "installed_signs"
    (package / "deep").mkdir(parents=True)
    text = STRATEGY.format(imports="", kind="Path", sign="1")
    (package / "__init__.py").write_text(text)
    (package / "deep" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    import installed_signs  # type: ignore[import-not-found]

    try:
        digests = {code_sha256(installed_signs), code_sha256(installed_signs.Read)}
        assert len(digests) == 1
        for path, content in (("deep/__init__.py", "SIGN = -1\n"), ("other.py", "Y = 2\n")):
            (package / path).write_text(content)
            digests.add(code_sha256(installed_signs.Read))
        assert len(digests) == 3
        (package / "notes.txt").write_text("no code")
        assert code_sha256(installed_signs.Read) in digests
    finally:
        del sys.modules["installed_signs"]


def test_every_file_that_a_distribution_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "signs_of_two-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: signs-of-two\nVersion: 1.0\n")
    (info / "RECORD").write_text("signs_of_two.py,,\nother_of_two.py,,\ngone.py,,\n")
    (tmp_path / "signs_of_two.py").write_text("SIGN = 1\n")
    (tmp_path / "other_of_two.py").write_text("OTHER = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import signs_of_two  # type: ignore[import-not-found]

    try:
        before = code_sha256(signs_of_two, "signs-of-two")
        (tmp_path / "other_of_two.py").write_text("OTHER = 2\n")
        assert code_sha256(signs_of_two, "signs-of-two") != before
        assert code_sha256(signs_of_two) == code_sha256(signs_of_two, "no-such-distribution")
    finally:
        del sys.modules["signs_of_two"]


def test_folders_count_by_what_lies_in_them(tmp_path: Path) -> None:
    from dataclasses import dataclass

    @dataclass
    class Part:
        where: Path
        name: str = "nothing"

    part = Part(tmp_path / "models")
    assert file_digests(part) == {}
    (tmp_path / "models" / "deep").mkdir(parents=True)
    seen = [file_digests(part)]
    for name, content in (("a.txt", "1"), ("a.txt", "2"), ("deep/b.txt", "1")):
        (tmp_path / "models" / name).write_text(content)
        seen.append(file_digests(part))
    assert len({str(digests) for digests in seen}) == 4
    assert all(set(digests) == {"where"} for digests in seen)
