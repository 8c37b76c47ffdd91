"""The entry points by which installed packages name their plugins."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from typing import Any

GROUP = "backtest"
"""The entry-point group that installed packages name their plugins in."""


@dataclass(frozen=True, slots=True)
class Installed:
    """An entry point of an installed package.

    Attributes:
        name: the plugin's; the package's if its list of entry points cannot be read.
        value: what it names, such as ``acme.plugin``.
        distribution, version: the package; empty where its metadata do not tell.
        load: imports what it names, or raises whatever is wrong with it.
    """

    name: str
    value: str
    distribution: str
    version: str
    load: Callable[[], Any]

    @property
    def package(self) -> str:
        """The top-level package of the module that it names."""
        return re.split("[.:]", self.value.strip(), maxsplit=1)[0]


def plugin_entry_points() -> list[Installed]:
    """Those of all packages, by name; a malformed one raises when it is loaded, not here."""
    try:
        # Fast, but a single malformed file among all packages' makes it fail.
        found = [_installed(entry, entry.dist) for entry in entry_points(group=GROUP)]
    except Exception:
        found = _one_by_one()
    return sorted(found, key=lambda entry: (entry.name, entry.value, entry.distribution))


def _one_by_one() -> list[Installed]:
    found: list[Installed] = []
    seen: set[str] = set()
    for dist in distributions():
        name, _ = _named(dist)
        normal = re.sub(r"[-_.]+", "-", name).lower()
        if name and normal in seen:  # the first on the path is the one that is imported
            continue
        seen.add(normal)
        try:
            found += [_installed(e, dist) for e in dist.entry_points if e.group == GROUP]
        except Exception as error:
            if _may_name_plugins(dist):
                found.append(_unreadable(dist, error))
    return found


def _installed(entry: EntryPoint, dist: Distribution | None) -> Installed:
    def load() -> Any:
        if not entry.pattern.match(entry.value):
            raise ValueError(f"{entry.value!r} is not MODULE or MODULE:OBJECT")
        return entry.load()

    return Installed(entry.name, entry.value, *_named(dist), load)


def _may_name_plugins(dist: Distribution) -> bool:
    try:
        text = dist.read_text("entry_points.txt") or ""
    except ValueError:  # it is not UTF-8
        return True
    return re.search(rf"^\s*\[\s*{re.escape(GROUP)}\s*\]", text, re.M) is not None


def _unreadable(dist: Distribution, error: Exception) -> Installed:
    def load() -> None:
        raise ValueError(f"its entry_points.txt is malformed: {error}")

    name, version = _named(dist)
    return Installed(name, "", name, version, load)


def _named(dist: Distribution | None) -> tuple[str, str]:
    """Name and version of a package, whose metadata may be damaged or missing."""
    try:
        metadata: Any = None if dist is None else dist.metadata
        return str(metadata.get("Name") or ""), str(metadata.get("Version") or "")
    except Exception:
        return "", ""
