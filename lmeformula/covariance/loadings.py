"""rr: coefficients that are combinations of a few factors, a covariance of reduced rank.

The coefficients of a level are L u, with d independent standard normal factors u and loadings L (k, d). Any
rotation of the factors gives the same covariance: L is lower trapezoidal, zero above its diagonal, so that one
of them is left, up to the signs of columns.

Reference: McGillycuddy, Popovic, Bolker, Warton (2025), J. Stat. Softw. 112(1), section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lmeformula.arrays import Floats, Mask, Tensor
from lmeformula.covariance.chart import SHORT, SMALLEST, Chart, Escape, off_zero
from lmeformula.covariance.eigen import symmetric_eigen
from lmeformula.covariance.structure import ROUNDING, Correlations

# Other loadings that an ascent starts from: a likelihood of factors may have several maxima.
OTHER_STARTS = 4
# What stands for the standard deviation that no factor gives, as a share of the loadings' size, where a matrix
# of full rank is divided by: in the likelihood it is there by its square.
HELD_UP = 1e-5


class Loadings:
    """Sigma = L L' with loadings L (k, d), lower trapezoidal; theta are these, row by row.

    Args:
      factors: how many there are, d.
    Example:
      >>> Loadings(1).limit(np.array([1.0, -2.0, 3.0]), 3).tolist()
      [[1.0, 0.0, 0.0], [-2.0, 0.0, 0.0], [3.0, 0.0, 0.0]]
    """

    kind = "rr"
    correlations: Correlations = "factors"

    def __init__(self, factors: int) -> None:
        self.factors = factors

    def rank(self, k: int) -> int:
        return min(self.factors, k)

    def least_correlation(self, k: int) -> float:
        return -1.0

    def tfp_correlation(self, start: Floats, dtype: str) -> tuple[Floats, Any]:
        raise NotImplementedError("loadings instead of correlations")

    def tfp_factor(self, value: Tensor, k: int) -> Tensor:
        import tensorflow as tf

        full = tf.scatter_nd(tf.constant(self.places(k)), value, (k, k))
        least = HELD_UP * tf.stop_gradient(tf.sqrt(tf.reduce_mean(value**2)))
        held = tf.where(tf.abs(tf.linalg.diag_part(full)) < least, least, 0.0)
        return full + tf.linalg.diag(held)

    def matrix_text(self, part: str, k: int) -> str:
        return f"Λ Λ', Λ the {k} × {self.rank(k)} matrix loadings_{part}"

    def matrix_latex(self, label: str, k: int) -> str:
        loadings = rf"\Lambda_{{{label}}}"
        return rf"{loadings} {loadings}', \quad {loadings} \text{{ of {self.rank(k)} columns}}"

    def places(self, k: int) -> list[tuple[int, int]]:
        """Row and column of each loading."""
        return [(i, j) for i in range(k) for j in range(min(i + 1, self.rank(k)))]

    def num_params(self, k: int) -> int:
        return len(self.places(k))

    def num_sds(self, k: int) -> int:
        return 0

    def limit(self, theta: Floats, k: int) -> Floats:
        """(k, k) the loadings beside columns of zeros."""
        found = np.zeros((k, k))
        found[tuple(np.transpose(self.places(k)))] = theta
        return found

    def cholesky(self, theta: Floats, k: int) -> Floats:
        found, each = self.limit(theta, k), np.arange(k)
        least = HELD_UP * float(np.sqrt(np.mean(theta**2)))
        found[each, each] = off_zero(found[each, each], least)
        return found

    def cholesky_jacobian(self, theta: Floats, k: int) -> Floats:
        return _units(self.places(k), k)

    def to_free(self, covariance: Floats) -> Floats:
        k = len(covariance)
        values, vectors = symmetric_eigen(0.5 * (covariance + covariance.T))
        # By the largest of its eigenvalues, which are all that there are, turned until it is trapezoidal.
        d = self.rank(k)
        kept = np.where(values > k * ROUNDING * values[-1], values, 0.0)[-d:]
        root = vectors[:, -d:] * np.sqrt(kept)
        turned = np.asarray(np.linalg.qr(root.T)[1]).T
        turned = turned * np.where(np.diag(turned) < 0.0, -1.0, 1.0)
        return np.asarray(turned[tuple(np.transpose(self.places(k)))])

    def off_bounds(self, theta: Floats, k: int, sd: float | Floats) -> tuple[Floats, Mask]:
        full = self.limit(theta, k)
        is_there = np.abs(full).max(axis=0) > 0.0
        places = self.places(k)
        inside = np.array([is_there[j] for _, j in places])
        on_diagonal = np.array([i == j for i, j in places])
        return np.where(on_diagonal & ~inside, np.mean(sd), theta), inside

    def to_report(self, theta: Floats, k: int) -> Floats:
        return np.array(theta)

    def report_jacobian(self, theta: Floats, k: int) -> Floats:
        return np.eye(len(theta))

    def labels(self, columns: Sequence[str]) -> list[tuple[str, str]]:
        return [("loading", f"{columns[i]},{j + 1}") for i, j in self.places(len(columns))]

    def elements(self, k: int) -> Floats | None:
        return None

    def chart(self, scale: Floats) -> Chart:
        return LoadingsChart(self.places(len(scale)), scale, self.rank(len(scale)))


class LoadingsChart:
    """Loadings of columns of size one; a factor without any loading is a face.

    In an ascent the covariance is held up by next to nothing where no factor gives a variance: then it tells
    which way the likelihood rises there, which is what bends it. `limit` is the factor without that.

    Args:
      places: row and column of each loading.
      scale: (k,) root mean squares of the columns of the data.
      rank: how many factors there are.
    """

    def __init__(self, places: list[tuple[int, int]], scale: Floats, rank: int) -> None:
        k = len(scale)
        self.places, self.rank, self.size = places, rank, len(places)
        self.basis = _units(places, k) / scale[:, None]
        self.held = np.diag(np.where(np.arange(k) < rank, 0.0, SMALLEST / scale))
        columns = np.array([j for _, j in places])
        self.faces = tuple(np.flatnonzero(columns == j) for j in range(rank))
        self.on_diagonal = np.array([i == j for i, j in places])

    def start(self, sd: float) -> Floats:
        return np.where(self.on_diagonal, sd, 0.1 * sd)

    def near(self, factor: Floats) -> Floats:
        flat = self.basis.reshape(self.size, -1)
        target = factor - self.held
        found = np.linalg.lstsq(flat.T, target.reshape(*factor.shape[:-2], -1).T, rcond=None)[0].T
        return np.asarray(found, float)

    def alternatives(self, start: Floats) -> tuple[Floats, ...]:
        size = np.sqrt(np.mean(start**2))
        random = np.random.default_rng(0)
        return tuple(size * random.standard_normal(self.size) for _ in range(OTHER_STARTS))

    def settle(self, elements: Floats, least: float = SMALLEST) -> Floats:
        return np.where(self.on_diagonal, off_zero(elements, least), elements)

    def limit(self, elements: Floats) -> Floats:
        """(k, k) the factor, of reduced rank."""
        return np.asarray(np.tensordot(elements, self.basis, 1))

    def factor(self, elements: Floats) -> Floats:
        return np.asarray(self.limit(elements) + self.held)

    def jacobian(self, elements: Floats) -> Floats:
        return np.asarray(self.basis)

    def falling(self, elements: Floats, slope: Floats, pull: Floats) -> Floats:
        # All of it: across the factors it does not vanish at a maximum.
        found = np.einsum("sab,ac,tcb->st", self.basis, pull, self.basis)
        return np.asarray(0.5 * (found + found.T))

    def idle(self, elements: Floats) -> Mask:
        return np.zeros(self.size, bool)

    def rest(self, face: int, elements: Floats) -> Floats:
        resting = elements.copy()
        resting[self.faces[face]] = 0.0
        return resting

    def escape(
        self, face: int, elements: Floats, score: Floats, slope: Floats, pull: Floats
    ) -> Escape:
        places = self.faces[face]
        rows = self.basis[places]
        values, vectors = symmetric_eigen(-np.einsum("sab,ac,tcb->st", rows, pull, rows))
        moved = elements.copy()
        moved[places] = 10 * SHORT * vectors[:, -1]
        return Escape(moved, float(values[-1]))


def _units(places: list[tuple[int, int]], k: int) -> Floats:
    """(t, k, k) a one at each place."""
    found = np.zeros((len(places), k, k))
    for number, (i, j) in enumerate(places):
        found[number, i, j] = 1.0
    return found
