"""Tables fit the terminal that they are printed on, and show every number whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from backtest.cli.tables import drawn

RUNS = (
    ["run", "strategy", "service", "answered", "p99 ms", "net PnL"],
    [
        ["8d8821", "batched", "affine:35.8ms,500us", "99.9 %", "118.4", "116.22"],
        ["f8d09e", "batched", "affine:2ms,100us", "99.9 %", "43,540.3", "-26,018.96"],
    ],
)
NUMBERS = ["answered", "p99 ms", "net PnL"]


def lines_of(
    headers: list[str], rows: list[list[str]], *, right: list[str], width: int
) -> list[str]:
    console = Console(width=width, force_terminal=True, color_system=None, markup=False)
    with console.capture() as capture:
        console.print(drawn(headers, rows, right=right, width=width))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_columns_that_do_not_vary_are_printed_once_above() -> None:
    lines = lines_of(*RUNS, right=NUMBERS, width=80)
    assert lines[:2] == ["strategy: batched", "answered: 99.9 %"]
    assert "batched" not in "\n".join(lines[2:])


def test_one_row_keeps_its_columns() -> None:
    lines = lines_of(RUNS[0], RUNS[1][:1], right=NUMBERS, width=120)
    assert lines[-1].split() == [*RUNS[1][0][:3], "99.9", "%", *RUNS[1][0][4:]]


def test_equal_rows_stay_rows() -> None:
    assert lines_of(["a", "b"], [["x", "1"]] * 2, right=["b"], width=80).count("x  1") == 2


def test_a_table_that_does_not_fit_is_a_block_of_lines_a_row() -> None:
    assert lines_of(*RUNS, right=NUMBERS, width=36) == [
        "strategy: batched",
        "answered: 99.9 %",
        "",
        "run      8d8821",
        "service  affine:35.8ms,500us",
        "p99 ms        118.4",
        "net PnL      116.22",
        "",
        "run      f8d09e",
        "service  affine:2ms,100us",
        "p99 ms     43,540.3",
        "net PnL  -26,018.96",
    ]


def test_names_lose_their_middle_only_while_they_differ() -> None:
    headers, rows = ["run", "net"], [["batched-one-1234567890ab", "1.00"], ["x", "2.00"]]
    assert lines_of(headers, rows, right=["net"], width=24)[-2] == "batched-o…567890ab  1.00"
    twins = [["batched-1-567890ab", "1.00"], ["batched-2-567890ab", "2.00"]]
    lines = lines_of(headers, twins, right=["net"], width=20)
    assert "…" not in "".join(lines)
    assert [line.split()[0] for line in lines[-4:]] == [
        "batched-1-5678",
        "90ab",
        "batched-2-5678",
        "90ab",
    ]


def test_prose_is_wrapped_by_words() -> None:
    lines = lines_of(
        ["check", "found"],
        [["reset", "the state after a reset is that of a new strategy"], ["order", "none"]],
        right=[],
        width=40,
    )
    assert lines[-3:-1] == ["reset  the state after a reset is that", "       of a new strategy"]


WORDS = st.text("abcdefgh-:,.", min_size=1, max_size=30)
FIGURES = st.floats(-1e9, 1e9).map(lambda x: f"{x:,.2f}")


@given(
    rows=st.lists(st.tuples(WORDS, WORDS, *[FIGURES] * 5), min_size=1, max_size=5),
    width=st.sampled_from([40, 60, 80, 200]),
)
def test_no_number_is_cut_and_no_line_is_too_long(rows: list[tuple[str, ...]], width: int) -> None:
    headers = ["strategy", "policy", "p50 ms", "response_rate", "net PnL", "fees", "turnover"]
    lines = lines_of(headers, [list(row) for row in rows], right=headers[2:], width=width)
    assert max(map(cell_len, lines)) <= width
    shown = [word for line in lines for word in line.split()]
    for k in range(2, 7):
        column = [row[k] for row in rows]
        for figure in {figure for figure in column if len(set(column)) > 1}:
            assert shown.count(figure) >= column.count(figure)


@pytest.mark.parametrize("width", [11, 15, 25])
def test_a_terminal_narrower_than_a_number_loses_nothing(width: int) -> None:
    text = "".join("".join(lines_of(*RUNS, right=NUMBERS, width=width)).split())
    assert "-26,018.96" in text


def test_a_number_stays_with_its_unit() -> None:
    found = ["p50 6.42 ms, p75 14.4 ms, p99 69.2 ms", "30.9 % of 20,000 events in 3.79 min"]
    for width in range(26, 60):
        lines = lines_of(["figure", "value"], [["a", v] for v in found], right=[], width=width)
        text = "\n".join(lines)
        for figure in ("6.42 ms", "14.4 ms", "69.2 ms", "30.9 %", "20,000 events", "3.79 min"):
            assert figure in text, width


def test_cards_leave_out_what_is_empty() -> None:
    rows = [["a" * 12, "", "1,234,567.00"], ["b" * 12, "exact", "2.00"]]
    lines = lines_of(["name", "class", "net"], rows, right=["net"], width=24)
    assert [line.split()[0] for line in lines if line] == ["name", "net", "name", "class", "net"]
