"""Trees of tensors: paths, order, rebuilding."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch

from backtest.strategies.state_tree import leaves, map_leaves, named_leaves, narrow_leaves, rebuild


class Cell(NamedTuple):
    h: Any
    c: Any


def tree() -> Any:
    numbers = iter(torch.arange(6.0).reshape(6, 1))
    return {
        "a": Cell(next(numbers), [next(numbers), next(numbers)]),
        "b": (next(numbers), {"deep": {"x": next(numbers)}}),
        "c": next(numbers),
    }


def test_paths_join_keys_positions_and_field_names() -> None:
    names = [name for name, _ in named_leaves(tree())]
    assert names == ["a/h", "a/c/0", "a/c/1", "b/0", "b/1/deep/x", "c"]


def test_a_lone_tensor_is_a_tree() -> None:
    assert [name for name, _ in named_leaves(torch.ones(1))] == ["state"]


def test_rebuilding_keeps_structure_and_types() -> None:
    doubled = map_leaves(lambda leaf: 2 * leaf, tree())
    assert isinstance(doubled["a"], Cell)
    assert isinstance(doubled["a"].c, list)
    assert isinstance(doubled["b"], tuple)
    assert [int(leaf) for leaf in leaves(doubled)] == [0, 2, 4, 6, 8, 10]
    assert rebuild(torch.ones(1), iter(["leaf"])) == "leaf"  # type: ignore[list-item]


def test_a_leaf_that_is_no_tensor_is_named() -> None:
    with pytest.raises(TypeError, match="'a/1' is int"):
        list(named_leaves({"a": (torch.ones(1), 3)}))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_cut_is_contiguous_and_owns_its_memory(axis: int) -> None:
    whole = torch.arange(24).reshape(4, 6)
    cut = narrow_leaves({"x": whole}, axis, 1, 2)["x"]
    assert torch.equal(cut, whole.narrow(axis, 1, 2))
    assert cut.is_contiguous()
    assert cut.untyped_storage().nbytes() == cut.numel() * 8
