"""What a module must keep to, tried when it is bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from backtest.core.tracebacks import describe
from backtest.errors import UsageError
from backtest.strategies.device import exact_float32
from backtest.strategies.state_tree import Tree, first_difference, map_leaves, named_leaves

_TRIAL = 2
"""Symbols in the step that is tried."""

_EVENTS, _SYMBOLS = 2, 3
"""Events per symbol, and symbols, in the sequences that are tested."""


def count_outputs(module: nn.Module, features: int, device: torch.device, batch_dim: int) -> int:
    """Outputs an event, from one step of two symbols.

    Raises:
        UsageError: the module breaks the contract; a state leaf is named by its path.
        torch.OutOfMemoryError: the step does not fit.
    """
    init = getattr(module, "init_state", None)
    if init is None:
        raise _broken(f"{type(module).__name__} has no method init_state(n)")
    try:
        y = _try_step(module, init, features, device, batch_dim)
    except (UsageError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise _broken(f"a step of {_TRIAL} new symbols raises {describe(error)}") from error
    return 1 if y.ndim == 1 else y.shape[1]


def _try_step(
    module: nn.Module,
    init: Callable[[int], Tree],
    features: int,
    device: torch.device,
    batch_dim: int,
) -> Tensor:
    """The answers to events of two new symbols: [2] or [2, outputs]."""
    with torch.inference_mode():
        one, two = _named(init(1)), init(_TRIAL)
        for name, leaf in _named(two).items():
            wide = tuple(leaf.shape)
            narrow = tuple(one[name].shape) if name in one else None
            if (
                leaf.ndim <= batch_dim
                or wide[batch_dim] != _TRIAL
                or narrow != (*wide[:batch_dim], 1, *wide[batch_dim + 1 :])
            ):
                raise _broken(
                    f"state leaf {name!r} of init_state(1) and init_state(2) has shapes {narrow} "
                    f"and {wide}: axis {batch_dim} does not count symbols"
                )
        state = map_leaves(lambda leaf: leaf.to(device), two)
        found = module(torch.zeros(_TRIAL, features, device=device), state)
    if not (isinstance(found, tuple | list) and len(found) == 2 and isinstance(found[0], Tensor)):
        raise _broken(f"forward returns {_form(found)}, not (y, state)")
    y, new = found
    _compare(_named(two), _named(new), "forward")
    if y.ndim not in (1, 2) or y.shape[0] != _TRIAL:
        raise _broken(f"forward answers two symbols with shape {tuple(y.shape)}, not [2, outputs]")
    return y


def _form(found: object) -> str:
    """What was returned, by its types."""
    if isinstance(found, tuple | list):
        return f"({', '.join(type(item).__name__ for item in found)})"
    return f"a {type(found).__name__}"


def sequence_difference(
    module: Any, features: int, device: torch.device, outputs: int
) -> str | None:
    """What differs between ``forward_sequence`` and as many calls of ``forward``, on fresh rows.

    Args:
        module: keeps to what ``count_outputs`` tries, and offers ``forward_sequence``.
        features: numbers read for each event.
        device: where the module is.
        outputs: predictions for each event.

    Returns:
        A state leaf's path, or the answers; ``None``: they agree within rounding.

    Raises:
        UsageError: ``forward_sequence`` returns something of another form.
    """
    random = np.random.default_rng(0)
    with exact_float32(), torch.inference_mode():
        init = module.init_state(_SYMBOLS)
        # Copies, since a module may change what it is given.
        stepped, sequenced = (
            map_leaves(lambda leaf: leaf.to(device, copy=True), init) for _ in range(2)
        )
        for _ in range(2):  # the second from a state that is no longer the init one
            drawn = random.standard_normal((_EVENTS, _SYMBOLS, features), dtype=np.float32)
            x = torch.from_numpy(drawn).to(device)
            found, sequenced = module.forward_sequence(x, sequenced)
            _compare(_named(init), _named(sequenced), "forward_sequence")
            if tuple(found.shape) not in _sequence_shapes(outputs):
                raise _broken(
                    f"forward_sequence answers {_EVENTS} events of {_SYMBOLS} symbols with shape "
                    f"{tuple(found.shape)}, not [{_EVENTS}, {_SYMBOLS}, {outputs}]"
                )
            answers = []
            for step in x:
                y, stepped = module(step, stepped)
                answers.append(y.reshape(_SYMBOLS, outputs).clone())
            wanted = torch.stack(answers)
            found = found.reshape(wanted.shape)
            if _far(found, wanted):
                return "the answers"
            different = first_difference(
                {"the answers": found, **_named(sequenced)},
                {"the answers": wanted, **_named(stepped)},
            )
            if different is not None:
                return different
    return None


def _sequence_shapes(outputs: int) -> list[tuple[int, ...]]:
    whole = (_EVENTS, _SYMBOLS, outputs)
    return [whole, whole[:2]] if outputs == 1 else [whole]


def _far(found: Tensor, wanted: Tensor) -> bool:
    """Whether answers are further apart than rounding explains, however small they are."""
    apart = float((found - wanted).double().norm())
    return apart > 0.01 * float(wanted.double().norm())


def _compare(old: dict[str, Tensor], new: dict[str, Tensor], what: str) -> None:
    for name in old.keys() | new.keys():
        if name not in new:
            raise _broken(f"{what} drops the state leaf {name!r}")
        if name not in old:
            raise _broken(f"{what} adds a state leaf {name!r} that init_state lacks")
    for name, leaf in old.items():
        was, now = (leaf.dtype, tuple(leaf.shape)), (new[name].dtype, tuple(new[name].shape))
        if was != now:
            raise _broken(
                f"{what} turns the state leaf {name!r} from {was[0]} {was[1]} into "
                f"{now[0]} {now[1]}"
            )


def _named(state: Tree) -> dict[str, Tensor]:
    try:
        pairs = list(named_leaves(state))
    except TypeError as error:
        raise _broken(str(error)) from None
    named = dict(pairs)
    if len(named) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _broken(f"two leaves of the state have the path {twice!r}")
    return named


def _broken(problem: str) -> UsageError:
    return UsageError(
        problem,
        remedy="forward(x, state) takes x [B, F], forward_sequence(x, state), if there is one, "
        "[T, B, F]; both return (y, state), the state as init_state(n) makes it.",
    )
