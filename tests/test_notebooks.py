"""The notebooks of the docs run from their first cell to their last, and show what they print."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from docs.run_notebooks import NOTEBOOKS, executed, plain, read

pytestmark = pytest.mark.one_python

_NUMBER = re.compile(r"-?\d[\d,]*\.?\d*")

TOLERANCES = {"own-model": 0.1}
"""How far numbers may be apart, relatively, where a network is trained: machines round in their own
ways."""


def shown(cell: Any) -> list[str]:
    """What a cell shows, as text; of pictures, that there are some."""
    found = []
    for output in cell.outputs:
        if output.output_type == "stream":
            found.append(output.text)
        else:
            found += [text if kind.startswith("text/") else kind
                      for kind, text in output.data.items()]  # fmt: skip
    return found


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in _NUMBER.findall(text)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_shows_what_it_prints(path: Path) -> None:
    tolerance = TOLERANCES.get(path.stem, 0.0)
    again = executed(path)
    for cell, now in zip(read(path).cells, again.cells, strict=True):
        if cell.cell_type != "code":
            continue
        kept, found = shown(cell), shown(now)
        assert [_NUMBER.sub("#", text) for text in kept] == [
            _NUMBER.sub("#", text) for text in found
        ], cell.source
        for one, other in zip(kept, found, strict=True):
            assert numbers(other) == pytest.approx(numbers(one), rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_what_depends_on_a_machine(path: Path) -> None:
    notebook = read(path)
    assert plain(read(path)) == notebook, "run `make docs`"
    assert path.stat().st_size < 150_000
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        for text in shown(cell):
            assert not re.search(r"/(home|tmp|root|work|usr|Users)\b", text), cell.source
            assert not re.search(r"-[0-9a-f]{12}\b", text), "a run's id depends on the version"
