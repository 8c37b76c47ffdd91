"""Correlation, explained variance and slope of columns that are seen once, piece by piece."""

from __future__ import annotations

import numpy as np

from backtest.core.arrays import Float64Array, Int64Array


class JointMoments:
    """Means and centred products of several columns, added up stretch by stretch.

    Centred products are merged as Chan, Golub and LeVeque (1979, "Updating formulae and a pairwise
    algorithm for computing sample variances") do, so that nothing is read twice.

    Args:
        columns: how many.

    Attributes:
        count: rows so far.
        means: float64 [C].
        products: sums of the products of each two columns' distances from their means [C, C].
    """

    def __init__(self, columns: int) -> None:
        self.count = 0
        self.means: Float64Array = np.zeros(columns)
        self.products: Float64Array = np.zeros((columns, columns))
        self._least: Float64Array = np.full(columns, np.inf)
        self._most: Float64Array = np.full(columns, -np.inf)

    def add(self, columns: Float64Array) -> None:
        """Add rows, float64 [C, n]."""
        count = columns.shape[1]
        if not count:
            return
        self._least = np.minimum(self._least, columns.min(axis=1))
        self._most = np.maximum(self._most, columns.max(axis=1))
        means = columns.mean(axis=1)
        centred = columns - means[:, None]
        apart, total = means - self.means, self.count + count
        self.products += centred @ centred.T + np.outer(apart, apart) * self.count * count / total
        self.means += apart * count / total
        self.count = total

    def varies(self, column: int) -> bool:
        """Whether a column has two different values."""
        return bool(self._most[column] > self._least[column])

    def correlation(self, one: int, other: int) -> float | None:
        """Pearson's, of two columns; ``None`` where one of them does not vary."""
        if not (self.varies(one) and self.varies(other)):
            return None
        spread = float(np.sqrt(self.products[one, one] * self.products[other, other]))
        return min(max(float(self.products[one, other]) / spread, -1.0), 1.0) if spread else None

    def explained(self, answer: int, target: int) -> float | None:
        """R²: 1 less the squared errors over the squared distances of the target from its mean.

        It is below 0 where the mean would have been the better answer. ``None`` where the answer
        or the target does not vary.
        """
        if not (self.varies(answer) and self.varies(target)):
            return None
        p, total = self.products, float(self.products[target, target])
        bias = float(self.means[answer] - self.means[target])
        errors = p[answer, answer] - 2 * p[answer, target] + total + self.count * bias**2
        return 1 - float(errors) / total if total else None

    def slope(self, over: int, column: int) -> float | None:
        """How much a column rises with another, by least squares; ``None`` if that is constant."""
        spread = float(self.products[over, over])
        return float(self.products[over, column]) / spread if self.varies(over) and spread else None


class GroupedCorrelation:
    """Pearson's correlation of two columns within each group of rows, added up likewise."""

    def __init__(self) -> None:
        self._count: Float64Array = np.zeros(0)
        self._means: Float64Array = np.zeros((2, 0))
        self._products: Float64Array = np.zeros((3, 0))  # xx, yy, xy
        self._least: Float64Array = np.zeros((2, 0))
        self._most: Float64Array = np.zeros((2, 0))

    def add(self, group: Int64Array, x: Float64Array, y: Float64Array) -> None:
        """Add rows [n] with the numbers of their groups, from 0 on."""
        if not len(group):
            return
        size = max(int(group.max()) + 1, len(self._count))
        self._grow(size)
        count = np.bincount(group, minlength=size)
        some = np.maximum(count, 1)
        both = np.array([x, y])
        means = np.array([np.bincount(group, weights=v, minlength=size) for v in both]) / some
        centred = both - means[:, group]
        pairs = ((0, 0), (1, 1), (0, 1))
        apart, total = means - self._means, np.maximum(self._count + count, 1)
        for k, (i, j) in enumerate(pairs):
            inside = np.bincount(group, weights=centred[i] * centred[j], minlength=size)
            self._products[k] += inside + apart[i] * apart[j] * self._count * count / total
        self._means += apart * count / total
        self._count += count
        for k, values in enumerate(both):
            np.minimum.at(self._least[k], group, values)
            np.maximum.at(self._most[k], group, values)

    def correlations(self) -> list[float | None]:
        """One for each group; ``None`` where a column does not vary in it."""
        varies = np.all(self._most > self._least, axis=0).tolist()
        with np.errstate(invalid="ignore", divide="ignore"):
            found = self._products[2] / np.sqrt(self._products[0] * self._products[1])
        return [
            float(np.clip(value, -1, 1)) if of and np.isfinite(value) else None
            for value, of in zip(found, varies, strict=True)
        ]

    def _grow(self, size: int) -> None:
        more = size - len(self._count)
        if more <= 0:
            return
        self._count = np.append(self._count, np.zeros(more))
        for name, fill in (("_means", 0), ("_products", 0), ("_least", np.inf), ("_most", -np.inf)):
            held = getattr(self, name)
            setattr(self, name, np.hstack([held, np.full((len(held), more), float(fill))]))
