"""Classes that are given directly, as from a notebook: which hook registers one, and its identity.

A file or a package is identified by its source. A class that was typed in has no file to hash, and
one from a file may have been edited there since it was imported. What it runs is in memory: the
code of its methods, the values of its attributes, and whatever those read from their module.
"""

from __future__ import annotations

import dataclasses
import dis
import hashlib
import logging
import re
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np

from backtest.core.parts import Kind
from backtest.data.features.builders import FeatureBuilder
from backtest.data.sources import Source
from backtest.errors import PluginError
from backtest.experiments.executors import Executor
from backtest.plugins.loading import source_sha256
from backtest.report.sections import ReportSection
from backtest.strategies.base import Strategy
from backtest.timing.latency import LatencyModel
from backtest.timing.policies import BatchingPolicy
from backtest.trading.accountant import Accountant
from backtest.trading.queue_models import QueueModel
from backtest.trading.quoting import QuotingRule
from backtest.trading.sizing import SizingRule

_BASES: dict[type, Kind] = {
    Strategy: "strategy",
    LatencyModel: "latency model",
    BatchingPolicy: "batching policy",
    SizingRule: "sizing rule",
    QuotingRule: "quoting rule",
    QueueModel: "queue model",
    Accountant: "accountant",
    Source: "source",
    FeatureBuilder: "feature builder",
    Executor: "executor",
    ReportSection: "report section",
}

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), np.generic, PurePath)
_TOLD_BY_REPR = (
    np.dtype,
    np.ufunc,
    types.GenericAlias,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.UnionType,
)
_READS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_GENERATED = {
    "__abstractmethods__",
    "__annotate__",
    "__annotate_func__",
    "__annotations_cache__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__module__",
    "__static_attributes__",
    "__weakref__",
    "_abc_impl",
}
"""Attributes of a class that Python makes, or that say nothing of what it does."""


def kind_of(part: type) -> Kind:
    """The kind of a part, from the class that it is derived from.

    Raises:
        PluginError: it is derived from none of the kinds' base classes.
    """
    for base, kind in _BASES.items():
        if issubclass(part, base):
            return kind
    raise PluginError(
        f"the class {part.__name__!r} is no part",
        remedy=f"Derive it from one of {', '.join(base.__name__ for base in _BASES)}.",
    )


