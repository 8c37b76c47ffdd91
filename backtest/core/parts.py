"""Parts that plugins registered: what is known of them, and how they are asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args

from backtest.core.parameters import Parameter
from backtest.core.settings import Declared

Kind: TypeAlias = Literal[
    "strategy",
    "latency model",
    "batching policy",
    "sizing rule",
    "quoting rule",
    "queue model",
    "accountant",
    "source",
    "feature builder",
    "executor",
    "report section",
]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""Every kind of part."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a plugin, or a part of one, comes from.

    Attributes:
        plugin: the plugin's name: a shipped module's, an entry point's, or a file's path as given.
        distribution, version: the installed package; ``None`` for a single file.
        sha256: of its code, the modules beside it included; ``None`` where there is none to read.
    """

    plugin: str
    distribution: str | None = None
    version: str | None = None
    sha256: str | None = None

    def identity(self) -> dict[str, str | None]:
        """What identifies its version, wherever it is installed."""
        return {
            "distribution": self.distribution,
            "version": self.version,
            "sha256": self.sha256,
        }

    def __str__(self) -> str:
        packaged = f" ({self.distribution} {self.version})" if self.distribution else ""
        return self.plugin + packaged


@dataclass(frozen=True, slots=True)
class Part:
    """A class that a plugin registered; ``unavailable`` is the reason if it cannot be used."""

    kind: Kind
    name: str
    component: type[Any]
    origin: Origin
    unavailable: str | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A plugin that works, and the hooks that it implements."""

    origin: Origin
    hooks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A plugin that does not work, and why."""

    origin: Origin
    error: str


class Parts(Protocol):
    """Where parts come from; ``backtest.plugins.manager.Plugins`` is it."""

    @property
    def hook(self) -> Any:
        """The lifecycle hooks: ``parts.hook.backtest_run_started(run_id=..., config=...)``."""

    def parts(self, kind: Kind) -> list[Part]:
        """The registered parts of a kind, by name, unavailable ones included."""

    def get(self, kind: Kind, name: str, *, place: str | None = None) -> type[Any]:
        """The class registered under a name.

        Args:
            place: where the name was asked for, such as ``--strategy``, for the error.

        Raises:
            UsageError: there is none, or it is unavailable here.
        """

    def parameters(self, kind: Kind, name: str, *, place: str) -> dict[str, Parameter]:
        """The parameters of the part registered under a name, by theirs.

        Raises:
            UsageError: there is none, or it is unavailable here.
        """

    def declared(self, parts: Mapping[str, Kind]) -> dict[str, Declared]:
        """For each key, a function giving the parameters of its kind's parts (see ``override``)."""

    def create(self, kind: Kind, spec: str | Mapping[str, Any], *, place: str) -> Any:
        """An instance from ``NAME:VALUE,KEY=VALUE`` or a table.

        Raises:
            UsageError: no such part, it is unavailable, or a parameter is wrong.
        """

    def origin(self, kind: Kind, name: str) -> Origin:
        """Where a part comes from.

        Raises:
            UsageError: there is none of this name.
        """


class PartLoader(Protocol):
    """Loads plugins; ``backtest.plugins.manager.load_plugins`` is it."""

    def __call__(
        self, sources: Iterable[str | Path] = (), *, disabled: Collection[str] = ()
    ) -> Parts:
        """The parts of shipped and installed plugins, and of single files.

        Args:
            sources: Python files to load as plugins.
            disabled: names of shipped or installed plugins to leave out.

        Raises:
            BacktestError: a file cannot be loaded, or a name is none of the plugins'.
        """
