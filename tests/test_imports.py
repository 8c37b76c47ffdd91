"""Who may import whom: packages in one direction, modules without cycles.

Every import counts, those inside functions and those for type checkers alone included. The folders
of plugins and strategies are followed through their symlinks.
"""

from __future__ import annotations

import ast
import os
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import backtest

pytestmark = pytest.mark.one_python

ROOT = Path(__file__).parents[1]

ALLOWED = {
    "errors": (),
    "core": ("errors",),
    "market": ("core",),
    "data": ("market",),
    "timing": ("data",),
    "strategies": ("data",),
    "conformance": ("strategies",),
    "training": ("strategies",),
    "inference": ("timing", "strategies"),
    "trading": ("inference",),
    "runs": ("trading",),
    "comparison": ("runs",),
    "experiments": ("comparison",),
    "report": ("experiments",),
    # The interface loads plugins, so shipped ones may not use it.
    "plugins": ("report",),
    "api": ("plugins",),
    "testing": ("api", "conformance"),
    "cli": ("api", "conformance", "training"),
    "__main__": ("cli",),
}
"""The packages right below each; it may import these, and whatever they may."""

HOOKSPECS = "backtest.plugins.hookspecs"
"""What every module with a part to register imports, wherever it is."""


def imports(source: str, known: frozenset[str]) -> set[str]:
    """The modules that a module's source imports, by their full names.

    Args:
        source: Python.
        known: the modules of ``backtest``, which tell ``from package import module`` from a name.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports are not used here"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else str(node.module))
    return found


@cache
def sources() -> dict[str, str]:
    """The source of every module, by its full name."""
    found = {}
    for folder, subfolders, names in os.walk(ROOT / "backtest", followlinks=True):
        subfolders[:] = sorted(set(subfolders) - {"__pycache__"})
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix == ".py":
                parts = path.relative_to(ROOT).with_suffix("").parts
                module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                found[module] = path.read_text(encoding="utf-8")
    return found


@cache
def graph() -> dict[str, set[str]]:
    """What each module imports of ``backtest``."""
    known = frozenset(sources())
    return {
        module: {name for name in imports(source, known) if name.split(".")[0] == "backtest"}
        for module, source in sources().items()
    }


def package(module: str) -> str:
    """The package of a module, or the module itself where it is right below ``backtest``."""
    return module.split(".")[1]


def may_import(importer: str) -> set[str]:
    """The packages that a package may import, itself included."""
    return {importer}.union(*(may_import(below) for below in ALLOWED[importer]))


def edges() -> set[tuple[str, str]]:
    """Every import; the names that ``backtest`` itself offers come from anywhere."""
    return {(a, b) for a, imported in graph().items() if a != "backtest" for b in imported}


def test_every_import_is_seen() -> None:
    source = """
from typing import TYPE_CHECKING
import backtest.errors
from backtest.core import text
from backtest.core.text import escape_text
if TYPE_CHECKING:
    from backtest.market.events import EventBatch
def later():
    from backtest.data import dataset
"""
    known = frozenset({"backtest.core.text", "backtest.data.dataset", "backtest.market.events"})
    assert imports(source, known) == known | {"backtest.errors", "typing"}


def test_every_module_is_seen() -> None:
    assert {package(module) for module in sources() if module != "backtest"} == set(ALLOWED)
    assert "backtest.strategies.kernels.lstm" in sources()
    assert "backtest.plugins.sources.binance" in sources()


def test_packages_are_imported_in_one_direction() -> None:
    wrong = {
        (importer, imported)
        for importer, imported in edges()
        if imported != HOOKSPECS
        and (imported == "backtest" or package(imported) not in may_import(package(importer)))
    }
    assert not wrong


def test_no_module_imports_itself_in_a_circle() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_no_package_has_the_name_of_a_public_function() -> None:
    # Importing such a package would put it in the function's place.
    assert not set(ALLOWED) & set(backtest.__all__)


def test_compiled_loops_are_loaded_by_those_that_run_them_only() -> None:
    """numba takes a second to import: only modules of loops do, and these are imported lazily."""
    known = frozenset(sources())
    compiled = {module for module in known if module.endswith("loops")}
    compiled.add("backtest.core.addresses")
    for module in known - compiled:
        body = ast.parse(sources()[module]).body
        nodes = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
        top = imports("\n".join(map(ast.unparse, nodes)), known)
        assert not top & compiled, module
        # What compiles for the others asks for numba once a loop is there to be compiled.
        lazy = module == "backtest.core.compiled"
        found = top if lazy else imports(sources()[module], known)
        assert not {name for name in found if name.split(".")[0] == "numba"}, module
