"""Weights rearranged for the kernels: the same function, in fewer and wider products."""

from __future__ import annotations

import pytest
import torch

from tests.strategies.interpreted import DEVICE  # isort: skip  # before any kernel
from backtest.errors import DataError
from backtest.strategies.ensemble import Ensemble
from backtest.strategies.fused.weights import prepare
from backtest.strategies.towers.layers import block_linear

pytestmark = pytest.mark.one_python


def test_folded_gates_are_the_gates(tiny: Ensemble) -> None:
    named = tiny.state_dict()
    prefix = "towers.0.blocks.1.layer.mlstm."
    inner = 2 * tiny.config.hidden
    c, a = torch.randn(2, 3, inner, generator=torch.Generator().manual_seed(1))
    parts = [
        block_linear(source, named[f"{prefix}{name}_proj.weight"])
        for name, source in (("q", c), ("k", c), ("v", a))
    ]
    gates = [named[f"{prefix}mlstm_cell.{gate}gate_proj.weight"] for gate in "if"]
    wanted = torch.cat(parts, dim=1) @ torch.cat(gates).T
    folded = prepare(tiny, "fp32").towers[0].blocks[1].layer["mlstm.gates"]
    found = c @ folded[:, 0].T + a @ folded[:, 1].T
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_float16_halves_what_a_batch_streams(tiny: Ensemble) -> None:
    tiny = tiny.to(device=DEVICE)
    assert 0.5 < prepare(tiny, "fp16").bytes / prepare(tiny, "fp32").bytes < 0.7


def test_gates_that_leave_float16_when_they_are_folded_are_refused_by_name(tiny: Ensemble) -> None:
    named = {name: value.clone() for name, value in tiny.state_dict().items()}
    cell = "towers.0.blocks.1.layer.mlstm.mlstm_cell.igate_proj.weight"
    named[cell] *= 3e4 / named[cell].abs().max()
    for name in "qkv":
        named[f"towers.0.blocks.1.layer.mlstm.{name}_proj.weight"] *= 100
    assert all(value.abs().max() < 65504 for value in named.values())
    with pytest.raises(DataError, match=cell.replace(".", "[.]")):
        prepare(Ensemble(tiny.config, named), "fp16")
    assert prepare(Ensemble(tiny.config, named), "tf32")


def test_tf32_weights_are_rounded_to_nearest(tiny: Ensemble) -> None:
    whole, rounded = (prepare(tiny, p).towers[1].blocks[0].down for p in ("fp32", "tf32"))
    apart = (whole - rounded).abs() / whole.abs()
    assert 0.9 * 2**-11 < apart.max() <= 2**-11
    assert (rounded.view(torch.int32) & 0x1FFF == 0).all()


def test_nothing_is_shared_with_the_originals(tiny: Ensemble) -> None:
    fused = prepare(tiny, "fp32")
    before = fused.towers[1].blocks[0].layer["down"].clone()
    copy = Ensemble(tiny.config, {k: v.clone() for k, v in tiny.state_dict().items()})
    own = prepare(copy, "fp32")
    for value in copy.state_dict().values():
        value.zero_()
    assert torch.equal(own.towers[1].blocks[0].layer["down"], before)
    assert all(v.abs().max() > 0 for v in own.towers[0].blocks[0].layer.values())
