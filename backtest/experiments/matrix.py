"""A sweep file: a run's configuration in which any setting may be a list of alternatives.

The runs are all combinations of the alternatives, less what ``exclude`` names, and those that each
``include`` adds: the file's settings again, with the ones that it gives replaced.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, create_model

from backtest.core.grammar import parse_spec
from backtest.core.hashing import canonical_json, sha256_of
from backtest.core.parameters import arguments, as_table, as_text, convert
from backtest.core.parts import Kind, Parts
from backtest.core.settings import override
from backtest.core.text import in_one_line
from backtest.core.times import format_duration, format_utc
from backtest.data.model_errors import problems
from backtest.errors import UsageError
from backtest.experiments.folds import Folds
from backtest.runs.run_config import EXAMPLES, PARTS, RunConfig

MOST_RUNS = 100_000
"""A matrix of more combinations is taken for a mistake."""

_TABLES = ("latency", "window", "training", "server", "fills")

_OWN = ("name", "include", "exclude", "folds")
"""Settings of a sweep that are not those of its runs."""

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Matrix:
    """The runs of a sweep.

    Attributes:
        name: what people call it.
        configs: its runs, each once, in the order of the file; parts are tables with every
            parameter.
        labels: each run's settings by dotted key, as a person would write them.
        notes: what a person should hear about it, such as an exclusion that excludes nothing.
        folds: how each of them is to be trained and tested; ``None``: they are plain runs.
    """

    name: str
    configs: tuple[RunConfig, ...]
    labels: tuple[dict[str, str], ...]
    notes: tuple[str, ...]
    folds: Folds | None = None

    @property
    def id(self) -> str:
        """Hash of the runs that are asked for."""
        return sha256_of([config.model_dump(mode="json") for config in self.configs])[:12]

    def differences(self) -> list[dict[str, str]]:
        """Of each run's labels, those in which the runs differ."""
        varied = [key for key in self.labels[0] if len({each[key] for each in self.labels}) > 1]
        return [{key: each[key] for key in varied} for each in self.labels]


def parse_matrix(
    table: Mapping[str, Any],
    plugins: Parts,
    *,
    name: str,
    place: str,
    settings: Sequence[str] = (),
) -> Matrix:
    """The matrix of a sweep file.

    Args:
        table: the file's tables.
        plugins: where parts come from, so that their parameters can be checked.
        name: its name, where the file gives none.
        place: the file, for errors.
        settings: ``KEY=VALUE`` texts that override it.

    Raises:
        UsageError: with every problem at once, each with its key.
    """
    reader = _Reader(plugins)
    table = override({"name": name, **table}, settings, plugins.declared(PARTS))
    sweep = reader.check(_sweep_file(), table)
    shared = {k: v for k, v in table.items() if k not in _OWN}
    configs, notes = [], []
    if sweep is not None:
        configs = reader.configs(sweep)
        for number, rule in enumerate(sweep.exclude):
            at = f"exclude[{number}]"
            wanted = reader.check(_axes(RunConfig, False), rule, at)
            kept = [c for c in configs if wanted is None or not reader.matches(wanted, c, at)]
            if len(kept) == len(configs):
                notes.append(f"{at} excludes nothing.")
            configs = kept
        for number, rule in enumerate(sweep.include):
            at = f"include[{number}]"
            added = reader.check(_axes(RunConfig), _merged(shared, rule), at)
            configs += [] if added is None else reader.configs(added, at)
    if reader.problems:
        listed = "".join(f"\n  - {problem}" for problem in reader.counted())
        raise UsageError(
            f"{len(reader.problems)} of its settings cannot be used:{listed}",
            place=place,
            remedy="`backtest sweep --help` and `backtest plugins` explain the settings.",
        )
    assert sweep is not None
    unique = {sha256_of(config.model_dump(mode="json")): config for config in configs}
    if not unique:
        raise UsageError(
            "no combination is left", place=place, remedy="Exclude fewer combinations."
        )
    runs = tuple(unique.values())
    labels = tuple(map(reader.labels, runs))
    return Matrix(sweep.name, runs, labels, tuple(notes), sweep.folds)


