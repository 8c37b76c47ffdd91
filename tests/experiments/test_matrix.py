"""Sweep files become the runs that they ask for, or all their problems are reported together."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from backtest.errors import UsageError
from backtest.experiments.matrix import Matrix, parse_matrix
from backtest.plugins.manager import Plugins

BASE = """
dataset = "sample"
strategy = ["batched", { name = "imbalance", smoothing = [0.5, 1.0] }]
policy = ["one", "all"]
seed = [0, 1]
latency = { service = ["affine:35.8ms,0.5ms", "constant:1ms"], entry = "constant:250us" }
"""


def parse(plugins: Plugins, text: str, *settings: str) -> Matrix:
    table = tomllib.loads(text)
    return parse_matrix(table, plugins, name="night", place="night.toml", settings=settings)


def problems(plugins: Plugins, text: str, *settings: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(plugins, text, *settings)
    return str(caught.value)


def column(matrix: Matrix, key: str) -> list[Any]:
    return [labels[key] for labels in matrix.labels]


def test_every_combination_occurs_once_in_the_order_of_the_file(plugins: Plugins) -> None:
    matrix = parse(plugins, BASE)
    assert len(matrix.configs) == 3 * 2 * 2 * 2
    assert matrix.name == "night"
    assert matrix.differences()[0] == {
        "strategy": "batched",
        "latency.service": "affine:35.8ms,500us",
        "policy": "one",
        "seed": "0",
    }
    assert column(matrix, "strategy")[8] == "imbalance:0.5"
    assert set(column(matrix, "latency.entry")) == {"constant:250us"}
    assert matrix.configs[0].latency.service == {
        "name": "affine",
        "base": 35_800_000,
        "per_event": 500_000,
    }
    assert parse(plugins, BASE + 'sizing = ["sign", "sign:lots=1"]').configs == matrix.configs


def test_parts_written_as_text_may_list_alternatives(plugins: Plugins) -> None:
    listed = BASE.replace(
        '{ name = "imbalance", smoothing = [0.5, 1.0] }', '"imbalance:smoothing=[0.5,1]"'
    )
    assert listed != BASE
    assert parse(plugins, listed).configs == parse(plugins, BASE).configs
    excluded = parse(plugins, BASE + '[[exclude]]\nstrategy = "imbalance:[0.5,1.0]"')
    assert set(column(excluded, "strategy")) == {"batched"}
    changed = parse(plugins, BASE, "latency.service.base=1ms")
    assert set(column(changed, "latency.service")) == {"affine:1ms,500us", "constant:1ms"}


def test_the_id_depends_on_the_runs_alone(plugins: Plugins) -> None:
    matrix = parse(plugins, BASE)
    assert parse(plugins, BASE.replace('"constant:1ms"', '"constant:1000us"')).id == matrix.id
    assert parse(plugins, 'name = "other"\n' + BASE).id == matrix.id
    assert parse(plugins, BASE, "seed=[0,2]").id != matrix.id


def test_settings_that_are_lists_themselves_take_lists_of_lists(plugins: Plugins) -> None:
    one = parse(plugins, BASE + 'symbols = ["A", "B"]')
    assert len(one.configs) == 24
    assert one.configs[0].symbols == ("A", "B")
    two = parse(plugins, BASE + 'symbols = [["A"], ["A", "B"]]')
    assert len(two.configs) == 48
    assert set(column(two, "symbols")) == {"A", "A,B"}


def test_tables_may_be_lists_of_tables(plugins: Plugins) -> None:
    windows = """
    [[window]]
    start = 2024-08-09T00:00:00Z
    end = 2024-08-09T06:00:00Z
    [[window]]
    start = 2024-08-09T06:00:00Z
    """
    matrix = parse(plugins, BASE + windows)
    assert len(matrix.configs) == 48
    assert set(zip(column(matrix, "window.start"), column(matrix, "window.end"), strict=True)) == {
        ("2024-08-09T00:00:00Z", "2024-08-09T06:00:00Z"),
        ("2024-08-09T06:00:00Z", "none"),
    }


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ('strategy = "imbalance"', 8),
        ('strategy = "imbalance:0.5"', 16),
        ('strategy = { name = "imbalance", smoothing = [0.5, 1] }\nseed = 1', 16),
        ('strategy = ["batched", "imbalance:1"]', 8),
        ('policy = "one"\nlatency = { service = "constant:1000us" }', 18),
        ('latency = { entry = "constant" }\nseed = [0, 1]\npolicy = "all"', 12),
    ],
)
def test_exclusions_match_by_what_they_name(plugins: Plugins, rule: str, left: int) -> None:
    matrix = parse(plugins, f"{BASE}\n[[exclude]]\n{rule}")
    assert len(matrix.configs) == left
    assert not matrix.notes


def test_an_exclusion_of_nothing_is_mentioned(plugins: Plugins) -> None:
    matrix = parse(plugins, BASE + "[[exclude]]\nseed = 1\n[[exclude]]\nseed = 7")
    assert matrix.notes == ("exclude[1] excludes nothing.",)
    everything = "[[exclude]]\npolicy = ['one', 'all']"
    assert "no combination is left" in problems(plugins, BASE + everything)


def test_inclusions_replace_settings_and_are_not_excluded(plugins: Plugins) -> None:
    more = """
    [[exclude]]
    seed = [0, 1]
    policy = "one"
    [[include]]
    strategy = "last-write"
    policy = "one"
    seed = 0
    latency = { scale = [0.0, 5.0] }
    """
    matrix = parse(plugins, BASE + more)
    added = matrix.configs[12:]
    assert len(added) == 2 * 2
    assert {c.latency.scale for c in added} == {0.0, 5.0}
    assert all(c.latency.entry == matrix.configs[0].latency.entry for c in added)


def test_settings_reach_the_parts_that_declare_them(plugins: Plugins) -> None:
    matrix = parse(
        plugins, BASE, "strategy.smoothing=[0.1,0.2,0.3]", "latency.service=constant:2ms"
    )
    assert list(dict.fromkeys(column(matrix, "strategy"))) == [
        "batched",
        "imbalance:0.1",
        "imbalance:0.2",
        "imbalance:0.3",
    ]
    assert set(column(matrix, "latency.service")) == {"constant:2ms"}
    assert "no parameter 'width'" in problems(plugins, BASE, "strategy.width=1")
    assert "is not KEY=VALUE" in problems(plugins, BASE, "seed")
    assert "has no keys" in problems(plugins, BASE, "strategy.a.b=1")


def test_all_problems_of_the_shape_are_reported_together(plugins: Plugins) -> None:
    text = problems(
        plugins,
        """
        name = "../../x"
        dataset = "sample"
        seed = [0, -1, "two"]
        colour = "red"
        symbols = []
        window = { start = "noon" }
        [server]
        line_limit = 0
        [[latency]]
        scale = 1
        [[exclude]]
        nonsense = 1
        """,
    )
    for problem in (
        "night.toml: ",
        "name: String should match pattern",
        "seed[1]: should be greater than or equal to 0",
        "seed[2]: should be a valid integer",
        "colour: no such key",
        "strategy: missing",
        "latency[0].service: missing",
        "symbols: the list is empty",
        "window.start: 'noon' is not an instant",
        "server.line_limit: should be greater",
    ):
        assert problem in text, problem


def test_all_problems_of_the_parts_are_reported_together(plugins: Plugins) -> None:
    text = problems(
        plugins,
        """
        dataset = "sample"
        strategy = ["batchd", { name = "imbalance", smoothing = [0.5, 7] }, "imbalance:width=1"]
        policy = "at-most:0"
        latency = { service = "affine:5" }
        [[exclude]]
        strategy = "imbalance:width=1"
        [[include]]
        seed = "x"
        """,
    )
    for problem in (
        "Did you mean 'batched'?",
        "smoothing is 7.0; it must be above 0",
        "no parameter 'width'",
        "policy 'at-most': n is 0",
        "write a number and a unit",
        "include[0].seed: should be a valid integer",
    ):
        assert problem in text, problem


def test_too_many_combinations_are_refused_before_they_are_made(plugins: Plugins) -> None:
    seeds = ",".join(map(str, range(20_000)))
    assert "more than 100,000 combinations" in problems(plugins, BASE, f"seed=[{seeds}]")


def test_a_mistake_in_many_combinations_is_told_once_with_its_count(plugins: Plugins) -> None:
    seeds = ",".join(map(str, range(500)))
    base = 'dataset = "sample"\nstrategy = "batched"\nlatency = { service = "constant:1ms" }'
    text = problems(plugins, base, f"seed=[{seeds}]", "policy=[at-most:0,all,one]")
    assert text.count("n is 0") == 1
    assert "at least one event (in 500 of 1,500 combinations)" in text
    text = problems(plugins, base, f"seed=[{seeds}]", "accountant=market:bucket=0ns")
    assert "but must be above 0 (in 500 of 500 combinations)" in text


def test_a_mistake_that_no_combination_makes_has_no_count(plugins: Plugins) -> None:
    assert "combinations)" not in problems(plugins, BASE, "seed=[0,1]", "colour=red")


def test_a_problem_and_its_remedy_are_two_sentences(plugins: Plugins) -> None:
    text = problems(plugins, BASE, "policy=[al,one]")
    assert "no batching policy is called 'al'. Did you mean 'all'?" in text
