"""Devices, uploads, and float32 arithmetic that stays float32."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from backtest.errors import UsageError
from backtest.strategies.device import _EXACT, exact_float32, find_device, upload

ROWS = np.arange(24, dtype=np.float32).reshape(6, 4)


@pytest.fixture
def coarse() -> Iterator[None]:
    """The caller prefers speed to accuracy."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("coarse")
def test_products_are_exact_inside_and_the_callers_setting_returns() -> None:
    for _ in range(2):
        with exact_float32():
            assert all(getattr(owner, name) == exact for owner, name, exact in _EXACT)
        assert torch.get_float32_matmul_precision() == "medium"
    with pytest.raises(KeyError), exact_float32():
        raise KeyError
    assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.usefixtures("coarse")
def test_no_tf32_on_cuda() -> None:
    a = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    wanted = a.double() @ a.double()
    lstm = torch.nn.LSTM(256, 256).to("cuda")
    x = a[None].to("cuda")
    with torch.no_grad():
        exact_lstm = lstm.double()(x.double())[0]
        lstm.float()
        with exact_float32():
            assert ((a.cuda() @ a.cuda()).cpu() - wanted).abs().max() < 1e-3
            assert (lstm(x)[0] - exact_lstm).abs().max() < 1e-5
        assert ((a.cuda() @ a.cuda()).cpu() - wanted).abs().max() > 1e-3


@pytest.mark.parametrize(
    "features",
    [
        ROWS,
        np.asfortranarray(ROWS),
        np.repeat(ROWS, 2, axis=1)[:, ::2],
        ROWS[:1],
        ROWS[:, :1],
        ROWS[::-1],
    ],
    ids=["rows", "columns", "strided", "one event", "one feature", "reversed"],
)
def test_uploads_are_row_major_copies_whatever_the_memory_order(features: np.ndarray) -> None:
    view = features.view()
    view.flags.writeable = False
    uploaded = upload(view, torch.device("cpu"))
    assert uploaded.is_contiguous()
    np.testing.assert_array_equal(uploaded.numpy(), features)
    uploaded.zero_()
    assert features.any()


@pytest.mark.parametrize("name", ["cuda:99", "nonsense", "meta:x"])
def test_an_absent_device_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        find_device(name)