@dataclass
class _Reader:
    """Makes combinations, and collects what is wrong with them.

    Attributes:
        problems: what is wrong, with the number of combinations that have it; 0 where it is wrong
            in the file, before anything is combined.
        combined: the number of combinations looked at.
    """

    plugins: Parts
    problems: Counter[str] = field(default_factory=Counter)
    combined: int = 0
    _whole: dict[str, dict[str, Any] | UsageError] = field(default_factory=dict)
    _texts: dict[str, str] = field(default_factory=dict)

    def counted(self) -> list[str]:
        """The problems, with the number of combinations of those that come with some."""
        return [
            f"{text} (in {count:,} of {self.combined:,} combinations)"
            if count and self.combined > 1
            else text
            for text, count in self.problems.items()
        ]

    def check(
        self, model: type[BaseModel], table: Mapping[str, Any], at: str = "", count: int = 0
    ) -> Any:
        """The table as the model has it, or ``None`` with the problems noted."""
        try:
            return model.model_validate(dict(table))
        except ValidationError as error:
            for problem in problems(error, model, table, examples=EXAMPLES):
                self._note(_join(at, problem), count)
            return None

    def configs(self, axes: BaseModel, at: str = "") -> list[RunConfig]:
        """A configuration for every combination; those with a part that cannot be are left out."""
        made = []
        for table in self._combinations(axes, at):
            self.combined += 1
            config = self.check(RunConfig, table, at, count=1)
            if config is not None and self._complete(dumped := config.model_dump(), at):
                made.append(RunConfig.model_validate(dumped))
        return made

    def matches(self, rule: BaseModel, config: BaseModel, at: str) -> bool:
        """Whether a combination has one of the alternatives of each setting in the rule."""
        for name in type(rule).model_fields:
            wanted = getattr(rule, name)
            value = getattr(config, name)
            if wanted is not None and not any(
                self._matches_one(one, value, _join(at, name)) for one in wanted
            ):
                return False
        return True

    def labels(self, config: RunConfig) -> dict[str, str]:
        """A configuration's settings by dotted key; parts as ``NAME:VALUE,...``."""
        flat = {}
        for key, value in config.model_dump().items():
            inner = {f"{key}.{k}": v for k, v in value.items()} if key in _TABLES else {key: value}
            for path, setting in inner.items():
                part = path in PARTS and setting is not None
                flat[path] = self._texts[canonical_json(setting)] if part else _text(path, setting)
        return flat

    def _matches_one(self, wanted: Any, value: Any, place: str) -> bool:
        if isinstance(wanted, BaseModel):
            return self.matches(wanted, value, place)
        kind = _kind(place)
        if kind is None or wanted is None or value is None:
            return bool(wanted == value)
        try:
            name, given = self._listed(kind, wanted, place)
            declared = self.plugins.parameters(kind, name, place=place)
            return name == value["name"] and all(
                value[key] in [_plain_value(convert(v, declared[key].type)) for v in alternatives]
                for key, alternatives in given.items()
            )
        except UsageError as error:
            self._note(error)
        except ValueError as error:
            self._note(f"{place} {name!r}: {error}")
        return False

    def _combinations(self, axes: BaseModel, at: str) -> list[dict[str, Any]]:
        choices = {}
        for name in type(axes).model_fields:
            values = getattr(axes, name)
            if values is not None and name not in _OWN:
                choices[name] = list(self._alternatives(values, _join(at, name)))
        count = math.prod(map(len, choices.values()))
        if count > MOST_RUNS:
            self._note(_join(at, f"{count:,} are more than {MOST_RUNS:,} combinations"))
            return []
        return [dict(zip(choices, c, strict=True)) for c in itertools.product(*choices.values())]

    def _alternatives(self, values: Sequence[Any], place: str) -> Iterator[Any]:
        for number, value in enumerate(values):
            if isinstance(value, BaseModel):
                yield from self._combinations(value, place)
            elif value is not None and (kind := _kind(place)) is not None:
                numbered = f"{place}[{number}]" if len(values) > 1 else place
                yield from self._parts(kind, value, numbered)
            else:
                yield value

    def _parts(self, kind: Kind, part: Any, place: str) -> Iterator[dict[str, Any]]:
        """The part's table for each combination of the alternatives that its parameters list."""
        try:
            name, given = self._listed(kind, part, place)
        except UsageError as error:
            self._note(error)
            return
        except ValueError as error:
            self._note(f"{place}: {error}")
            return
        if math.prod(map(len, given.values())) > MOST_RUNS:
            self._note(f"{place}: there are more than {MOST_RUNS:,} combinations")
            return
        for chosen in itertools.product(*given.values()):
            yield {"name": name, **dict(zip(given, chosen, strict=True))}

    def _listed(self, kind: Kind, part: Any, place: str) -> tuple[str, dict[str, list[Any]]]:
        """A part's name, and the alternatives that each of its given parameters lists."""
        spec = parse_spec(part, place=place)
        declared = self.plugins.parameters(kind, spec.name, place=place)
        given = arguments(spec, declared.values(), place=place)
        return spec.name, {
            key: list(_many(value, of_lists=_is_list(declared[key].type)))
            for key, value in given.items()
        }

    def _complete(self, config: dict[str, Any], at: str) -> bool:
        """Write every part out as a table of all its parameters; false if one cannot be made."""
        good = True
        for path, kind in PARTS.items():
            *parents, name = path.split(".")
            holder = config[parents[0]] if parents else config
            if holder[name] is not None:
                holder[name] = self._table(kind, holder[name], _join(at, path))
                good = good and holder[name] is not None
        return good

    def _table(self, kind: Kind, part: Any, place: str) -> dict[str, Any] | None:
        key = f"{place} {part!r}"
        if key not in self._whole:
            try:
                made = self.plugins.create(kind, part, place=place)
                name = parse_spec(part, place=place).name
                table = as_table(made, name)
                self._whole[key] = {k: _plain_value(v) for k, v in table.items()}
                self._texts[canonical_json(self._whole[key])] = as_text(made, name)
            except UsageError as error:
                self._whole[key] = error
        whole = self._whole[key]
        if isinstance(whole, UsageError):
            self._note(whole, 1)
            return None
        return whole

    def _note(self, problem: UsageError | str, count: int = 0) -> None:
        self.problems[in_one_line(str(problem))] += count


