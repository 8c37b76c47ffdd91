"""State as a tree: dicts, tuples, named tuples and lists whose leaves are tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, contiguous_format

Tree: TypeAlias = Any
"""A tensor, or a dict, tuple, named tuple or list of trees."""

_SLACK = 64
"""Roundings, in units of the dtype's epsilon, by which two ways to one tensor may differ."""


def leaves(tree: Tree) -> list[Tensor]:
    """The tensors, depth first."""
    return [leaf for _, leaf in named_leaves(tree)]


def named_leaves(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Each tensor with its path: keys and positions joined by ``/``; a lone tensor is ``state``.

    Raises:
        TypeError: something in the tree is neither a container nor a tensor.
    """
    if isinstance(tree, Tensor):
        yield prefix or "state", tree
        return
    for key, child in _children(tree, prefix):
        yield from named_leaves(child, f"{prefix}/{key}" if prefix else str(key))


def rebuild(like: Tree, supply: Iterator[Tensor]) -> Tree:
    """A tree of the same structure as ``like`` whose leaves are taken from ``supply``."""
    if isinstance(like, Tensor):
        return next(supply)
    if isinstance(like, dict):
        return {key: rebuild(child, supply) for key, child in like.items()}
    children = [rebuild(child, supply) for child in like]
    if hasattr(like, "_fields"):
        return type(like)(*children)
    return type(like)(children)


def map_leaves(change: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """The tree with every tensor changed."""
    return rebuild(tree, iter([change(leaf) for leaf in leaves(tree)]))


def narrow_leaves(tree: Tree, axis: int, start: int, length: int) -> Tree:
    """The tree with every tensor cut to ``length`` from ``start`` along the axis.

    Cut tensors are contiguous copies, so that a part never keeps the whole in memory.
    """

    def cut(leaf: Tensor) -> Tensor:
        if leaf.shape[axis] == length:
            return leaf
        return leaf.narrow(axis, start, length).clone(memory_format=contiguous_format)

    return map_leaves(cut, tree)


def first_difference(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that is not as wanted, but for rounding; ``None``: all are."""
    for name, right in wanted.items():
        if not right.dtype.is_floating_point:
            if not torch.equal(found[name], right):
                return name
            continue
        scale = max(1.0, float(right.nan_to_num(0, 0, 0).abs().max()))
        slack = _SLACK * torch.finfo(right.dtype).eps * scale
        if not torch.allclose(found[name], right, rtol=0, atol=slack, equal_nan=True):
            return name
    return None


def _children(tree: Tree, prefix: str) -> Iterator[tuple[Any, Tree]]:
    if isinstance(tree, dict):
        return iter(tree.items())
    if isinstance(tree, (tuple, list)):
        return iter(zip(getattr(tree, "_fields", range(len(tree))), tree, strict=True))
    where = f"at {prefix!r} " if prefix else ""
    raise TypeError(f"the state {where}is {type(tree).__name__}, not a tensor or a tree of tensors")
