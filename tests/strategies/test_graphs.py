"""Captured steps: fields that cross at once, branches, replay and its fallback."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from backtest.strategies.graphs import Branches, Fields, GraphReplay, Way

DEVICES = [torch.device("cpu")] + ([torch.device("cuda:0")] if torch.cuda.is_available() else [])


@pytest.fixture(params=DEVICES, ids=str)
def device(request: pytest.FixtureRequest) -> torch.device:
    found: torch.device = request.param
    return found


@pytest.mark.parametrize("way", ["copy", "kernel"])
def test_fields_cross_together_and_do_not_overlap(device: torch.device, way: Way) -> None:
    shapes = {"a": ((3,), torch.int32), "b": ((2, 5), torch.float32), "none": ((0, 4), torch.int64)}
    fields = Fields(shapes, device, way)
    fields.host["a"][:] = [1, 2, 3]
    fields.host["b"][:] = 7
    fields.upload()
    assert fields.device["a"].tolist() == [1, 2, 3]
    assert fields.device["b"].eq(7).all()
    assert fields.device["none"].shape == (0, 4)
    fields.device["a"] += 1
    fields.download()
    if device.type == "cuda":
        torch.cuda.synchronize()
    assert fields.host["a"].tolist() == [2, 3, 4]


def replay_of_sums(device: torch.device, streams: Branches) -> GraphReplay:
    inputs = Fields({"x": ((4,), torch.float32)}, device)
    outputs = Fields({"y": ((2,), torch.float32)}, device)
    x, y = inputs.device["x"], outputs.device["y"]

    def first() -> None:
        torch.sum(x, 0, out=y[0])

    def second() -> None:
        torch.amax(x, 0, out=y[1])

    return GraphReplay(streams, inputs, [first, second], outputs)


def test_a_replay_answers_from_what_the_host_wrote(device: torch.device) -> None:
    streams = Branches(device, 2)
    replay = replay_of_sums(device, streams)
    assert replay.captured == (device.type == "cuda")
    for x in ([1, 2, 3, 4], [5, 0, 0, -1]):
        replay.inputs.host["x"][:] = x
        replay.run()
        np.testing.assert_array_equal(replay.outputs.host["y"], [sum(x), max(x)])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs need a GPU")
def test_the_pool_outlives_its_first_graph() -> None:
    streams = Branches(DEVICES[-1], 2)
    for _ in range(3):
        assert replay_of_sums(DEVICES[-1], streams).captured


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs need a GPU")
def test_what_cannot_be_captured_is_launched(caplog: pytest.LogCaptureFixture) -> None:
    device = DEVICES[-1]
    inputs = Fields({"x": ((1,), torch.float32)}, device)
    outputs = Fields({"y": ((1,), torch.float32)}, device)

    def waits() -> None:
        outputs.device["y"].fill_(inputs.device["x"].item() + 1)

    with caplog.at_level(logging.WARNING):
        replay = GraphReplay(Branches(device, 1), inputs, [waits], outputs)
    assert not replay.captured
    assert "no CUDA graph" in caplog.text
    inputs.host["x"][:] = 4
    replay.run()
    assert outputs.host["y"].tolist() == [5.0]