def _many(value: Any, *, of_lists: bool) -> Any:
    """The alternatives of a setting; where a value is a list itself, they are a list of lists."""
    if value == []:
        raise ValueError("the list is empty")
    if isinstance(value, list) and (not of_lists or all(isinstance(v, list) for v in value)):
        return tuple(value)
    return (value,)


@cache
def _axes(model: type[BaseModel], complete: bool = True) -> type[BaseModel]:
    """The model with alternatives for each of its fields; ``complete``: required ones remain so."""
    fields: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        kind: Any = info.annotation
        wrap = BeforeValidator(partial(_many, of_lists=_is_list(kind)))
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = _axes(kind, complete)
        elif info.metadata:
            kind = Annotated[(kind, *info.metadata)]
        alternatives = Annotated[tuple[kind, ...], wrap]
        required = complete and info.is_required()
        fields[name] = (alternatives, ...) if required else (alternatives | None, None)
    return create_model(model.__name__, __config__=model.model_config, **fields)


@cache
def _sweep_file() -> type[BaseModel]:
    tables: Any = (Annotated[tuple[dict[str, Any], ...], Field(strict=False)], ())
    return create_model(
        "SweepFile",
        __base__=_axes(RunConfig),
        name=(Annotated[str, Field(pattern=_NAME)], ...),
        include=tables,
        exclude=tables,
        folds=(Folds | None, None),
    )


def _merged(table: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The table with the settings of another put in; a part is replaced as a whole."""
    merged = dict(table)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict) and key not in PARTS
        merged[key] = {**below, **value} if both and below is not None else value
    return merged


def _is_list(kind: Any) -> bool:
    """Whether values of an annotated type are lists themselves."""
    if get_origin(kind) in (Union, UnionType, Annotated):
        return any(_is_list(inner) for inner in get_args(kind))
    return get_origin(kind) is tuple


def _plain_value(value: Any) -> Any:
    """A parameter as JSON and ``backtest.core.parameters`` both take it."""
    if isinstance(value, tuple):
        return [_plain_value(v) for v in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _text(path: str, setting: Any) -> str:
    """A setting that is not a part, as a user would write it."""
    if setting is None:
        return "none"
    if path.endswith((".start", ".end")):
        return format_utc(setting)
    if path in ("server.max_age", "training.purge"):
        return format_duration(setting)
    if isinstance(setting, tuple):
        return ",".join(map(str, setting))
    return f"{setting:g}" if isinstance(setting, float) else str(setting)


def _kind(place: str) -> Kind | None:
    """The kind of part that a setting at a place like ``include[0].latency.entry`` asks for."""
    head, _, rest = place.partition(".")
    return PARTS.get(rest if head.startswith(("include[", "exclude[")) else place)


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name
