"""Plugins from shipped modules, installed packages and files; whatever fails stays alone."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from backtest import hookimpl
from backtest.core.parts import KINDS, Origin
from backtest.errors import PluginError, UsageError
from backtest.plugins import manager
from backtest.plugins.hookspecs import Register
from backtest.plugins.manager import Plugins, load_plugins
from backtest.strategies.base import Strategy

GOOD = """
    from dataclasses import dataclass
    import backtest

    @dataclass
    class Rule:
        '''Always the same answer.'''
        answer: int = 7

    @backtest.hookimpl
    def backtest_register_strategies(register):
        register("{name}", Rule)
"""


@pytest.fixture(autouse=True)
def _nothing_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "SHIPPED", ())


def write(folder: Path, source: str, name: str = "plugin.py") -> Path:
    path = folder / name
    path.write_text(dedent(source))
    return path


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, entries: dict[str, str], *, of: str = "acme"
) -> None:
    """A fake installed package with one module for each entry point."""
    info = folder / f"{of}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {of}\nVersion: 1.0\n")
    lines = [f"{name} = {of}_{name}" for name in entries]
    (info / "entry_points.txt").write_text("\n".join(["[backtest]", *lines]) + "\n")
    for name, source in entries.items():
        write(folder, source, f"{of}_{name}.py")
        monkeypatch.delitem(sys.modules, f"{of}_{name}", raising=False)
    monkeypatch.syspath_prepend(folder)


def failing_file(folder: Path, source: str) -> PluginError:
    with pytest.raises(PluginError) as caught:
        load_plugins([write(folder, source)], entry_points=False)
    assert "plugin.py" in str(caught.value.place)
    return caught.value


def test_a_file_registers_a_part_that_can_be_made(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.format(name="rule"))
    plugins = load_plugins([path], entry_points=False)
    assert plugins.names("strategy") == ["rule"]
    assert plugins.get("strategy", "rule").__name__ == "Rule"
    assert plugins.create("strategy", "rule:9", place="--strategy").answer == 9
    assert plugins.create("strategy", {"name": "rule"}, place="config").answer == 7
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert plugins.origin("strategy", "rule") == Origin(str(path), None, None, digest)
    assert plugins.loaded[0].hooks == ("backtest_register_strategies",)
    assert plugins.failures == []


def test_the_same_file_gives_the_same_class_until_it_changes(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.format(name="rule"))
    first, again = (load_plugins([path], entry_points=False) for _ in range(2))
    assert first.get("strategy", "rule") is again.get("strategy", "rule")
    write(tmp_path, GOOD.format(name="other"))
    assert load_plugins([path], entry_points=False).names("strategy") == ["other"]


def test_shipped_modules_register_through_the_same_hooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, GOOD.format(name="ours"), "shipped_fake.py")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(manager, "SHIPPED", ("shipped_fake",))
    plugins = load_plugins(entry_points=False)
    assert plugins.origin("strategy", "ours").plugin == "shipped_fake"
    assert plugins.origin("strategy", "ours").distribution == "ticktoll"


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing' ("),
        ("def (", "SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("class Panic(BaseException): ...\nraise Panic('at the disco')", "Panic: at the disco"),
        ("x = 1", "it implements no hook"),
        (
            """
            import backtest
            @backtest.hookimpl
            def backtest_register_strategy(register): ...
            """,
            "no hook 'backtest_register_strategy'. Did you mean 'backtest_register_strategies'?",
        ),
        (
            """
            import backtest
            @backtest.hookimpl
            def backtest_register_strategies(registrar): ...
            """,
            "registrar",
        ),
        (
            """
            import backtest
            @backtest.hookimpl
            def backtest_register_strategies(register): 1 / 0
            """,
            "ZeroDivisionError: division by zero (",
        ),
    ],
    ids=["missing", "syntax", "exit", "panic", "no-hook", "misspelt", "argument", "register"],
)
def test_a_broken_installed_plugin_is_listed_and_the_others_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, error: str
) -> None:
    entries = {"a": broken, "b": GOOD.format(name="rule")}
    install(tmp_path, monkeypatch, entries)
    plugins = load_plugins()
    mine = [f for f in plugins.failures if f.origin.distribution == "acme"]
    assert [(f.origin.plugin, f.origin.version) for f in mine] == [("a", "1.0")]
    assert error in mine[0].error
    assert "rule" in plugins.names("strategy")
    assert plugins.origin("strategy", "rule").distribution == "acme"
    with pytest.raises(UsageError, match=r"may have provided it:\n  - a \(acme 1\.0\)"):
        plugins.get("strategy", "unheard-of")


WORKING = GOOD.format(name="rule")


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("not a module!", "'not a module!' is not MODULE or MODULE:OBJECT"),
        ("acme_b:", "'acme_b:' is not MODULE or MODULE:OBJECT"),
        ("", "'' is not MODULE or MODULE:OBJECT"),
        ("no_such_package.inner", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("acme_odd:absent", "AttributeError: module 'acme_odd' has no attribute 'absent'"),
        ("acme_odd:NOTHING", "it is None, and no module or object with hooks"),
        ("acme_odd:NUMBER", "it implements no hook"),
        ("acme_odd:TABLE", "it implements no hook"),
        ("acme_odd:Uncalled", "missing 1 required positional argument"),
        ("acme_odd:SHY", "RuntimeError: do not look"),
        ("acme_odd:function", "it implements no hook"),
        ("acme_mute", "Mute: its message cannot be shown: ZeroDivisionError"),
        ("acme_b", "plugin 'b' is the same object"),
    ],
)
def test_a_malformed_entry_point_disables_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, error: str
) -> None:
    odd = """
        import backtest
        NOTHING, NUMBER, TABLE = None, 7, {}
        def function(): ...
        class Uncalled:
            @backtest.hookimpl
            def backtest_register_strategies(self, register): ...
        class Shy:
            def __getattribute__(self, name):
                raise RuntimeError("do not look")
        SHY = Shy()
    """
    mute = """
        class Mute(Exception):
            def __str__(self): return 1 / 0
        raise Mute
    """
    install(tmp_path, monkeypatch, {"b": WORKING, "odd": odd, "mute": mute})
    entry_points = tmp_path / "acme-1.0.dist-info" / "entry_points.txt"
    entry_points.write_text(f"[backtest]\nb = acme_b\nz = {value}\n")
    plugins = load_plugins()
    mine = [f for f in plugins.failures if f.origin.distribution == "acme"]
    assert [f.origin.plugin for f in mine] == ["z"]
    assert error in mine[0].error
    assert plugins.origin("strategy", "rule").distribution == "acme"


@pytest.mark.parametrize(
    ("damage", "listed"),
    [
        (b"[backtest]\nthis line is no entry\n", ["worse"]),
        (b"[other]\nthis line is no entry\n", []),
        (b"[backtest]\na = \xff\xfe\n", ["worse"]),
    ],
)
def test_a_package_whose_entry_points_cannot_be_read_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes, listed: list[str]
) -> None:
    install(tmp_path / "good", monkeypatch, {"b": WORKING})
    install(tmp_path / "bad", monkeypatch, {}, of="worse")
    (tmp_path / "bad" / "worse-1.0.dist-info" / "entry_points.txt").write_bytes(damage)
    plugins = load_plugins()
    failed = [f for f in plugins.failures if f.origin.distribution in ("acme", "worse")]
    assert [f.origin.plugin for f in failed] == listed
    assert all("entry_points.txt is malformed" in f.error for f in failed)
    assert plugins.origin("strategy", "rule").distribution == "acme"


@pytest.mark.parametrize("metadata", [None, "", "\xff"])
def test_a_package_without_a_name_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: str | None
) -> None:
    install(tmp_path / "good", monkeypatch, {"b": WORKING})
    install(tmp_path / "bad", monkeypatch, {"c": "import no_such_thing"}, of="nameless")
    file = tmp_path / "bad" / "nameless-1.0.dist-info" / "METADATA"
    file.unlink()
    if metadata is not None:
        file.write_text(metadata, encoding="latin-1")
    plugins = load_plugins()
    assert "c" in [failure.origin.plugin for failure in plugins.failures]
    assert plugins.origin("strategy", "rule").distribution == "acme"


def test_of_two_packages_with_a_plugin_of_one_name_the_second_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "first", monkeypatch, {"b": WORKING})
    install(tmp_path / "second", monkeypatch, {"b": GOOD.format(name="other")}, of="zulu")
    plugins = load_plugins()
    (failed,) = [f for f in plugins.failures if f.origin.distribution in ("acme", "zulu")]
    assert (failed.origin.plugin, failed.origin.distribution) == ("b", "zulu")
    assert "another plugin of this name is loaded already" in failed.error
    assert plugins.origin("strategy", "rule").distribution == "acme"


@pytest.mark.parametrize("broken", ["import no_such_thing", "def (", "import sys; sys.exit(3)"])
def test_a_broken_file_is_an_error_at_once(tmp_path: Path, broken: str) -> None:
    before = set(sys.modules)
    assert "fails to import" in failing_file(tmp_path, broken).problem
    assert set(sys.modules) == before


def test_an_error_names_the_line_of_the_plugin(tmp_path: Path) -> None:
    assert failing_file(tmp_path, "x = 1\nx.y").problem.endswith("plugin.py, line 2)")


def test_an_interrupt_while_importing_is_no_failure(tmp_path: Path) -> None:
    path = write(tmp_path, "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_plugins([path], entry_points=False)


@pytest.mark.parametrize("name", ["absent.py", "notes.txt", "."])
def test_what_is_no_python_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("x = 1")
    with pytest.raises(PluginError, match="no such Python file"):
        load_plugins([tmp_path / name], entry_points=False)


def test_a_file_given_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.format(name="rule"))
    with pytest.raises(PluginError, match="loaded already"):
        load_plugins([path, path], entry_points=False)


def test_a_taken_name_is_refused_naming_both(tmp_path: Path) -> None:
    first = write(tmp_path, GOOD.format(name="rule"), "first.py")
    second = write(tmp_path, GOOD.format(name="rule") + "    # again", "second.py")
    with pytest.raises(PluginError) as caught:
        load_plugins([first, second], entry_points=False)
    assert "first.py" in caught.value.problem
    assert "second.py" in str(caught.value.place)


def test_a_plugin_that_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = dedent(GOOD.format(name="rule")) + dedent("""
        @backtest.hookimpl
        def backtest_run_started(): raise AssertionError("called")

        @backtest.hookimpl
        def backtest_register_sources(register):
            raise OSError("too late")
    """)
    install(tmp_path, monkeypatch, {"late": late})
    plugins = load_plugins()
    assert [f.origin.plugin for f in plugins.failures if f.origin.distribution == "acme"] == [
        "late"
    ]
    assert "rule" not in plugins.names("strategy")
    plugins.hook.backtest_run_started(run_id="r", config={})


def test_lifecycle_hooks_are_called_with_what_they_ask_for() -> None:
    seen = []

    class Progress:
        @hookimpl
        def backtest_batch_done(self, answered: int, total: int) -> None:
            seen.append((answered, total))

    plugins = Plugins()
    plugins.add(Progress(), Origin("progress"))
    plugins.hook.backtest_batch_done(run_id="r", answered=3, total=8)
    assert seen == [(3, 8)]
    assert plugins.loaded[0].hooks == ("backtest_batch_done",)


def test_disabled_plugins_are_not_even_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, {"a": "raise SystemExit", "b": GOOD.format(name="rule")})
    plugins = load_plugins(disabled=["a"])
    assert plugins.disabled == ["a"]
    assert "acme_a" not in sys.modules
    assert "rule" in plugins.names("strategy")
    with pytest.raises(UsageError, match=r"no plugin is called 'zzz'"):
        load_plugins(disabled=["zzz"])


def test_unknown_names_come_with_a_suggestion(tmp_path: Path) -> None:
    plugins = load_plugins([write(tmp_path, GOOD.format(name="momentum"))], entry_points=False)
    with pytest.raises(UsageError, match="Did you mean 'momentum'") as caught:
        plugins.get("strategy", "momentun", place="--strategy")
    assert caught.value.place == "--strategy"
    with pytest.raises(UsageError, match="Known: none"):
        plugins.get("source", "momentum")


def test_an_unavailable_part_is_listed_and_refused_with_its_reason() -> None:
    plugins = Plugins()
    plugins.add(_registering("fused", str, unavailable="it needs triton"), Origin("kernels"))
    assert plugins.names("strategy") == ["fused"]
    with pytest.raises(UsageError, match="'fused' is unavailable: it needs triton"):
        plugins.create("strategy", "fused", place="--strategy")


@pytest.mark.parametrize("name", ["", "a:b", "a,b", "a=b", "../a", "[bold]", "-a", "a" * 65, "a\n"])
def test_names_that_would_not_survive_a_command_line_or_a_path_are_refused(name: str) -> None:
    with pytest.raises(PluginError, match="is not a valid name for a strategy"):
        Plugins().add(_registering(name, str), Origin("p"))


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(PluginError, match="does not implement predict"):
        Plugins().add(_registering("abstract", Strategy), Origin("p"))
    with pytest.raises(PluginError, match="not a class"):
        Plugins().add(_registering("instance", 3), Origin("p"))


def test_parameters_that_cannot_be_read_are_the_plugins_failure(tmp_path: Path) -> None:
    error = failing_file(
        tmp_path, GOOD.format(name="rule").replace("answer: int", "answer: 'Nothing'")
    )
    assert "parameters of the strategy 'rule'" in error.problem


def test_every_kind_has_a_hook(tmp_path: Path) -> None:
    hooks = ("strategies", "latency_models", "batching_policies", "sizing_rules", "accountants")
    source = "import backtest\nclass Part: ...\n" + "".join(
        f"@backtest.hookimpl\ndef backtest_register_{hook}(register): register('x', Part)\n"
        for hook in (
            *hooks,
            "quoting_rules",
            "queue_models",
            "sources",
            "feature_builders",
            "executors",
            "report_sections",
        )
    )
    plugins = load_plugins([write(tmp_path, source)], entry_points=False)
    assert [plugins.names(kind) for kind in KINDS] == [["x"]] * len(KINDS)


def _registering(name: str, part: Any, *, unavailable: str | None = None) -> object:
    class Inline:
        @hookimpl
        def backtest_register_strategies(self, register: Register[Any]) -> None:
            register(name, part, unavailable=unavailable)

    return Inline()


FORGOTTEN = """
import numpy as np

