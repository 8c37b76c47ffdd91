"""Damaged files of quotes, trades and books: read right, or refused with a reason; nothing else."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from backtest.data.dataset import open_dataset
from backtest.data.quality.validate import validate
from backtest.data.sources import Source, ingest
from backtest.errors import DataError
from backtest.plugins.sources.hftbacktest import HftBacktest
from backtest.plugins.sources.lobster import Lobster
from backtest.plugins.sources.tardis import Tardis
from tests.plugins.sources import test_hftbacktest as hft
from tests.plugins.sources import test_lobster as lobster
from tests.plugins.sources import test_tardis as tardis
from tests.plugins.sources.test_mutated import mutant

MUTANTS = 60


def tardis_file(kind: str) -> Callable[[Path], Path]:
    rows = {"quotes": tardis.QUOTES, "trades": tardis.TRADES, "incremental_book_L2": tardis.BOOK}
    if kind == "book_snapshot_2":
        rows[kind] = [tardis.at(k, k + 1, 11, 7, 10, 5, 12, k, 9, "") for k in range(9)]
    return lambda folder: tardis.written(folder, kind, rows[kind], f"x_{kind}_A.csv")


def lobster_file(kind: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return next(lobster.written(folder, lobster.market(1, 40, 2)).glob(f"*{kind}*"))

    return make


def hft_file(rows: list[object], suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        if suffix == "npz":
            return hft.written(folder, rows, "abc.npz")
        folder.mkdir(exist_ok=True)
        np.save(folder / "abc.npy", np.array(rows, dtype=hft.EVENT))
        return folder / "abc.npy"

    return make


MADE: dict[str, tuple[Source, Callable[[Path], Path]]] = {
    **{
        f"tardis-{kind}": (Tardis(), tardis_file(kind))
        for kind in ("quotes", "trades", "incremental_book_L2", "book_snapshot_2")
    },
    "lobster-message": (Lobster(), lobster_file("message")),
    "lobster-orderbook": (Lobster(), lobster_file("orderbook")),
    "lobster-levels": (Lobster(depth="levels"), lobster_file("message")),
    "hft-npz": (HftBacktest(), hft_file(hft.LEVELS, "npz")),
    "hft-levels": (HftBacktest(), hft_file(hft.LEVELS, "npy")),
    "hft-orders": (HftBacktest(), hft_file(hft.ORDERS, "npy")),
}


@pytest.mark.parametrize("name", MADE)
def test_damage_is_read_or_refused_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    source, make = MADE[name]
    path = make(tmp_path / "in")
    whole, draw = path.read_bytes(), random.Random(3)
    out = tmp_path / "out" / "dataset"
    refused = 0
    for number in range(MUTANTS + 1):
        path.write_bytes(mutant(whole, draw) if number else whole)
        problem = None
        try:
            report = ingest(name, source, tmp_path / "in", out)
        except DataError as error:
            problem = error
        assert number or problem is None  # what is whole is read
        if problem is not None:
            refused += 1
            assert problem.place
            assert not out.exists()
            continue
        events = report.written - report.depth.get("quotes", 0)
        kept = events + report.depth.get("read", 0) + sum(report.refused.values())
        assert report.read == kept
        assert validate(open_dataset(out)).usable
        shutil.rmtree(out)
    assert refused > 5
