"""torch's recurrent and linear layers, given one event of each symbol, by kernels made for that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from backtest.strategies.kernels.linear import LARGEST, linear
from backtest.strategies.kernels.lstm import lstm_layer


@contextmanager
def single_events(module: nn.Module) -> Iterator[None]:
    """Inside the block, some of the module's layers step by one kernel each.

    These are ``LSTM`` (a kernel for each of its layers) and ``LSTMCell``, in one direction, with
    biases and without projection, for sequences of one event; and ``Linear`` with few weights. All
    in float32; all else goes to torch as before.
    """
    steps = {nn.LSTM: _lstm, nn.LSTMCell: _cell, nn.Linear: _linear}
    # A layer that has a ``forward`` of its own does something else than its class.
    suited = [layer for layer in module.modules() if _suits(layer)]
    patched = [layer for layer in suited if "forward" not in vars(layer)]
    for layer in patched:
        step: Any = steps[type(layer)]
        layer.forward = partial(step, layer, layer.forward)
    try:
        yield
    finally:
        for layer in patched:
            del layer.forward  # the instance's; the class's shows again


def _suits(layer: nn.Module) -> bool:
    if type(layer) is nn.LSTM:
        plain = not layer.bidirectional and not layer.proj_size and layer.bias
    elif type(layer) is nn.LSTMCell:
        plain = layer.bias
    elif type(layer) is nn.Linear:
        plain = 0 < layer.weight.numel() <= LARGEST and layer.weight.is_contiguous()
    else:
        return False
    return plain and all(p.dtype == torch.float32 for p in layer.parameters())


def _lstm(
    layer: nn.LSTM, original: Any, x: Tensor, state: tuple[Tensor, Tensor] | None = None
) -> Any:
    time = 1 if layer.batch_first else 0
    if state is None or x.ndim != 3 or x.shape[time] != 1 or x.dtype != torch.float32:
        return original(x, state)
    h, c = (leaf.contiguous() for leaf in state)
    h_new, c_new = torch.empty_like(h), torch.empty_like(c)
    y = x.select(time, 0).contiguous()
    for i, (w_ih, w_hh, b_ih, b_hh) in enumerate(layer.all_weights):
        weights, biases = (w_ih, w_hh), (b_ih, b_hh)
        lstm_layer(y, h[i], c[i], weights, biases, h_new[i], c_new[i], starts=i == 0)
        y = h_new[i]
    return y.unsqueeze(time), (h_new, c_new)


def _cell(
    layer: nn.LSTMCell, original: Any, x: Tensor, state: tuple[Tensor, Tensor] | None = None
) -> Any:
    if state is None or x.ndim != 2 or x.dtype != torch.float32:
        return original(x, state)
    h, c = (leaf.contiguous() for leaf in state)
    h_new, c_new = torch.empty_like(h), torch.empty_like(c)
    weights, biases = (layer.weight_ih, layer.weight_hh), (layer.bias_ih, layer.bias_hh)
    lstm_layer(x.contiguous(), h, c, weights, biases, h_new, c_new)
    return h_new, c_new


def _linear(layer: nn.Linear, original: Any, x: Tensor) -> Tensor:
    fits = x.dtype == torch.float32 and x.ndim > 1 and x.shape[-1] == layer.in_features
    if not fits or not x.numel():
        y: Tensor = original(x)
        return y
    out = x.new_empty(*x.shape[:-1], layer.out_features)
    rows = x.reshape(-1, layer.in_features).contiguous()
    linear(rows, layer.weight, layer.bias, out.view(-1, layer.out_features))
    return out
