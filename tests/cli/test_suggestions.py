"""What is misspelt is answered with the nearest name that there is, by every command."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import typer.main

from backtest.cli import app, main
from backtest.core.text import in_one_line, suggested_path, suggestion, suggestion_or_list

RUN = ["run", "--dataset", "sample", "--strategy", "imbalance", "--service", "constant:1ms"]
SWEEP = """
dataset = "{dataset}"
strategy = "imbalance"
latency = {{ service = "constant:1ms" }}
limit = 10
"""

MISSPELT = [
    # A run's settings, parts, parameters, datasets, symbols, profiles and files.
    ([*RUN, "--dataset", "sampel"], "'sample'"),
    ([*RUN, "--dataset", "{data}/smal"], "'{data}/small'"),
    ([*RUN, "--strategy", "imbalanse"], "'imbalance'"),
    ([*RUN, "--policy", "al-most:3"], "'at-most'"),
    ([*RUN, "--service", "afine:1ms"], "'affine'"),
    ([*RUN, "--service", "profile:h200-fused-fp61"], "'h200-fused-fp16'"),
    ([*RUN, "--service", "profile:{data}/servce.parquet"], "'{data}/service.parquet'"),
    ([*RUN, "--accountant", "markt"], "'market'"),
    ([*RUN, "--sizing", "sgin"], "'sign'"),
    ([*RUN, "--symbols", "SYM_0l1"], "'SYM_011'"),
    ([*RUN, "--set", "windw.start=1"], "'window'"),
    ([*RUN, "--set", "server.max_bach=1"], "'max_batch'"),
    ([*RUN, "--set", "max_batch=1"], "'server.max_batch'"),
    ([*RUN, "--set", "strategy.smothing=1"], "'smoothing'"),
    ([*RUN, "--set", "nonfinite=zro"], "'zero'"),
    ([*RUN, "--strategy", "pruned:towers=xlsm"], "'xlstm'"),
    ([*RUN, "--strategy", "batched", "--device", "cdua"], "'cuda'"),
    ([*RUN, "--strategy", "batched:weights={data}/wieghts.pt"], "'{data}/weights.pt'"),
    ([*RUN, "--plugin", "{data}/plugn.py"], "'{data}/plugin.py'"),
    ([*RUN, "--no-plugin", "backtest.plugins.polcies"], "'backtest.plugins.policies'"),
    (["run", "{data}/sweeps.toml"], "'{data}/sweep.toml'"),
    # Sweeps and their files.
    (["sweep", "{data}/sweeps.toml"], "'{data}/sweep.toml'"),
    (["sweep", "{data}/misspelt.toml"], "'latency'"),
    (["sweep", "{data}/sweep.toml", "--executor", "locl"], "'local'"),
    (["sweep", "{data}/sweep.toml", "--set", "latency.scal=[1,2]"], "'scale'"),
    (["sweep", "{data}/sweep.toml", "--set", "strategy.smothing=[1,2]"], "'smoothing'"),
    # Finished runs and their figures.
    (["compare", "{runs}x"], "'{runs}'"),
    (["compare", "{runs}", "--sort", "-net_pln"], "'net_pnl'"),
    (["compare", "{runs}", "--group", "polcy"], "'policy'"),
    (["compare", "{runs}", "--where", "drawdwn > 0"], "'drawdown'"),
    (["compare", "{runs}", "--where", "strategy == 'imbalanec'"], "'imbalance'"),
    (["compare", "{runs}", "--fail-if", "sharp < 1"], "'sharpe'"),
    (["compare", "{runs}", "--baseline", "imbalnce"], "'imbalance'"),
    (["compare", "--runs", "{data}", "--sweep", "nihgt"], "'night'"),
    (["report", "{runs}", "--section", "verdct"], "'verdict'"),
    (["report", "{runs}", "--sort", "nett"], "'net'"),
    (["report", "--runs", "{data}", "--sweep", "nihgt"], "'night'"),
    # Tournaments.
    (["tournament", "--dataset", "sampel", "--team", "a=eager/one/constant:1ms"], "'sample'"),
    (["tournament", "{data}/tournament.toml"], "'round'"),
    (["tournament", "--dataset", "sample", "--team", "a=eagre/one/constant:1ms"], "'eager'"),
    # Strategies alone.
    (["verify", "imbalanse"], "'imbalance'"),
    (["verify", "imbalance", "--set", "stratgy.smoothing=1"], "'strategy'"),
    (["verify", "imbalance", "--set", "strategy.smothing=1"], "'smoothing'"),
    (["verify", "imbalance", "--reference", "eagr"], "'eager'"),
    (["profile", "imbalanse"], "'imbalance'"),
    (["profile", "imbalance", "--dataset", "sampel"], "'sample'"),
    (["train", "sampel", "{data}/w.safetensors"], "'sample'"),
    (["train", "sample", "{data}/w.safetensors", "--set", "hiden=64"], "'hidden'"),
    # Datasets: sources, mappings, cards, builders.
    (["data", "ingest", "cvs", "{data}/rows.csv", "{data}/new"], "'csv'"),
    (["data", "ingest", "csv:{data}/mapping.toml", "{data}/row.csv", "{data}/new"], "rows.csv"),
    (["data", "ingest", "csv:{data}/maping.toml", "{data}/rows.csv", "{data}/new"], "mapping.toml"),
    (["data", "ingest", "csv:{data}/wrong.toml", "{data}/rows.csv", "{data}/new"], "'receive'"),
    (["data", "ingest", "csv:{data}/mapping.toml", "{data}/rows.csv", "{data}/new"], "'time'"),
    (["data", "ingest", "csv", "x", "y", "--set", "nonfinit=zero"], "'nonfinite'"),
    (["data", "export", "hftbacktest", "sampel", "{data}/out"], "'sample'"),
    (["data", "features", "sample", "{data}/new", "--builder", "retuns:1"], "'returns'"),
    (["data", "features", "sampel", "{data}/new", "--builder", "returns:1"], "'sample'"),
    (["data", "describe", "{data}/smal"], "'{data}/small'"),
    (["data", "describe", "{data}/card"], "'features'"),
    (["data", "validate", "sampel"], "'sample'"),
    (["data", "digest", "{data}/smal"], "'{data}/small'"),
    (["data", "generate", "{data}/new", "--set", "halflife=1s"], "'half_life'"),
    # Commands without names of their own.
    (["predictions", "prune", "--unusedfor", "1s"], "--unused-for"),
    (["predictions", "prun"], "'prune'"),
    (["open", "{runs}", "--no-plugin", "backtest.plugins.sizng"], "'backtest.plugins.sizing'"),
    (["plugins", "--no-plugin", "backtest.plugins.sizng"], "'backtest.plugins.sizing'"),
    (["demo", "--run", "x"], "--runs"),
    (["runs", "list", "--where", "nett > 0", "--runs", "{runs}"], "'net'"),
    (["runs", "show", "x", "--runs", "{runs}x"], "'{runs}'"),
    (["runs", "rm", "--where", "nett > 0", "--runs", "{runs}"], "'net'"),
    (["runs", "prune", "--run", "x"], "--runs"),
    (["docs", "simulatoin"], "'simulation'"),
    (["doctor", "--run", "x"], "--runs"),
    (["init", "mine", "--kin", "source"], "--kind"),
    (["tune", "{data}/sweeps.toml"], "'{data}/sweep.toml'"),
    (["comapre"], "'compare'"),
]


@pytest.fixture(scope="module")
def data(
    small_dataset: Path, finished_runs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with a dataset, a sweep, and files to be misspelt or with something misspelt."""
    folder = tmp_path_factory.mktemp("names")
    shutil.copytree(small_dataset, folder / "small")
    (folder / "sweep.toml").write_text(SWEEP.format(dataset=small_dataset))
    (folder / "misspelt.toml").write_text('latncy = { service = "constant:1ms" }\n')
    (folder / "tournament.toml").write_text(
        'dataset = "sample"\nrounds = []\n'
        'team = [{ name = "a", strategy = "eager", service = "constant:1ms" }]\n'
    )
    time = '[time]\nevent = "tim"\nunit = "ms"\nzone = "UTC"\n'
    features = '[symbol]\nvalue = "A"\n[features]\ncolumns = ["x"]\n'
    (folder / "mapping.toml").write_text(f'name = "a"\n{time}{features}')
    (folder / "wrong.toml").write_text(f'name = "a"\n{time}recieve = "y"\n{features}')
    (folder / "rows.csv").write_text("time,x\n1,2.0\n")
    (folder / "card").mkdir()
    (folder / "card" / "dataset.toml").write_text('format = 1\nname = "a"\nsymbols = ["A"]\n'
                                                  '[featuers]\ncolumns = ["x"]\n')  # fmt: skip
    for name in ("weights.pt", "plugin.py", "service.parquet"):
        (folder / name).touch()
    (folder / "sweeps").mkdir()
    (folder / "sweeps" / "0123456789ab.json").write_text('{"name": "night", "runs": []}')
    return folder


