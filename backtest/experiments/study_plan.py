"""What a study is asked to be: a run file with what to search, and for what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backtest.comparison.comparison import ALIASES, FIELDS
from backtest.comparison.conditions import Expression, parse_expression
from backtest.core.hashing import package_sha256, sha256_of
from backtest.core.parts import Parts
from backtest.core.settings import override
from backtest.data.dataset import open_dataset
from backtest.data.model_errors import problems
from backtest.errors import UsageError
from backtest.experiments.matrix import Matrix, parse_matrix
from backtest.experiments.search_space import Dimension, parse_space
from backtest.experiments.walk_forward import with_folds
from backtest.runs.run_config import PARTS


class Tune(BaseModel):
    """The table ``[tune]``.

    ``objective`` is a figure of ``backtest compare`` or an expression of several; ``trials`` are
    made in all. ``sampler`` chooses their settings: tree-structured Parzen estimators, or chance.
    With ``prune``, a trial ends after a fold if the mean of its folds' objectives is worse than the
    median of the others' at that fold, once ``startup`` trials are complete.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    objective: str
    direction: Literal["maximize", "minimize"] = "maximize"
    trials: int = Field(default=50, ge=1)
    sampler: Literal["tpe", "random"] = "tpe"
    prune: bool = True
    startup: int = Field(default=5, ge=1)
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What a study is asked to be.

    Attributes:
        name: what people call it.
        tune: how it searches.
        space: where.
        objective: what it is judged by.
    """

    name: str
    tune: Tune
    space: tuple[Dimension, ...]
    objective: Expression
    _table: Mapping[str, Any]
    _place: str
    _plugins: Parts

    def matrix(self, values: Mapping[str, Any]) -> Matrix:
        """The run of a trial, in folds if there are any.

        Raises:
            UsageError: there is no such run, or more than one.
        """
        settings = [dimension.setting(values[dimension.key]) for dimension in self.space]
        table = override(self._table, settings, self._plugins.declared(PARTS))
        matrix = parse_matrix(table, self._plugins, name=self.name, place=self._place)
        if len(matrix.configs) != 1:
            raise UsageError(
                f"its settings make {len(matrix.configs)} runs, but a trial is one",
                place=self._place,
                remedy="Put what is to vary into [search], as choices.",
            )
        return with_folds(matrix, self._plugins)

    @property
    def id(self) -> str:
        """Hash of all that its trials depend on, but for their number."""
        first = self.matrix({dimension.key: dimension.first for dimension in self.space})
        return sha256_of(
            {
                "table": json.loads(json.dumps(self._table, default=str)),
                "tune": self.tune.model_dump(exclude={"trials"}),
                "space": [[d.key, *map(str, (d.choices, d.low, d.high, d.step, d.log))]
                          for d in self.space],
                "data": open_dataset(first.configs[0].dataset).data_hash(),
                "build": package_sha256(),
            }
        )[:12]  # fmt: skip


def parse_study(
    table: Mapping[str, Any],
    plugins: Parts,
    *,
    name: str,
    place: str,
    settings: Sequence[str] = (),
) -> StudyPlan:
    """The study of a file: a run file with the tables ``[search]`` and ``[tune]``.

    Args:
        table: the file's tables.
        plugins: where parts come from.
        name: its name, where the file gives none.
        place: the file, for errors.
        settings: ``KEY=VALUE`` texts that override it.

    Raises:
        UsageError: it is none.
    """
    table = override({"name": name, **table}, settings, plugins.declared(PARTS))
    given, searched = table.pop("tune", {}), table.pop("search", {})
    try:
        tune = Tune.model_validate(given)
    except ValidationError as error:
        listed = "; ".join(f"tune.{problem}" for problem in problems(error, Tune, given))
        raise UsageError(listed, place=place) from None
    objective = parse_expression(tune.objective, FIELDS, place="tune.objective", aliases=ALIASES)
    if objective.uses_baseline:
        raise UsageError("a study has no baseline", place="tune.objective")
    space = parse_space(searched, table, plugins)
    plan = StudyPlan(str(table["name"]), tune, space, objective, table, place, plugins)
    plan.matrix({dimension.key: dimension.first for dimension in space})
    return plan
