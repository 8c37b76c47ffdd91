"""Training of the ensemble: what it begins with, and what it follows."""

from __future__ import annotations

from typing import Any

import torch

from backtest.strategies.ensemble import EnsembleConfig
from backtest.strategies.ensemble_fit import _FreeEnsemble
from backtest.strategies.ensemble_init import init_weights
from backtest.strategies.ensemble_parameters import FreeParameters, Scales

CONFIG = EnsembleConfig(hidden=32, mlp=16, heads=2, depth=2, features=3)


def gradients(by_sequence: bool) -> dict[str, torch.Tensor]:
    """Of a sum of squares of answers to 5 events of each of 2 symbols, from a state in use."""
    random = torch.Generator().manual_seed(1)
    x = torch.randn(7, 2, 3, generator=random)
    scales = Scales(x.mean((0, 1)).numpy(), x.std((0, 1)).numpy(), 2.0)
    parameters = FreeParameters(init_weights(CONFIG, 4), scales)
    module: Any = _FreeEnsemble(parameters)
    state = module.init_state(2)
    for early in x[:2]:
        _, state = module(early, state)
    if by_sequence:
        y, _ = module.forward_sequence(x[2:], state)
    else:
        found = []
        for step in x[2:]:
            one, state = module(step, state)
            found.append(one)
        y = torch.stack(found)
    y.square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    return {name: p.grad for name, p in parameters.free.items() if p.grad is not None}


def test_gradients_of_sequences_are_those_of_steps() -> None:
    by_step, by_sequence = gradients(False), gradients(True)
    assert by_step.keys() == by_sequence.keys()
    for name, wanted in by_step.items():
        assert wanted.isfinite().all()
        torch.testing.assert_close(by_sequence[name], wanted, rtol=1e-3, atol=1e-4)
