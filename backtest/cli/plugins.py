"""``backtest plugins``: every part that a run can be put together from, and where it came from."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from backtest.cli.options import AsJson, DisabledPlugins, PluginPaths

if TYPE_CHECKING:
    from backtest.core.parts import Part
    from backtest.plugins.manager import Plugins

_TITLES = {
    "strategy": "Strategies",
    "latency model": "Latency models",
    "batching policy": "Batching policies",
    "sizing rule": "Sizing rules",
    "quoting rule": "Quoting rules",
    "queue model": "Queue models",
    "accountant": "Accountants",
    "source": "Dataset sources",
    "feature builder": "Feature builders",
    "executor": "Executors of sweeps",
    "report section": "Report sections",
}


def list_plugins(
    plugin: PluginPaths = None, no_plugin: DisabledPlugins = None, as_json: AsJson = False
) -> None:
    """List the available parts and the plugins that provide them.

    Strategies, latency models, batching policies, accountants and so on are parts: classes that
    plugins register. A part is written as NAME or NAME:VALUE,KEY=VALUE, for example
    affine:35.8ms,0.5ms. Plugins are trusted code and run with your permissions.
    """
    from backtest.cli.console import print_json
    from backtest.plugins.manager import load_plugins

    plugins = load_plugins(plugin or (), disabled=no_plugin or ())
    if as_json:
        print_json(_as_data(plugins))
    else:
        _print(plugins)


def _as_data(plugins: Plugins) -> dict[str, Any]:
    from backtest.core.parts import KINDS
    from backtest.plugins.hooktable import hooks

    return {
        "parts": [_describe(part) for kind in KINDS for part in plugins.parts(kind)],
        "plugins": [asdict(p.origin) | {"hooks": list(p.hooks)} for p in plugins.loaded],
        "failures": [asdict(f.origin) | {"error": f.error} for f in plugins.failures],
        "disabled": plugins.disabled,
        "hooks": [asdict(hook) for hook in hooks()],
    }


def _describe(part: Part) -> dict[str, Any]:
    from backtest.core.parameters import format_value, parameters

    doc = part.component.__doc__ or ""
    generated = doc.startswith(f"{part.component.__name__}(")  # by dataclass, where none is written
    return {
        "kind": part.kind,
        "name": part.name,
        **asdict(part.origin),
        "component": f"{part.component.__module__}:{part.component.__qualname__}",
        "doc": "" if generated else doc.strip().partition("\n")[0].replace("``", ""),
        "parameters": [
            {
                "name": p.name,
                "type": p.type_name,
                "required": p.required,
                "default": None if p.required else format_value(p.default, p.type),
            }
            for p in parameters(part.component)
        ],
        "conformance": getattr(part.component, "conformance", None),
        "unavailable": part.unavailable,
    }


def _print(plugins: Plugins) -> None:
    from backtest.cli.console import out
    from backtest.cli.tables import print_table
    from backtest.core.parts import KINDS

    for kind in KINDS:
        rows = [_row(part) for part in plugins.parts(kind)]
        if rows:
            headers = ["name", "class", "parameters", "from", "what it is"]
            print_table(headers, rows, title=_TITLES[kind])
            out.print()
    if plugins.failures:
        failed = [(f.origin, f.error) for f in plugins.failures]
        print_table(["plugin", "error"], failed, title="Plugins that failed to load")
        out.print()
    if plugins.disabled:
        print_table(["plugin"], [[name] for name in plugins.disabled], title="Disabled plugins")
        out.print()
    hooks = [(p.origin, ", ".join(p.hooks)) for p in plugins.loaded]
    print_table(["plugin", "hooks"], hooks, title="Loaded plugins and the hooks they implement")


def _row(part: Part) -> list[str]:
    described = _describe(part)
    declared = [
        f"{p['name']}: {p['type']}" + ("" if p["required"] else f" = {p['default']}")
        for p in described["parameters"]
    ]
    unavailable = f"UNAVAILABLE: {part.unavailable}. " if part.unavailable else ""
    return [
        part.name,
        described["conformance"] or "",
        "; ".join(declared),
        str(part.origin),
        unavailable + described["doc"],
    ]