def name_of(part: type) -> str:
    """The name of a class that was given directly: ``LastMove`` is called ``last-move``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", part.__name__)
    return words.strip("_").lower()


def class_sha256(part: type) -> str:
    """SHA-256 of what a class runs: its code, its values, and what both read from their module.

    What belongs to another module is identified by that module's file. A value whose content cannot
    be told stands for the whole file of the class.

    Raises:
        PluginError: there is such a value, and no file.
    """
    digest = hashlib.sha256()
    for line in _Reading(part).lines():
        digest.update(line.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


class _Reading:
    """Reads everything that a class is made of, each thing once."""

    def __init__(self, part: type) -> None:
        self._part = part
        self._seen: set[int] = set()
        self._kept: list[Any] = []  # ids stay taken as long as what bears them is kept

    def lines(self) -> Iterator[str]:
        yield from self._class(self._part)

    def _value(self, value: Any, name: str) -> Iterator[str]:
        if isinstance(value, Enum):
            yield from self._value(type(value), name)
            yield value.name
        elif isinstance(value, _PLAIN):
            yield f"{type(value).__name__} {value!r}"
        elif isinstance(value, types.CodeType):
            yield from self._code(value)
        elif self._is_known(value):
            return
        elif isinstance(value, (tuple, list)):
            yield f"{type(value).__name__} {len(value)}"
            for item in value:
                yield from self._value(item, name)
        elif isinstance(value, (set, frozenset)):
            yield f"{type(value).__name__} {sorted(map(repr, value))}"
        elif isinstance(value, Mapping):
            yield f"{type(value).__name__} {len(value)}"
            for key, item in value.items():
                yield from self._value(key, name)
                yield from self._value(item, name)
        elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
            yield f"array {value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
        elif isinstance(value, types.ModuleType):
            yield f"module {value.__name__} {source_sha256(value)}"
        elif isinstance(value, type):
            yield from self._class(value)
        elif isinstance(value, types.FunctionType):
            yield from self._function(value)
        elif (within := _within(value)) is not None:
            yield type(value).__name__
            yield from self._value(within, name)
        elif isinstance(value, _TOLD_BY_REPR) or type(value).__module__ in ("typing", "types"):
            yield f"{type(value).__name__} {value!r}"
        else:
            yield from self._other(value, name)

    def _is_known(self, value: Any) -> bool:
        if id(value) in self._seen:
            return True
        self._seen.add(id(value))
        self._kept.append(value)
        return False

    def _is_elsewhere(self, value: Any) -> bool:
        return value.__module__ in ("builtins", "typing") or (
            value.__module__ != self._part.__module__
        )

    def _class(self, part: type) -> Iterator[str]:
        yield f"class {part.__module__}.{part.__qualname__}"
        if self._is_elsewhere(part):
            yield f"of {source_sha256(part)}"
            return
        for base in part.__bases__:
            yield from self._value(base, part.__name__)
        if dataclasses.is_dataclass(part):
            for field in dataclasses.fields(part):
                default = (field.default, field.default_factory)
                yield f"field {field.name} {field.type} {field.init}"
                for value in default:
                    if value is not dataclasses.MISSING:
                        yield from self._value(value, field.name)
        for name, value in sorted(vars(part).items()):
            generated = name in _GENERATED or name.startswith(("__dataclass_", "__match_args__"))
            code = getattr(value, "__code__", None)
            # What a dataclass generates has no file: its fields, above, decide it.
            if not generated and not (code is not None and code.co_filename == "<string>"):
                yield name
                yield from self._value(value, name)

    def _function(self, function: types.FunctionType) -> Iterator[str]:
        yield f"function {function.__module__}.{function.__qualname__}"
        if self._is_elsewhere(function):
            yield f"of {source_sha256(function)}"
            return
        code = function.__code__
        yield from self._code(code)
        yield from self._value(function.__defaults__, function.__name__)
        yield from self._value(function.__kwdefaults__, function.__name__)
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            yield name
            if cell != types.CellType():  # it may not have been assigned yet
                yield from self._value(cell.cell_contents, name)
        for name in sorted(_names(code)):
            if name in function.__globals__:
                yield name
                yield from self._value(function.__globals__[name], name)

    def _code(self, code: types.CodeType) -> Iterator[str]:
        yield f"code {code.co_code.hex()} {code.co_names} {code.co_varnames} {code.co_flags}"
        for constant in code.co_consts:
            yield from self._value(constant, code.co_name)

    def _other(self, value: Any, name: str) -> Iterator[str]:
        """A value that does not show all that it holds, such as a network or an open file."""
        yield f"{type(value).__module__}.{type(value).__qualname__}"
        file = source_sha256(self._part)
        if file is None:
            raise PluginError(
                f"the class {self._part.__name__!r} reads {name!r}, a {type(value).__name__}, "
                "whose content cannot be told: changed, it would meet the results of another",
                remedy="Make it in `bind`, or from a parameter such as a file's path; or put the "
                "class into a file of its own.",
            )
        yield f"of {file}"


def _within(value: Any) -> Any:
    """What a value that wraps others is made of; ``None`` if it is nothing of the kind."""
    if isinstance(value, (staticmethod, classmethod)):
        return value.__func__
    if isinstance(value, property):
        return (value.fget, value.fset, value.fdel)
    if isinstance(value, partial):
        return (value.func, value.args, value.keywords)
    if isinstance(value, types.MethodType):
        return (value.__self__, value.__func__)
    if isinstance(value, types.BuiltinFunctionType):
        owner = value.__self__
        return (owner, value.__name__) if owner is not None else value.__qualname__
    if isinstance(value, re.Pattern):
        return (value.pattern, value.flags)
    if isinstance(value, logging.Logger):
        return value.name
    return getattr(value, "__wrapped__", None)  # a cached or a compiled function


def _names(code: types.CodeType) -> set[str]:
    """Names that code, and the code within it, may read from its module."""
    found = {i.argval for i in dis.get_instructions(code) if i.opname in _READS}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant)
    return found
