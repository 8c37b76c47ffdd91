"""The baseline ensemble: four recurrent towers that read one event and predict one number each.

``Ensemble`` is plain: weights under the public checkpoint's names, and one pure step. Every faster
variant is judged against it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from backtest.errors import DataError
from backtest.strategies.tensor_files import read_tensors
from backtest.strategies.towers import TOWERS, Shapes, State, Weights
from backtest.strategies.towers.layers import rms_norm
from backtest.strategies.towers.mamba2 import HEAD_SIZE

EnsembleState: TypeAlias = dict[str, dict[str, State]]
"""``{"tower_0": {"block_0": {"slstm.conv": [B, ...], ...}, ...}, ...}``."""

_BUFFERS = ("decay", "angle")

_Layer: TypeAlias = Callable[[Tensor, State, Weights], tuple[Tensor, State]]


@dataclass(frozen=True, slots=True)
class EnsembleConfig:
    """The sizes of an ensemble; the defaults are the public challenge's.

    Attributes:
        hidden: width of every tower, a multiple of 32 (Mamba2's heads).
        mlp: width inside every MLP.
        depth: blocks per tower.
        heads: heads of mLSTM and RetNet, twice those of sLSTM; even, ``hidden / heads`` even.
        features: numbers read for each event.
        towers: which towers it has, by their place among the four, ascending.
    """

    hidden: int = 2048
    mlp: int = 4096
    depth: int = 12
    heads: int = 8
    features: int = 79
    towers: tuple[int, ...] = tuple(range(len(TOWERS)))

    def __post_init__(self) -> None:
        if min(self.hidden, self.mlp, self.depth, self.heads, self.features) < 1:
            raise ValueError(f"every size must be at least 1, unlike in {self}")
        if 2 * self.hidden % HEAD_SIZE:
            raise ValueError(f"hidden {self.hidden} is not a multiple of {HEAD_SIZE // 2}")
        if self.heads % 2 or self.hidden % (2 * self.heads):
            raise ValueError(
                f"{self.heads} heads do not fit hidden {self.hidden}: heads must be even, "
                "and so must hidden / heads"
            )

    def shapes(self) -> Shapes:
        """Name and shape of every tensor, in the checkpoint's order."""
        found: Shapes = {}
        for index in self.towers:
            prefix = f"towers.{index}."
            found |= {
                prefix + "input_up.weight": (self.mlp, self.features),
                prefix + "input_up.bias": (self.mlp,),
                prefix + "input_down.weight": (self.hidden, self.mlp),
                prefix + "input_down.bias": (self.hidden,),
            }
            for block in range(self.depth):
                found |= {
                    f"{prefix}blocks.{block}.{name}": shape
                    for name, shape in self._block_shapes(TOWERS[index].shapes(self)).items()
                }
        return found | {"output_proj.weight": (1, self.hidden), "output_proj.bias": (1,)}

    def _block_shapes(self, layer: Shapes) -> Shapes:
        return {
            "norm1.weight": (self.hidden,),
            **{f"layer.{name}": shape for name, shape in layer.items()},
            "norm2.weight": (self.hidden,),
            "mlp.fc1.weight": (self.mlp, self.hidden),
            "mlp.fc1.bias": (self.mlp,),
            "mlp.fc2.weight": (self.hidden, self.mlp),
            "mlp.fc2.bias": (self.hidden,),
        }


def is_buffer(name: str) -> bool:
    """Whether a checkpoint's tensor is one of RetNet's constants rather than a parameter."""
    return name.rpartition(".")[2] in _BUFFERS


@dataclass(frozen=True)
class _Block:
    norm1: Tensor
    norm2: Tensor
    layer: Weights
    mlp: Weights


@dataclass(frozen=True)
class _Tower:
    own: Weights
    blocks: tuple[_Block, ...]


class Ensemble:
    """Weights under their public names, and the step that they define.

    Args:
        config: the sizes.
        tensors: every tensor of ``config.shapes()``, on one device and of one floating dtype.
    """

    def __init__(self, config: EnsembleConfig, tensors: Mapping[str, Tensor]) -> None:
        self.config = config
        self._tensors = {name: tensors[name] for name in config.shapes()}
        self._towers = {t: self._tower(f"towers.{t}.") for t in config.towers}
        self._output = self._tensors["output_proj.weight"], self._tensors["output_proj.bias"]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._output[0].device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of weights and floating state."""
        return self._output[0].dtype

    def state_dict(self) -> dict[str, Tensor]:
        """Every tensor by its public name, in the checkpoint's order; not copies."""
        return dict(self._tensors)

    def to(self, *, device: torch.device | str | None = None, dtype: Any = None) -> Ensemble:
        """The same ensemble elsewhere or in another floating dtype."""
        moved = {k: v.to(device=device, dtype=dtype) for k, v in self._tensors.items()}
        return Ensemble(self.config, moved)

    def init_state(self, n: int) -> EnsembleState:
        """The state of ``n`` symbols never seen."""
        options = {"device": self.device, "dtype": self.dtype}
        return {
            f"tower_{t}": {
                f"block_{b}": TOWERS[t].init_state(self.config, n, **options)
                for b in range(self.config.depth)
            }
            for t in self.config.towers
        }

    def __call__(self, features: Tensor, state: EnsembleState) -> tuple[Tensor, EnsembleState]:
        """One event of each of B distinct symbols.

        Args:
            features: [B, F], of the ensemble's dtype.
            state: what the symbols' previous events left.

        Returns:
            Predictions [B, towers] in the order xLSTM, Mamba2, RetNet, Hawk, and the next state.
            The given state is left as it was.
        """
        return self._through({i: TOWERS[i].step for i in self._towers}, features, state)

    def forward_sequence(
        self, features: Tensor, state: EnsembleState
    ) -> tuple[Tensor, EnsembleState]:
        """T successive events of each of B distinct symbols, as ``__call__`` event by event.

        Args:
            features: [T, B, F], of the ensemble's dtype.
            state: what the symbols' previous events left.

        Returns:
            Predictions [T, B, towers], and the state after the last event.
        """
        return self._through({i: TOWERS[i].sequence for i in self._towers}, features, state)

    def _through(
        self, layers: Mapping[int, _Layer], features: Tensor, state: EnsembleState
    ) -> tuple[Tensor, EnsembleState]:
        """features [..., F] through every tower, whose layers see the events in their own way."""
        last, new = [], {}
        for index, weights in self._towers.items():
            layer, name = layers[index], f"tower_{index}"
            x = _mlp(features, weights.own, "input_up", "input_down")
            blocks: dict[str, State] = {}
            for (key, old), block in zip(state[name].items(), weights.blocks, strict=True):
                y, blocks[key] = layer(rms_norm(x, block.norm1), old, block.layer)
                x = x + y
                x = x + _mlp(rms_norm(x, block.norm2), block.mlp, "fc1", "fc2")
            last.append(x)
            new[name] = blocks
        return F.linear(torch.stack(last, dim=-2), *self._output).squeeze(-1), new

    def _tower(self, prefix: str) -> _Tower:
        blocks = []
        for b in range(self.config.depth):
            block = f"{prefix}blocks.{b}."
            blocks.append(
                _Block(
                    norm1=self._tensors[block + "norm1.weight"],
                    norm2=self._tensors[block + "norm2.weight"],
                    layer=self._within(block + "layer."),
                    mlp=self._within(block + "mlp."),
                )
            )
        return _Tower(self._within(prefix), tuple(blocks))

    def _within(self, prefix: str) -> Weights:
        return {k.removeprefix(prefix): v for k, v in self._tensors.items() if k.startswith(prefix)}


def _mlp(x: Tensor, w: Weights, up: str, down: str) -> Tensor:
    x = torch.relu(F.linear(x, w[up + ".weight"], w[up + ".bias"]))
    return F.linear(x, w[down + ".weight"], w[down + ".bias"])


def load_weights(path: Path, *, device: str = "cpu") -> Ensemble:
    """The ensemble in a checkpoint, its sizes read off the tensors' shapes.

    Args:
        path: a ``.safetensors`` or ``.pt`` file with exactly the public names, in float32. A
            ``.pt`` file must hold the state dict itself.
        device: where the weights go.

    Raises:
        DataError: the file cannot be read, or a tensor is missing, unknown, or of the wrong shape
            or dtype; the message names the first one.
    """
    tensors = read_tensors(path, device=device)
    config = infer_config(tensors, place=str(path))
    _check(config, tensors, place=str(path))
    return Ensemble(config, tensors)


def infer_config(tensors: Mapping[str, Tensor], *, place: str) -> EnsembleConfig:
    """The sizes implied by a checkpoint's shapes; consistency is not checked here.

    Raises:
        DataError: a tensor that determines a size is missing, or the sizes do not match.
    """

    def matrix(name: str) -> tuple[int, int]:
        try:
            rows, columns = tensors[name].shape
        except KeyError:
            raise _bad_checkpoint(f"tensor {name!r} is missing", place) from None
        except ValueError:
            raise _bad_checkpoint(f"tensor {name!r} is not a matrix", place) from None
        return rows, columns

    _, hidden = matrix("output_proj.weight")
    mlp, features = matrix("towers.0.input_up.weight")
    heads, _ = matrix("towers.0.blocks.0.layer.mlstm.mlstm_cell.igate_proj.weight")
    blocks = [re.match(r"towers\.0\.blocks\.(\d+)\.", name) for name in tensors]
    depth = 1 + max((int(match[1]) for match in blocks if match), default=0)
    try:
        return EnsembleConfig(hidden, mlp, depth, heads, features)
    except ValueError as error:
        raise _bad_checkpoint(str(error), place) from None


def _check(config: EnsembleConfig, tensors: Mapping[str, Tensor], *, place: str) -> None:
    wanted = config.shapes()
    for name, shape in wanted.items():
        if name not in tensors:
            raise _bad_checkpoint(f"tensor {name!r} is missing", place)
        found = tensors[name]
        if tuple(found.shape) != shape:
            raise _bad_checkpoint(
                f"tensor {name!r} has shape {tuple(found.shape)}, not {shape}", place
            )
        if found.dtype != torch.float32:
            raise _bad_checkpoint(f"tensor {name!r} is {found.dtype}, not torch.float32", place)
    for name in tensors:
        if name not in wanted:
            raise _bad_checkpoint(f"tensor {name!r} is not part of the ensemble", place)


def _bad_checkpoint(problem: str, place: str) -> DataError:
    return DataError(
        problem, place=place, remedy="Give a state dict with the baseline ensemble's own names."
    )
