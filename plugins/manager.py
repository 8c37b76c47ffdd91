"""Loads plugins, and keeps the parts that they registered by kind and name.

Plugins are imported, checked against the hooks and asked for their parts one at a time. One that
fails leaves nothing behind; it is listed with its error, and the others go on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import is_dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import pluggy

from backtest.core.entry_points import plugin_entry_points
from backtest.core.grammar import parse_spec
from backtest.core.parameters import Parameter, as_table, build, parameters
from backtest.core.parts import Failure, Kind, Loaded, Origin, Part
from backtest.core.settings import Declared
from backtest.core.text import suggestion_or_list
from backtest.core.tracebacks import describe
from backtest.core.version import __version__
from backtest.errors import PluginError, UsageError
from backtest.plugins import hookspecs
from backtest.plugins.code_digest import code_sha256
from backtest.plugins.hooktable import hooks
from backtest.plugins.loading import load_file
from backtest.plugins.part_checks import check_part

SHIPPED = (
    "backtest.strategies.registration",
    "backtest.plugins.policies",
    "backtest.plugins.latency_models",
    "backtest.plugins.sizing",
    "backtest.plugins.quoting",
    "backtest.plugins.queue_models",
    "backtest.plugins.accountants",
    "backtest.plugins.sources",
    "backtest.plugins.feature_builders",
    "backtest.plugins.executors",
    "backtest.plugins.report_sections",
)
"""The modules through which the project registers its own parts."""

_REGISTER_HOOKS: dict[Kind, str] = {
    "strategy": "backtest_register_strategies",
    "latency model": "backtest_register_latency_models",
    "batching policy": "backtest_register_batching_policies",
    "sizing rule": "backtest_register_sizing_rules",
    "quoting rule": "backtest_register_quoting_rules",
    "queue model": "backtest_register_queue_models",
    "accountant": "backtest_register_accountants",
    "source": "backtest_register_sources",
    "feature builder": "backtest_register_feature_builders",
    "executor": "backtest_register_executors",
    "report section": "backtest_register_report_sections",
}

PluginSource: TypeAlias = str | Path | type
"""A Python file that is a plugin, or a class that is a part."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Plugins:
    """What the loaded plugins registered.

    Attributes:
        loaded: plugins that work, in the order of loading.
        failures: plugins that were left out because they failed.
        disabled: names of plugins that were left out on request.
    """

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("backtest")
        self._manager.add_hookspecs(hookspecs)
        self._parts: dict[tuple[Kind, str], Part] = {}
        self.loaded: list[Loaded] = []
        self.failures: list[Failure] = []
        self.disabled: list[str] = []

    @property
    def hook(self) -> pluggy.HookRelay:
        """The lifecycle hooks: ``plugins.hook.backtest_run_started(run_id=..., config=...)``."""
        return self._manager.hook

    def add(self, plugin: object, origin: Origin) -> None:
        """Check a plugin's hooks and take its parts, all of them or none.

        Raises:
            PluginError: a misspelt or ill-typed hook, none at all, a part that cannot be used or
                whose name is taken, or whatever the plugin's own code raised.
        """
        if self._manager.has_plugin(origin.plugin):
            raise PluginError(
                "another plugin of this name is loaded already", place=f"plugin {origin}"
            )
        try:
            if plugin is None:  # which pluggy takes for nothing, or for a name to block
                raise PluginError("it is None, and no module or object with hooks")
            for name, other in self._manager.list_name_plugin():
                if other is plugin:
                    raise PluginError(f"plugin {name!r} is the same object")
            self._manager.register(plugin, origin.plugin)
            implemented = self._checked_hooks(plugin)
            parts = self._collect(plugin, origin)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if self._manager.has_plugin(origin.plugin):
                self._manager.unregister(name=origin.plugin)
            raise _attributed(error, origin, "") from error
        self._parts.update(parts)
        self.loaded.append(Loaded(origin, implemented))

    def add_class(self, part: type[Any]) -> str:
        """Register a class that was given directly; ``LastMove`` is called ``last-move``.

        It is identified by what it runs, not by a file: see ``backtest.plugins.class_source``.

        Returns:
            Its name.

        Raises:
            PluginError: it is no part, its name is taken, or its content cannot be told.
        """
        from backtest.plugins.class_source import class_sha256, kind_of, name_of

        kind, name = kind_of(part), name_of(part)
        origin = Origin(f"{part.__module__}.{part.__qualname__}", sha256=class_sha256(part))

        @hookspecs.hookimpl
        def provide(register: Callable[[str, type], None]) -> None:
            register(name, part)

        self.add(type(name, (), {_REGISTER_HOOKS[kind]: staticmethod(provide)}), origin)
        # The file that it was imported from may have been edited since.
        self._parts[kind, name] = replace(self._parts[kind, name], origin=origin)
        return name

    def spec_of(self, part: Any) -> dict[str, Any]:
        """How to ask for a class, or for an instance of a dataclass; registered if need be.

        Raises:
            PluginError: the class cannot be registered, or the instance's parameters are not known.
        """
        component = part if isinstance(part, type) else type(part)
        names = [known.name for known in self._parts.values() if known.component is component]
        name = names[0] if names else self.add_class(component)
        if part is component:
            return {"name": name}
        if not is_dataclass(part):
            raise PluginError(
                f"the parameters of this {component.__name__} cannot be told",
                remedy="Make the class a dataclass whose fields are its parameters.",
            )
        return as_table(part, name)

    def parts(self, kind: Kind) -> list[Part]:
        """The registered parts of a kind, by name, unavailable ones included."""
        return sorted((p for p in self._parts.values() if p.kind == kind), key=lambda p: p.name)

    def names(self, kind: Kind) -> list[str]:
        """The registered names of a kind, in order, unavailable ones included."""
        return [part.name for part in self.parts(kind)]

    def get(self, kind: Kind, name: str, *, place: str | None = None) -> type[Any]:
        """The class registered under a name.

        Args:
            place: where the name was asked for, such as ``--strategy``, for the error.

        Raises:
            UsageError: there is none, or it is unavailable here.
        """
        part = self._find(kind, name, place)
        if part.unavailable is not None:
            raise UsageError(f"{kind} {name!r} is unavailable: {part.unavailable}", place=place)
        return part.component

    def parameters(self, kind: Kind, name: str, *, place: str) -> dict[str, Parameter]:
        """The parameters of the part registered under a name, by theirs.

        Raises:
            UsageError: there is none, or it is unavailable here.
        """
        return {p.name: p for p in parameters(self.get(kind, name, place=place))}

    def declared(self, parts: Mapping[str, Kind]) -> dict[str, Declared]:
        """For each key, a function giving the parameters of its kind's parts (see ``override``)."""
        return {key: partial(self.parameters, kind) for key, kind in parts.items()}

    def create(self, kind: Kind, spec: str | Mapping[str, Any], *, place: str) -> Any:
        """An instance from ``NAME:VALUE,KEY=VALUE`` or a table (see ``backtest.core.grammar``).

        Raises:
            UsageError: no such part, it is unavailable, or a parameter is wrong.
        """
        parsed = parse_spec(spec, place=place)
        return build(self.get(kind, parsed.name, place=place), parsed, place=place)

    def origin(self, kind: Kind, name: str) -> Origin:
        """Where a part comes from; ``sha256`` is that of its code, see ``plugins.code_digest``.

        Raises:
            UsageError: there is none of this name.
        """
        return self._find(kind, name, None).origin

    def _find(self, kind: Kind, name: str, place: str | None) -> Part:
        if (kind, name) in self._parts:
            return self._parts[kind, name]
        known = self.names(kind)
        remedy = suggestion_or_list(name, known)
        if self.failures:
            failed = "".join(f"\n  - {f.origin}: {f.error}" for f in self.failures)
            remedy += f"\n  A plugin that failed to load may have provided it:{failed}"
        raise UsageError(f"no {kind} is called {name!r}", place=place, remedy=remedy)

    def _checked_hooks(self, plugin: object) -> tuple[str, ...]:
        callers = self._manager.get_hookcallers(plugin) or []
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError:
            known = [hook.name for hook in hooks()]
            bad = next(caller.name for caller in callers if not caller.has_spec())
            raise PluginError(
                f"there is no hook {bad!r}",
                remedy=suggestion_or_list(bad, known, "Hooks"),
            ) from None
        if not callers:
            raise PluginError(
                "it implements no hook",
                remedy="Put @backtest.hookimpl before each function that implements one.",
            )
        return tuple(sorted(caller.name for caller in callers))

    def _collect(self, plugin: object, origin: Origin) -> dict[tuple[Kind, str], Part]:
        found: dict[tuple[Kind, str], Part] = {}
        others = self._manager.get_plugins() - {plugin}
        for kind, hook in _REGISTER_HOOKS.items():
            register = partial(self._register, found, kind, origin)
            self._manager.subset_hook_caller(hook, others)(register=register)
        return found

    def _register(
        self,
        found: dict[tuple[Kind, str], Part],
        kind: Kind,
        origin: Origin,
        name: str,
        part: type[Any],
        *,
        unavailable: str | None = None,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise PluginError(
                f"{name!r} is not a valid name for a {kind}",
                remedy="Use up to 64 letters, digits, '.', '_' and '-', not beginning with a sign.",
            )
        taken = self._parts.get((kind, name)) or found.get((kind, name))
        if taken is not None:
            raise PluginError(f"the {kind} {name!r} is already registered by plugin {taken.origin}")
        check_part(kind, name, part)
        digest = code_sha256(part, origin.distribution)
        if digest is None:  # a class that was typed in: two of the same name must not share results
            from backtest.plugins.class_source import class_sha256

            digest = class_sha256(part)
        defined_in = Origin(origin.plugin, origin.distribution, origin.version, digest)
        found[kind, name] = Part(kind, name, part, defined_in, unavailable)


def load_plugins(
    sources: Plugins | PluginSource | Iterable[PluginSource] = (),
    *,
    entry_points: bool = True,
    disabled: Collection[str] = (),
) -> Plugins:
    """The project's own plugins, installed ones, and single files, in this order.

    Args:
        sources: Python files to load as plugins, and classes to register (see ``add_class``); or
            plugins that are loaded already, which are returned as they are.
        entry_points: whether to load installed plugins (entry-point group ``backtest``).
        disabled: names of shipped or installed plugins to leave out.

    Raises:
        PluginError: a file or class in ``sources`` cannot be used. Shipped and installed plugins
            that fail are listed in ``failures`` instead.
        UsageError: a name in ``disabled`` is none of the plugins'.
    """
    if isinstance(sources, Plugins):
        return sources
    plugins = Plugins()
    candidates: list[tuple[Origin, Callable[[], object]]] = [
        (Origin(name, "ticktoll", __version__), partial(import_module, name)) for name in SHIPPED
    ]
    if entry_points:
        for entry in plugin_entry_points():
            origin = Origin(entry.name, entry.distribution or None, entry.version or None)
            candidates.append((origin, entry.load))
    for name in disabled:
        known = [origin.plugin for origin, _ in candidates]
        if name not in known:
            raise UsageError(
                f"no plugin is called {name!r}",
                remedy=suggestion_or_list(name, known),
            )
    for origin, load in candidates:
        if origin.plugin in disabled:
            plugins.disabled.append(origin.plugin)
            continue
        try:
            _load_and_add(plugins, origin, load)
        except PluginError as error:
            text = error.problem if error.remedy is None else f"{error.problem}. {error.remedy}"
            plugins.failures.append(Failure(origin, text))
    for source in [sources] if isinstance(sources, str | Path | type) else sources:
        if isinstance(source, type):
            plugins.add_class(source)
        else:
            _load_and_add(plugins, Origin(str(source)), partial(load_file, Path(source)))
    return plugins


def _load_and_add(plugins: Plugins, origin: Origin, load: Callable[[], object]) -> None:
    try:
        plugin = load()
        origin = replace(origin, sha256=code_sha256(plugin, origin.distribution))
    except KeyboardInterrupt:
        raise
    # A plugin may even exit, or raise something that is not an Exception, while it is imported.
    except BaseException as error:
        raise _attributed(error, origin, "it fails to import: ") from error
    plugins.add(plugin, origin)


def _attributed(error: BaseException, origin: Origin, doing: str) -> PluginError:
    if isinstance(error, PluginError):
        return PluginError(error.problem, place=f"plugin {origin}", remedy=error.remedy)
    return PluginError(f"{doing}{describe(error)}", place=f"plugin {origin}")