@pytest.mark.parametrize(("command", "meant"), MISSPELT, ids=lambda v: str(v)[:60])
def test_the_nearest_name_is_offered(
    command: list[str],
    meant: str,
    data: Path,
    finished_runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"data": data, "runs": finished_runs}
    with pytest.raises(SystemExit) as caught:
        main([word.format_map(places) for word in command])
    assert caught.value.code in (2, 3, 4)
    said = capsys.readouterr().err
    assert meant.format_map(places) in said
    assert "Did you mean" in said or "Possible options" in said


def test_every_command_is_in_the_table() -> None:
    def paths(command: object, path: tuple[str, ...]) -> set[tuple[str, ...]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            return {path}
        return set().union(*(paths(c, (*path, name)) for name, c in inner.items()))

    commands = paths(typer.main.get_command(app), ())
    tried = {tuple(words[:n]) for words, _ in MISSPELT for n in (1, 2, 3)}
    assert commands <= tried


def test_case_and_dashes_do_not_hide_a_name() -> None:
    assert suggestion("BATCHED", ["batched", "eager"]) == "Did you mean 'batched'?"
    assert suggestion("half-life", ["half_life", "rate"]) == "Did you mean 'half_life'?"
    assert suggestion("zzz", ["half_life"]) is None


def test_a_long_list_is_cut_with_its_count() -> None:
    known = [f"S{k}" for k in range(100)]
    listed = suggestion_or_list("zzz", known, "Symbols")
    assert listed.startswith("Symbols: S0, S1, ")
    assert listed.endswith("S39 and 60 more.")
    assert suggestion_or_list("zzz", []) == "Known: none."


def test_the_first_missing_part_of_a_path_is_mended(tmp_path: Path) -> None:
    (tmp_path / "night" / "runs").mkdir(parents=True)
    near = suggested_path(tmp_path / "nihgt" / "runs")
    assert near == f"Did you mean {str(tmp_path / 'night')!r}?"
    assert suggested_path(tmp_path / "zzz") is None


def test_lines_become_sentences() -> None:
    assert (
        in_one_line("x: it is absent\n  Did you mean 'y'?") == "x: it is absent. Did you mean 'y'?"
    )
    assert in_one_line("one") == "one"
