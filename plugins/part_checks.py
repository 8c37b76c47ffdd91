"""What a class must be to be registered as a part: complete, settable, spelt as it is called."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from backtest.core.parameters import parameters, undeclared
from backtest.core.parts import Kind
from backtest.errors import PluginError
from backtest.strategies.reacting import Reacting

_OPTIONAL: Mapping[Kind, type[Any]] = {"strategy": Reacting}
"""What states the methods and attributes that a part may have and its base class has not."""

_SUBSTITUTED = 6
"""Letters from which on a name with one other letter is taken for the same, misspelt."""


def check_part(kind: Kind, name: str, part: type[Any]) -> None:
    """Refuse what could not be made or set, or has a method that would never be called as it is.

    Raises:
        PluginError: it is no class, or abstract; its parameters cannot be read, or are no fields of
            a dataclass; a public name is a misspelt one of its base class, or a method takes other
            arguments than there.
    """
    called = f"the {kind} {name!r}"
    if not isinstance(part, type):
        raise PluginError(f"{called} is {part!r}, not a class")
    if inspect.isabstract(part):
        missing = ", ".join(sorted(part.__abstractmethods__))
        near = [f"{found!r} for {meant!r}" for found, meant in _misspelt(kind, part)]
        raise PluginError(
            f"{called} does not implement {missing}",
            remedy=f"It has {', '.join(near)}: is that misspelt?" if near else None,
        )
    try:
        declared = {parameter.name for parameter in parameters(part)}
    except Exception as error:
        raise PluginError(f"the parameters of {called} cannot be read: {error}") from error
    lost = sorted(undeclared(part) - declared)
    if lost:
        raise PluginError(
            f"{called} has {lost[0]!r}, which is no field of a dataclass, so that it cannot be set",
            remedy="Put @dataclass above the class, and leave out __init__.",
        )
    for found, meant in _misspelt(kind, part):
        raise PluginError(
            f"{called} has {found!r}, which nothing asks for, instead of {meant!r}",
            remedy=f"Call it {meant!r}, or begin its name with '_' if it is for its own use.",
        )
    for method, form in _unfit(kind, part):
        raise PluginError(
            f"{called} has {method!r}, which cannot be called as {method}{form}",
            remedy="Give it these arguments.",
        )


def _misspelt(kind: Kind, part: Any) -> Iterator[tuple[str, str]]:
    """Public names that a class and its own bases add, each with the one that was meant."""
    if not isinstance(part, type):
        return
    for at, owner in enumerate(part.__mro__):
        contract = {name for above in _contract(part, at + 1) for name in _names(above)}
        if not contract:
            continue
        contract.update(_names(_OPTIONAL[kind]) if kind in _OPTIONAL else ())
        fields = getattr(owner, "__dataclass_fields__", {})
        for name in vars(owner):
            if name.startswith("_") or name in contract or name in fields:
                continue
            for meant in sorted(contract):
                if not meant.startswith("_") and _close(name, meant):
                    yield name, meant


def _names(owner: type[Any]) -> set[str]:
    """The names of methods and attributes that a class states."""
    return {*vars(owner), *inspect.get_annotations(owner)}


def _contract(part: type[Any], first: int) -> list[type[Any]]:
    """The project's classes that a part is derived from, from a place in their order on."""
    return [above for above in part.__mro__[first:] if above.__module__.startswith("backtest.")]


def _unfit(kind: Kind, part: type[Any]) -> Iterator[tuple[str, str]]:
    """Methods that do not take what those of the project's classes take, and what that is."""
    own = [owner for owner in part.__mro__ if not owner.__module__.startswith("backtest.")]
    for above in [*_contract(part, 0), *([_OPTIONAL[kind]] if kind in _OPTIONAL else [])]:
        for name, wanted in vars(above).items():
            given = next((vars(owner)[name] for owner in own if name in vars(owner)), None)
            if name.startswith("_") or not inspect.isfunction(wanted):
                continue
            if not inspect.isfunction(given):
                continue
            needed = [
                argument
                for argument in inspect.signature(wanted).parameters.values()
                if argument.default is argument.empty
                and argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
            ]
            by_name = [a.name for a in needed if a.kind is a.KEYWORD_ONLY]
            others = [a.name for a in needed if a.kind is not a.KEYWORD_ONLY]
            try:
                inspect.signature(given).bind(*others, **dict.fromkeys(by_name))
            except TypeError:
                yield name, f"({', '.join([*others[1:], *(f'{n}=...' for n in by_name)])})"


def _close(name: str, meant: str) -> bool:
    """Whether a name differs from another by its case and underscores, or one slip of the keys."""
    a, b = (text.replace("_", "").lower() for text in (name, meant))
    if a == b:
        return True
    if abs(len(a) - len(b)) > 1:
        return False
    if len(a) != len(b):
        short, long = sorted((a, b), key=len)
        return any(long[:k] + long[k + 1 :] == short for k in range(len(long)))
    apart = [k for k in range(len(a)) if a[k] != b[k]]
    if len(apart) == 1:
        return len(a) >= _SUBSTITUTED
    swapped = len(apart) == 2 and apart[1] == apart[0] + 1
    return swapped and a[apart[0]] == b[apart[1]] and a[apart[1]] == b[apart[0]]
