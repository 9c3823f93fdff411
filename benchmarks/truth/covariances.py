"""Covariance matrices of random effects from standard deviations and correlations, written anew."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from truth.spec import Random


class Shape(NamedTuple):
    """A term's structure and its number of coefficients."""

    kind: str
    k: int

    @property
    def num_sds(self) -> int:
        return 1 if self.kind in ("homdiag", "homcs", "ar1") else self.k

    @property
    def num_cors(self) -> int:
        if self.kind in ("diag", "homdiag") or self.k == 1:
            return 0
        return self.k * (self.k - 1) // 2 if self.kind == "us" else 1

    @property
    def size(self) -> int:
        return self.num_sds + self.num_cors

    @property
    def lowest(self) -> float:
        """The infimum of the correlations."""
        return -1.0 / (self.k - 1) if self.kind in ("cs", "homcs") else -1.0

    def correlation(self, cors: np.ndarray) -> np.ndarray:
        """(k, k) from its free elements."""
        k, found = self.k, np.eye(self.k)
        if self.num_cors == 0:
            return found
        if self.kind == "us":
            rows, columns = np.tril_indices(k, -1)
            found[rows, columns] = found[columns, rows] = cors
            return found
        if self.kind in ("cs", "homcs"):
            return np.full((k, k), cors[0]) + (1.0 - cors[0]) * np.eye(k)
        return cors[0] ** np.abs(np.subtract.outer(np.arange(k), np.arange(k))).astype(float)

    def matrix(self, values: np.ndarray) -> np.ndarray:
        """(k, k) covariance from sds, then correlations row by row."""
        sds = np.broadcast_to(values[: self.num_sds], (self.k,))
        return self.correlation(values[self.num_sds :]) * np.outer(sds, sds)

    def report(self, matrix: np.ndarray) -> np.ndarray:
        """Sds and correlations of a covariance of this structure; correlations of nothing are 0."""
        sds = np.sqrt(np.diag(matrix))
        safe = np.where(sds > 0, sds, 1.0)
        correlation = matrix / np.outer(safe, safe)
        rows, columns = np.tril_indices(self.k, -1)
        cors = correlation[rows, columns] if self.kind == "us" else correlation[1:2, 0]
        return np.concatenate([sds[: self.num_sds], cors[: self.num_cors]])


def shape(term: Random, k: int) -> Shape:
    """The structure of a term with k coefficients."""
    return Shape("us" if term.kind == "||" else term.kind, k)


class Climbing(NamedTuple):
    """Coordinates of all covariances in which zero variances and perfect correlations are inner points.

    Attributes:
      shapes: of the terms.
      units: for each term (k,) one over the root mean square of its columns.
    """

    shapes: tuple[Shape, ...]
    units: tuple[np.ndarray, ...]

    @property
    def size(self) -> int:
        return sum(each.size for each in self.shapes)

    def matrices(self, at: np.ndarray) -> tuple[np.ndarray, ...]:
        """The covariances at coordinates: elements of a factor (us), else sds and an angle."""
        found, start = [], 0
        for each, unit in zip(self.shapes, self.units, strict=True):
            mine = at[start : start + each.size]
            start += each.size
            if each.kind == "us":
                factor = np.zeros((each.k, each.k))
                factor[np.tril_indices(each.k)] = mine
                factor *= unit[:, None]
                found.append(factor @ factor.T)
                continue
            scale = unit if each.num_sds == each.k else unit.mean()
            cors = each.lowest + (1.0 - each.lowest) * np.sin(mine[each.num_sds :]) ** 2
            sds = np.abs(mine[: each.num_sds] * scale)
            found.append(each.matrix(np.concatenate([sds, cors])))
        return tuple(found)

    def flat(self, at: np.ndarray) -> np.ndarray:
        """All elements of the covariances as one vector."""
        return np.concatenate([matrix.ravel() for matrix in self.matrices(at)])

    def random(self, rng: np.random.Generator, at_zero: bool) -> np.ndarray:
        """Coordinates to start from, with `at_zero` some variances at almost nothing."""
        found = []
        for each in self.shapes:
            size = rng.choice([0.1, 1.0, 3.0])
            if at_zero and rng.uniform() < 0.6:
                size = 1e-3
            if each.kind == "us":
                factor = np.tril(0.3 * rng.normal(size=(each.k, each.k)), -1)
                factor += np.diag(np.exp(0.5 * rng.normal(size=each.k)))
                found.append(size * factor[np.tril_indices(each.k)])
            else:
                found.append(size * np.exp(0.5 * rng.normal(size=each.num_sds)))
                found.append(rng.uniform(0.2, 1.3, size=each.num_cors))
        return np.concatenate(found)
