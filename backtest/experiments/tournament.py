"""Market rounds in virtual time: teams with their own models and devices meet the same market.

Every team answers the same events of a round, is slowed by its own device, and is paid by the same
accountant; the leaderboard is what each had earned by each moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backtest.comparison.comparison import Comparison, compare
from backtest.comparison.profits import Profits
from backtest.core.callbacks import StepCallback
from backtest.core.text import in_one_line
from backtest.data.dataset import open_dataset
from backtest.data.model_errors import problems
from backtest.data.reading.bus import EventBus
from backtest.errors import BacktestError, UsageError
from backtest.runs.engine import Engine
from backtest.runs.folder import Run
from backtest.runs.run_config import Component, Instant, Span, parse_config

CHECKPOINTS = 12
"""How often in a round the leaderboard is read."""


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Team(_Table):
    """A team: its strategy, how it batches, and the service times of its device."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    strategy: Component
    service: Component
    policy: Component = "all"
    settings: dict[str, Any] = {}


class Round(_Table):
    """A market round: from ``start`` (default: the first event), as long as ``length``."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    length: Span | None = None
    start: Instant | None = None


class TournamentConfig(_Table):
    """A tournament; ``settings`` are those of a run that all teams share, such as ``latency``."""

    dataset: str
    team: Annotated[list[Team], Field(min_length=1)]
    round: Annotated[list[Round], Field(min_length=1)] = [Round(name="round")]
    accountant: Component = "challenge"
    settings: dict[str, Any] = {}


@dataclass(frozen=True)
class RoundResult:
    """How one round went.

    Attributes:
        name: the round's.
        compared: the runs of the teams that finished, in the order of ``teams``.
        teams: names of those.
        failed: names of the others, and why.
        ends: instants at which the leaderboard is read, ns, int64 [CHECKPOINTS].
        scores: what each team had earned by then, float64 [teams, CHECKPOINTS].
    """

    name: str
    compared: Comparison | None
    teams: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    ends: Any
    scores: Any

    @property
    def ranks(self) -> Any:
        """The place of each team at each checkpoint, 1 the first, int64 [teams, CHECKPOINTS].

        Teams with equal scores share the better place.
        """
        return 1 + (self.scores[None, :, :] > self.scores[:, None, :]).sum(axis=1)

    @property
    def profits(self) -> tuple[Profits, ...]:
        """What each team earned over time."""
        return () if self.compared is None else self.compared.profits


@dataclass(frozen=True)
class Standing:
    """A team's place after all rounds; ``scores`` by round, ``None`` if it failed."""

    team: str
    scores: tuple[float | None, ...]

    @property
    def total(self) -> float:
        """The sum over the rounds that it finished."""
        return sum(score for score in self.scores if score is not None)

    @property
    def finished(self) -> bool:
        """Whether no round failed."""
        return None not in self.scores


def parse_tournament(table: Mapping[str, Any], *, place: str) -> TournamentConfig:
    """A checked tournament.

    Raises:
        UsageError: with every problem of the table at once, or two teams or rounds of one name.
    """
    try:
        config = TournamentConfig.model_validate(dict(table))
    except ValidationError as error:
        raise UsageError(
            "; ".join(problems(error, TournamentConfig, table)),
            place=place,
            remedy="`backtest docs tournament` shows a complete file.",
        ) from None
    for kind, names in (
        ("teams", [team.name for team in config.team]),
        ("rounds", [of.name for of in config.round]),
    ):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"two {kind} are called {twice!r}", place=place)
    return config


def play(
    config: TournamentConfig,
    engine: Engine,
    *,
    on_start: StepCallback = lambda _: None,
) -> list[RoundResult]:
    """Play every round; a team that fails is reported with its error and the others continue.

    Args:
        on_start: called with each team as it starts, such as ``final: winner``.

    Raises:
        BacktestError: the dataset cannot be opened, or holds no event.
    """
    return [_play_round(config, of, engine, on_start) for of in config.round]


def standings(results: Sequence[RoundResult], teams: Sequence[str]) -> list[Standing]:
    """All teams, the best total first; teams with a failed round come after all others."""
    scores = [
        dict(zip(result.teams, (float(s[-1]) for s in result.scores), strict=True))
        for result in results
    ]
    found = [Standing(team, tuple(of.get(team) for of in scores)) for team in teams]
    return sorted(found, key=lambda s: (not s.finished, -s.total))


def _play_round(
    config: TournamentConfig, of: Round, engine: Engine, on_start: StepCallback
) -> RoundResult:
    window = _window(config, of)
    runs: dict[str, Run] = {}
    failed: list[tuple[str, str]] = []
    for team in config.team:
        on_start(f"{of.name}: {team.name}")
        try:
            runs[team.name] = engine.run(
                parse_config(_run_table(config, team, window), place=f"team {team.name!r}")
            )
        except BacktestError as error:
            failed.append((team.name, in_one_line(str(error))))
    if not runs:
        nothing = np.empty((0, CHECKPOINTS))
        return RoundResult(of.name, None, (), tuple(failed), np.empty(0), nothing)
    compared = compare([*runs.values()])
    known = [p.ends for p in compared.profits if len(p.ends)]
    ends = np.empty(0, dtype=np.int64)
    scores = np.zeros((len(runs), CHECKPOINTS))
    if known:
        first, last = min(int(e[0]) for e in known), max(int(e[-1]) for e in known)
        step = (last - first) / CHECKPOINTS
        ends = np.array([round(first + step * k) for k in range(1, CHECKPOINTS)] + [last])
        scores = np.stack([p.at(ends) for p in compared.profits])
    return RoundResult(of.name, compared, tuple(runs), tuple(failed), ends, scores)


def _window(config: TournamentConfig, of: Round) -> dict[str, int]:
    window = {} if of.start is None else {"start": of.start}
    if of.length is None:
        return window
    start = of.start
    if start is None:
        bus = EventBus(open_dataset(config.dataset))
        first = next((batch for batch in bus if len(batch)), None)
        if first is None:
            raise UsageError("the dataset contains no events", place=f"dataset {config.dataset!r}")
        start = int(first.ts_event[0])
    return {**window, "end": start + of.length}


def _run_table(config: TournamentConfig, team: Team, window: dict[str, int]) -> dict[str, Any]:
    table: dict[str, Any] = {**config.settings, **team.settings}
    latency = {
        **config.settings.get("latency", {}),
        **team.settings.get("latency", {}),
        "service": team.service,
    }
    return {
        **table,
        "dataset": config.dataset,
        "strategy": team.strategy,
        "policy": team.policy,
        "accountant": config.accountant,
        "latency": latency,
        "window": window,
    }
