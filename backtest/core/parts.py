"""What is known of plugins and of the parts that they registered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

Kind: TypeAlias = Literal[
    "strategy",
    "latency model",
    "batching policy",
    "sizing rule",
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
        sha256: of the source file that defines it; ``None`` where there is none to read.
    """

    plugin: str
    distribution: str | None = None
    version: str | None = None
    sha256: str | None = None

    def identity(self) -> dict[str, str | None]:
        """What tells two versions of it apart, wherever they are installed."""
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
    """A class that a plugin registered; ``unavailable`` says why it cannot be used, if so."""

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