import backtest


class Forgotten(backtest.Strategy):
    BODY

    def predict(self, batch):
        return np.zeros((len(batch), 1), dtype=np.float32)


@backtest.hookimpl
def backtest_register_strategies(register):
    register("forgotten", Forgotten)
"""


@pytest.mark.parametrize(
    "body",
    [
        "smoothing: float = 1.0",
        "smoothing: float",
        "def __init__(self, smoothing): pass",
        "def __init__(self, *, smoothing): self.smoothing = smoothing",
    ],
)
def test_a_forgotten_dataclass_is_named(tmp_path: Path, body: str) -> None:
    (tmp_path / "p.py").write_text(FORGOTTEN.replace("BODY", body))
    with pytest.raises(PluginError, match="'forgotten' has 'smoothing', which is no field") as told:
        load_plugins([tmp_path / "p.py"], entry_points=False)
    assert told.value.remedy is not None
    assert "@dataclass" in told.value.remedy


@pytest.mark.parametrize(
    "body",
    [
        "outputs = 1",
        "outputs: int = 1",
        "_inner: float = 1.0",
        "def __init__(self, smoothing=1.0, *more, **others): pass",
    ],
)
def test_what_needs_no_dataclass_is_not_taken_for_a_forgotten_one(
    tmp_path: Path, body: str
) -> None:
    (tmp_path / "p.py").write_text(FORGOTTEN.replace("BODY", body))
    plugins = load_plugins([tmp_path / "p.py"], entry_points=False)
    assert plugins.create("strategy", "forgotten", place="x") is not None
