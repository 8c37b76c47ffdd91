"""Sizes, names and checkpoints of the ensemble."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from backtest.errors import DataError
from backtest.strategies.ensemble import Ensemble, EnsembleConfig, is_buffer, load_weights
from backtest.strategies.state_pool import bytes_of
from backtest.strategies.state_tree import named_leaves
from backtest.strategies.tensor_files import write_safetensors

# SHA-256 of the public full-size checkpoint's "name shape dtype" lines, sorted, joined by newlines.
FULL_SIZE = "b233eb3468a8a67b7f856b86ded01659a666158b5614aaeebbe3c12903a4d5d3"


def on_meta(config: EnsembleConfig) -> Ensemble:
    return Ensemble(
        config, {name: torch.empty(shape, device="meta") for name, shape in config.shapes().items()}
    )


def test_full_size_matches_the_public_checkpoint() -> None:
    tensors = on_meta(EnsembleConfig()).state_dict()
    lines = sorted(
        f"{name} {tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}"
        for name, t in tensors.items()
    )
    assert len(lines) == 1086
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == FULL_SIZE
    parameters = [t.numel() for name, t in tensors.items() if not is_buffer(name)]
    assert sum(parameters) == 1_985_146_305
    assert len(tensors) - len(parameters) == 24


def test_full_size_steps_and_its_state_takes_what_it_should() -> None:
    full = on_meta(EnsembleConfig())
    state = full.init_state(1)
    taken = [bytes_of(tower) for tower in state.values()]
    assert taken == [102_138_240, 25_792_512, 25_166_256, 393_216]
    batch = full.init_state(3)
    y, new = full(torch.empty(3, 79, device="meta"), batch)
    assert y.shape == (3, 4)
    assert {k: (v.shape, v.dtype) for k, v in named_leaves(new)} == {
        k: (v.shape, v.dtype) for k, v in named_leaves(batch)
    }


@pytest.mark.parametrize(
    "sizes",
    [{"hidden": 40}, {"heads": 3}, {"hidden": 64, "heads": 64}, {"depth": 0}, {"features": 0}],
    ids=str,
)
def test_sizes_that_do_not_go_together_are_refused(sizes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"multiple of|even|at least 1"):
        EnsembleConfig(**sizes)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_checkpoint_loads_with_its_sizes_inferred(
    tiny: Ensemble, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"w{suffix}"
    if suffix == ".pt":
        torch.save(tiny.state_dict(), path)
    else:
        write_safetensors(path, tiny.state_dict())
    loaded = load_weights(path)
    assert loaded.config == tiny.config
    assert list(loaded.state_dict()) == list(tiny.state_dict())
    for name, tensor in tiny.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


BROKEN = "towers.3.blocks.1.layer.rglru.a"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda w: w.pop(BROKEN), BROKEN),
        (lambda w: w.update({BROKEN: torch.ones(31)}), BROKEN),
        (lambda w: w.update({BROKEN: w[BROKEN].half()}), BROKEN),
        (lambda w: w.update({"towers.4.extra": torch.ones(1)}), "towers.4.extra"),
        (lambda w: w.pop("output_proj.weight"), "output_proj.weight"),
        (lambda w: w.update({"output_proj.weight": torch.ones(32)}), "output_proj.weight"),
        (lambda w: w.update({"output_proj.weight": torch.ones(1, 33)}), "hidden 33"),
    ],
    ids=["missing", "shape", "dtype", "unknown", "no output", "output not a matrix", "sizes"],
)
def test_a_wrong_checkpoint_names_the_first_offender(
    tiny: Ensemble, tmp_path: Path, change: object, named: str
) -> None:
    weights = tiny.state_dict()
    change(weights)  # type: ignore[operator]
    path = tmp_path / "w.safetensors"
    write_safetensors(path, weights)
    with pytest.raises(DataError) as caught:
        load_weights(path)
    assert named in caught.value.problem
    assert caught.value.place == str(path)
    assert caught.value.remedy


def test_one_output_projection_is_shared(tiny: Ensemble) -> None:
    names = [name for name in tiny.state_dict() if "output_proj" in name]
    assert names == ["output_proj.weight", "output_proj.bias"]


def test_full_size_order_is_the_checkpoints() -> None:
    shapes = EnsembleConfig().shapes()
    assert next(iter(shapes)) == "towers.0.input_up.weight"
    assert list(shapes)[-2:] == ["output_proj.weight", "output_proj.bias"]
    assert sum(math.prod(shape) for shape in shapes.values()) > 1_985_146_305
