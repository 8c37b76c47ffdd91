"""Bad input of every kind ends in an error that says what to do, never in "This is a bug"."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backtest.cli import main

RUN = ["run", "--dataset", "sample", "--strategy", "imbalance", "--limit", "300", "--no-reuse"]
RUN += ["--service", "constant:1ms"]


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a command and what it says on stderr."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    told = capsys.readouterr().err
    assert "this is a bug" not in told
    assert "Warning" not in told
    return int(caught.value.code or 0), told


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--set", "x=" + "[" * 5000], 2, "a bracket in"),
        (["--set", "x=" + "[" * 5000 + "]" * 5000], 2, "nests deeper than 64 levels"),
        (["--set", "a." * 100 + "a=1"], 2, "has more than 64 keys"),
        (["--policy", "a:" + "[" * 5000 + "]" * 5000], 2, "nests deeper than 64 levels"),
        (["--accountant", "market:bucket=1ns"], 2, "of which the window has more than 1,000,000"),
        (["--warmup", "9" * 30], 2, "less than or equal to 9223372036854775807"),
        (["--set", "window.start=0001-01-01T00:00:00+23:59"], 2, "outside the years 1678 to 2262"),
        (["--start", "9" * 30], 2, "is not an instant in UTC"),
        (["--set", "server.max_age=" + "9" * 400], 2, "server.max_age"),
        (["--sizing", "sign:lots=" + "9" * 400], 2, "2^53 at most"),
        (["--sizing", "proportional:1e300"], 1, "it wants a position of"),
        (["--device", "nonsense"], 2, "no device 'nonsense'"),
        (["--device", "meta"], 2, "no device 'meta'"),
        (["--device", ""], 2, "no device ''"),
        (["--service", "profile:./"], 3, "is a folder, not a latency profile"),
    ],
)
def test_a_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, told: str
) -> None:
    found, shown = refused([*RUN, "--runs", str(tmp_path), *words], capsys)
    assert (found, told in shown) == (code, True), shown


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("strategy", ["imbalance", "batched"])
def test_no_cuda(tmp_path: Path, capsys: pytest.CaptureFixture[str], strategy: str) -> None:
    words = [*RUN, "--runs", str(tmp_path), "--strategy", strategy, "--device", "cuda"]
    code, told = refused(words, capsys)
    assert code == 2
    assert "no device 'cuda'" in told
    assert "Use cpu" in told


@pytest.mark.parametrize("command", ["run", "sweep"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = " + "[" * 5000 + "]" * 5000, "nests deeper than 64 levels"),
        (".".join("a" * 30_000) + " = 1", "a key has more than 64 parts"),
        ("service = {span = 1" + "0" * 400 + "}", "service"),
    ],
)
def test_a_file_of_settings_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, text: str, told: str
) -> None:
    (tmp_path / "a.toml").write_text(text)
    code, shown = refused([command, str(tmp_path / "a.toml")], capsys)
    assert code == 2
    assert "a.toml" in shown
    assert told in shown


def test_a_time_span_beyond_64_bits_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.toml").write_text(
        '[latency]\nservice = {name = "constant", span = 1' + "0" * 40 + "}"
    )
    words = [*RUN[:1], str(tmp_path / "a.toml"), *RUN[1:-2], "--runs", str(tmp_path / "runs")]
    code, shown = refused(words, capsys)
    assert code == 2
    assert "parameter 'span': a time span of" in shown


@pytest.mark.parametrize("what", ["feed", "service", "entry", "response"])
@pytest.mark.parametrize(
    "how",
    [
        ["constant:1ms", "--set", "latency.scale=1e300"],
        ["exponential:2500000h"],
        ["affine:2500000h,2500000h"],
    ],
)
def test_spans_that_no_clock_outlives_are_waited_for_in_vain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, how: list[str]
) -> None:
    code, told = refused([*RUN, "--runs", str(tmp_path), f"--{what}", *how], capsys)
    assert code == 0, told


def test_no_memory_is_told_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("Unable to allocate 44.8 GiB")

    monkeypatch.setattr("backtest.runs.scenario.open_dataset", fail)
    code, told = refused([*RUN, "--runs", str(tmp_path)], capsys)
    assert code == 1
    assert "there is not enough memory: MemoryError: Unable to allocate 44.8 GiB" in told


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("words", [["verify", "imbalance"], ["profile", "imbalance"]])
def test_no_cuda_for_a_strategy_that_does_without_torch(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    code, told = refused([*words, "--device", "cuda"], capsys)
    assert (code, "no device 'cuda'" in told) == (2, True), told


def test_sequences_beyond_any_memory_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "w.safetensors")
    for name in ("lanes", "chunk"):
        code, told = refused(["train", "sample", out, "--set", f"{name}=999999999999"], capsys)
        assert (code, f"{name} must be at most 1,000,000" in told) == (2, True), told
