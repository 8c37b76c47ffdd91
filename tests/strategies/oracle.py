"""The ensemble once more, in plain numpy, one event of one symbol at a time, in float64.

Written from the formulas, apart from the towers, to be read beside them. Loops stand where the
towers reshape.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Leaves = dict[str, Any]


class Oracle:
    """One symbol's ensemble: ``step(features [F])`` gives predictions [4] and advances ``state``.

    ``state`` is ``{"tower_T/block_B/NAME": array}``, without entries before the first event.
    """

    def __init__(self, weights: dict[str, NDArray[Any]], *, depth: int, heads: int) -> None:
        self.weights = {name: np.asarray(w, dtype=np.float64) for name, w in weights.items()}
        self.depth, self.heads = depth, heads
        self.state: Leaves = {}

    def step(self, features: NDArray[np.float32]) -> Array:
        layers = (self._xlstm, self._mamba2, self._retnet, self._hawk)
        answers = []
        for tower, layer in enumerate(layers):
            self.at, self.leaf = f"towers.{tower}.", ""
            x = np.maximum(self._linear("input_up", features.astype(np.float64)), 0)
            x = self._linear("input_down", x)
            for block in range(self.depth):
                self.leaf = f"tower_{tower}/block_{block}/"
                outer = f"towers.{tower}.blocks.{block}."
                self.at = outer + "layer."
                x = x + layer(
                    rms(x, np.finfo(np.float64).eps) * self.weights[outer + "norm1.weight"]
                )
                self.at = outer + "mlp."
                y = rms(x, np.finfo(np.float64).eps) * self.weights[outer + "norm2.weight"]
                x = x + self._linear("fc2", np.maximum(self._linear("fc1", y), 0))
            self.at = ""
            answers.append(self._linear("output_proj", x)[0])
        return np.array(answers)

    def _w(self, name: str) -> Array:
        return self.weights[self.at + name]

    def _linear(self, name: str, x: Array) -> Array:
        y = self._w(f"{name}.weight") @ x
        bias = self.at + f"{name}.bias"
        return y + self.weights[bias] if bias in self.weights else y

    def _blocks(self, name: str, x: Array) -> Array:
        w = self._w(f"{name}.weight")
        pieces = np.split(x, len(w))
        y = np.concatenate([w[i] @ piece for i, piece in enumerate(pieces)])
        bias = self.at + f"{name}.bias"
        return y + self.weights[bias] if bias in self.weights else y

    def _conv(self, leaf: str, name: str, x: Array) -> Array:
        last = self._old(leaf, np.zeros((len(x), 3)))
        w = self._w(f"{name}.conv.weight")[:, 0]
        out = self._w(f"{name}.conv.bias") + w[:, 3] * x
        for j in range(3):
            out = out + w[:, j] * last[:, j]
        self._new(leaf, np.stack([last[:, 1], last[:, 2], x], axis=1))
        return out

    def _old(self, leaf: str, initial: Any) -> Any:
        return self.state.get(self.leaf + leaf, initial)

    def _new(self, leaf: str, value: Any) -> None:
        self.state[self.leaf + leaf] = value

    def _xlstm(self, x: Array) -> Array:
        x = self._mlstm(self._slstm(x))
        return layer_norm(x) * self._w("final_norm.weight")

    def _slstm(self, x: Array) -> Array:
        d = len(x)
        u = layer_norm(x) * self._w("slstm.norm.weight")
        c = silu(self._conv("slstm.conv", "slstm.conv1d", u))
        y = self._old("slstm.y", np.zeros(d))
        raw = {}
        for gate, source in (("i", c), ("f", c), ("z", u), ("o", u)):
            new = self._blocks(f"slstm.{gate}gate_input", source)
            raw[gate] = new + self._blocks(f"slstm.{gate}gate_state", y)
        m_old = self._old("slstm.m", np.full(d, -np.inf))
        kept = m_old + log_sigmoid(raw["f"])
        m = np.maximum(raw["i"], kept)
        gain, keep = np.exp(raw["i"] - m), np.exp(kept - m)
        cell = keep * self._old("slstm.c", np.zeros(d)) + gain * np.tanh(raw["z"])
        n = keep * self._old("slstm.n", np.zeros(d)) + gain
        y = sigmoid(raw["o"]) * cell / (n + 1e-6)
        for leaf, value in (("y", y), ("c", cell), ("n", n), ("m", m)):
            self._new(f"slstm.{leaf}", value)
        normed = group_norm(y, self.heads // 2)
        return normed * self._w("slstm.group_norm.weight") + self._w("slstm.group_norm.bias") + x

    def _mlstm(self, x: Array) -> Array:
        inner, size = 2 * len(x), 2 * len(x) // self.heads
        u = layer_norm(x) * self._w("mlstm.norm.weight")
        a, g = self._linear("mlstm.x_proj", u), self._linear("mlstm.gate_proj", u)
        c = silu(self._conv("mlstm.conv", "mlstm.conv1d", a))
        q, k = self._blocks("mlstm.q_proj", c), self._blocks("mlstm.k_proj", c)
        v = self._blocks("mlstm.v_proj", a)
        qkv = np.concatenate([q, k, v])
        i = self._linear("mlstm.mlstm_cell.igate_proj", qkv)
        kept = log_sigmoid(self._linear("mlstm.mlstm_cell.fgate_proj", qkv))
        kept = kept + self._old("mlstm.m", np.zeros(self.heads))
        m = np.maximum(i, kept)
        matrix = self._old("mlstm.C", np.zeros((self.heads, size, size))).copy()
        n = self._old("mlstm.n", np.zeros((self.heads, size))).copy()
        h = np.empty(inner)
        for head in range(self.heads):
            part = slice(head * size, (head + 1) * size)
            gain, keep = math.exp(i[head] - m[head]), math.exp(kept[head] - m[head])
            key = k[part] / math.sqrt(size)
            matrix[head] = keep * matrix[head] + gain * np.outer(key, v[part])
            n[head] = keep * n[head] + gain * key
            weight = max(abs(q[part] @ n[head]), math.exp(-m[head])) + 1e-6
            h[part] = q[part] @ matrix[head] / weight
        for leaf, value in (("C", matrix), ("n", n), ("m", m)):
            self._new(f"mlstm.{leaf}", value)
        h = group_norm(h, self.heads) * self._w("mlstm.mlstm_cell.outnorm.weight")
        h = h + self._w("mlstm.mlstm_cell.outnorm.bias") + self._w("mlstm.learnable_skip") * c
        return self._linear("mlstm.proj_down", h * silu(g)) + x

    def _mamba2(self, t: Array) -> Array:
        x = silu(self._conv("x_conv", "input_conv", self._linear("input_proj", t)))
        b = silu(self._conv("b_conv", "b_conv", self._linear("b_proj", t)))
        c = silu(self._conv("c_conv", "c_conv", self._linear("c_proj", t)))
        z = self._linear("z_proj", t)
        dt = np.log1p(np.exp(self._linear("dt_proj", t)))
        ssm = self._old("ssm", np.zeros((len(dt), 64, 128))).copy()
        y = np.empty(len(x))
        for head in range(len(dt)):
            part = slice(64 * head, 64 * (head + 1))
            ssm[head] *= math.exp(self._w("a")[head] * dt[head])
            ssm[head] += dt[head] * np.outer(x[part], b)
            y[part] = ssm[head] @ c + self._w("d")[head] * x[part]
        self._new("ssm", ssm)
        return self._linear("out_proj", rms(y * silu(z), 1e-5) * self._w("norm.weight"))

    def _retnet(self, x: Array) -> Array:
        size = len(x) // self.heads
        t = self._old("offset", 0)
        turn = t * self._w("angle")
        q, k, v, g = (self._linear(f"{name}_proj", x) for name in "qkvg")
        k = k / math.sqrt(size)
        matrix = self._old("S", np.zeros((self.heads, size, size))).copy()
        scale = self._old("scale", np.zeros(self.heads)) * self._w("decay") + 1
        o = np.empty(len(x))
        for head in range(self.heads):
            part = slice(head * size, (head + 1) * size)
            query, key = rotate(q[part], turn), rotate(k[part], turn)
            matrix[head] = self._w("decay")[head] * matrix[head] + np.outer(key, v[part])
            o[part] = rms(query @ matrix[head] / math.sqrt(scale[head]), 1e-6)
        for leaf, value in (("offset", t + 1), ("scale", scale), ("S", matrix)):
            self._new(leaf, value)
        return self._linear("out_proj", silu(g) * o)

    def _hawk(self, x: Array) -> Array:
        pre = self._linear("gate_proj", x)
        gate = pre * 0.5 * (1 + np.array([math.erf(p / math.sqrt(2)) for p in pre]))
        u = self._conv("conv", "conv", self._linear("recurrent_proj", x))
        i = sigmoid(self._blocks("rglru.input_gate", u))
        r = sigmoid(self._blocks("rglru.recurrence_gate", u))
        keep = self._w("rglru.a") ** (8 * r)
        h = keep * self._old("h", np.zeros(len(u))) + np.sqrt(1 - keep**2) * (i * u)
        self._new("h", h)
        return self._linear("out_proj", gate * h)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def silu(x: Array) -> Array:
    return x * sigmoid(x)


def log_sigmoid(x: Array) -> Array:
    return -np.logaddexp(0, -x)


def rms(x: Array, eps: float) -> Array:
    scaled: Array = x / np.sqrt(np.mean(x * x) + eps)
    return scaled


def layer_norm(x: Array) -> Array:
    scaled: Array = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    return scaled


def group_norm(x: Array, groups: int) -> Array:
    return np.concatenate([layer_norm(part) for part in np.split(x, groups)])


def rotate(u: Array, turn: Array) -> Array:
    swapped = np.empty_like(u)
    for j in range(0, len(u), 2):
        swapped[j], swapped[j + 1] = -u[j + 1], u[j]
    return u * np.cos(turn) + swapped * np.sin(turn)
