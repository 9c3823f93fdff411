"""Factors of a covariance structure as functions of free elements, in which likelihoods are maximised."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from scipy.linalg import lapack

from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.covariance.eigen import symmetric_eigen

# Elements are kept at least this far from where a factor becomes singular: there the derivative of log |M|
# loses digits as the inverse square of it. Faces that are reached are taken exactly in the result.
SMALLEST = 1e-5
# A face that is nearer than this is tried.
SHORT = 1e-3
# A coefficient is determined by others where no more than this share of it is left.
ROUNDING = 1e-12
# Step of differences of the factors' first derivatives, which are smooth functions of a few numbers.
BEND = 1e-5
# What is left of terms of a sum that cancel, as a share of them, is nothing.
CANCELLED = 8 * float(np.finfo(float).eps)


class Escape(NamedTuple):
    """A way off a face.

    Attributes:
      elements: (t,) of the chart, some 10 SHORT away from the face.
      curvature: twice the promised rise of the log-likelihood by the square of that distance.
    """

    elements: Floats
    curvature: float


class Chart(Protocol):
    """The (k, k) lower-triangular factors of one structure as a smooth function of t elements.

    A *face* is a set of elements at whose resting place the covariance is singular: a column of a factor at
    zero, a correlation at its bound. Elements on a face rest there until the likelihood rises away from it.

    Attributes:
      faces: positions of the elements of each face.
    """

    faces: tuple[Ints, ...]

    @property
    def size(self) -> int:
        """Number of elements, t."""

    def start(self, sd: float) -> Floats:
        """(t,) elements of independent coefficients of that standard deviation."""

    def near(self, factor: Floats) -> Floats:
        """(t,) elements of that factor, or of one about as large, to start from."""

    def alternatives(self, start: Floats) -> tuple[Floats, ...]:
        """Other elements (t,) to start from as well, where the likelihood may have several maxima."""

    def settle(self, elements: Floats, least: float = SMALLEST) -> Floats:
        """Elements of the same covariance, or the nearest one allowed, at least `least` from singular."""

    def factor(self, elements: Floats) -> Floats:
        """(k, k) factor."""

    def jacobian(self, elements: Floats) -> Floats:
        """(t, k, k) its derivative in each element."""

    def falling(self, elements: Floats, slope: Floats, pull: Floats) -> Floats:
        """(t, t) what -d^2 l has from the covariance being curved in the elements.

        Its positive semidefinite part where it vanishes at regular maxima.

        Args:
          elements: (t,).
          slope: (k, k) derivative of the log-likelihood in the factor.
          pull: (k, k) K with slope = -K factor, symmetric.
        """

    def idle(self, elements: Floats) -> Mask:
        """(t,) which elements make no difference: a correlation of variances at zero."""

    def rest(self, face: int, elements: Floats) -> Floats:
        """The elements with those of a face at its nearest resting place."""

    def escape(
        self, face: int, elements: Floats, score: Floats, slope: Floats, pull: Floats
    ) -> Escape:
        """The best way off a face that the elements lie on, by the derivatives there."""


def pull_of(factor: Floats, slope: Floats) -> Floats:
    """Symmetric K with slope = -K factor: the derivative in the covariance is -K / 2."""
    pull = -lapack.dtrtrs(factor, slope.T, lower=1, trans=1)[0].T
    return np.asarray(0.5 * (pull + pull.T))


def triangular(root: Floats) -> Floats:
    """The lower-triangular factor of C C', for C (..., k, r): zero where earlier rows determine one.

    Example:
      >>> triangular(np.array([[2.0, 0.0], [3.0, 4.0]])).tolist()
      [[2.0, 0.0], [3.0, 4.0]]
      >>> triangular(np.array([[0.0, 0.0], [0.0, 4.0]])).tolist()
      [[0.0, 0.0], [0.0, 4.0]]
    """
    k, leading = root.shape[-2], root.shape[:-2]
    found, ways = np.zeros((*leading, k, k)), np.zeros(root.shape)
    for i in range(k):
        row = left = root[..., i, :]
        for _ in range(2):  # once more for the digits
            along = np.einsum("...jr,...r->...j", ways[..., :i, :], left)
            found[..., i, :i] += along
            left = left - np.einsum("...j,...jr->...r", along, ways[..., :i, :])
        size = np.sqrt((left**2).sum(axis=-1))
        is_own = size > ROUNDING * np.sqrt((row**2).sum(axis=-1))
        found[..., i, i] = np.where(is_own, size, 0.0)
        ways[..., i, :] = left / np.where(is_own, size, np.inf)[..., None]
    return found


def positive_part(matrix: Floats, least: float = 0.0) -> Floats:
    """A symmetric matrix without its negative eigenvalues, and those that are no more than `least`."""
    values, vectors = symmetric_eigen(matrix)
    return np.asarray((vectors * np.where(values > least, values, 0.0)) @ vectors.T)


def bends(jacobian: Callable[[Floats], Floats], at: Floats, slope: Floats) -> Floats:
    """(t, t) second derivative of a factor, combined with a slope (k, k), by differences of its first.

    Args:
      jacobian: parameters (t,) -> (t, k, k).
      at: (t,) where.
      slope: derivative of the log-likelihood in the factor.
    """
    found = np.empty((len(at), len(at)))
    for place, step in enumerate(BEND * np.eye(len(at))):
        ends = [jacobian(at + side * step) for side in (1.0, -1.0)]
        found[place] = np.einsum("tab,ab->t", ends[0] - ends[1], slope) / (2.0 * BEND)
    return 0.5 * (found + found.T)


def off_zero(values: Floats, least: float = SMALLEST) -> Floats:
    """The values, at least that much in size, with their signs."""
    return np.where(values < 0, np.minimum(values, -least), np.maximum(values, least))


class LinearChart:
    """Factors that are combinations of fixed matrices.

    Elements have no bounds: a column of a factor may change its sign, which leaves the covariance as it is,
    so that the likelihood is smooth where an element crosses zero, and a variance of zero is an ordinary
    stationary point. Every column is a face.

    Args:
      basis: (t, k, k) lower-triangular matrices.
    Example:
      >>> chart = LinearChart(np.eye(2)[None])
      >>> chart.factor(np.array([3.0])).tolist(), chart.faces
      ([[3.0, 0.0], [0.0, 3.0]], (array([0]),))
    """

    def __init__(self, basis: Floats) -> None:
        self.basis, self.size = basis, len(basis)
        # Of a few numbers np.tensordot takes several times as long as the product.
        self._flat = basis.reshape(self.size, -1)
        self.on_diagonal = np.trace(basis, axis1=1, axis2=2) > 0
        self._size = np.abs(self._flat) if ((basis != 0.0).sum(axis=0) > 1).any() else None
        support = [tuple(np.flatnonzero(matrix.any(axis=0))) for matrix in basis]
        self.faces = tuple(
            np.array([i, *(t for t, s in enumerate(support) if s == support[i] and t != i)])
            for i in np.flatnonzero(self.on_diagonal)
        )

    @property
    def back(self) -> Floats:
        """(k, k) the factor with elements of one on its diagonal: what turns orthogonal columns back."""
        return self.factor(np.where(self.on_diagonal, 1.0, 0.0))

    def start(self, sd: float) -> Floats:
        return np.where(self.on_diagonal, sd, 0.0)

    def near(self, factor: Floats) -> Floats:
        flat = factor.reshape(-1, self._flat.shape[1])
        found = np.linalg.lstsq(self._flat.T, flat.T, rcond=None)[0].T
        return np.asarray(found.reshape(*factor.shape[:-2], self.size), float)

    def alternatives(self, start: Floats) -> tuple[Floats, ...]:
        return ()

    def settle(self, elements: Floats, least: float = SMALLEST) -> Floats:
        return np.where(self.on_diagonal, off_zero(elements, least), elements)

    def factor(self, elements: Floats) -> Floats:
        factor = elements[None] @ self._flat
        if self._size is not None:
            # A coefficient without variance has none, and none of rounding.
            most = np.abs(elements)[None] @ self._size
            factor[np.abs(factor) < CANCELLED * most] = 0.0
        return factor.reshape(self.basis.shape[1:])

    def jacobian(self, elements: Floats) -> Floats:
        return self.basis

    def falling(self, elements: Floats, slope: Floats, pull: Floats) -> Floats:
        return positive_part(self._flat @ (pull @ self.basis).reshape(self.size, -1).T)

    def idle(self, elements: Floats) -> Mask:
        return np.zeros(self.size, bool)

    def rest(self, face: int, elements: Floats) -> Floats:
        resting = elements.copy()
        resting[self.faces[face]] = 0.0
        return resting

    def escape(
        self, face: int, elements: Floats, score: Floats, slope: Floats, pull: Floats
    ) -> Escape:
        # For a short column x the log-likelihood is quadratic, -x'Kx / 2: it rises along the eigenvector of
        # K's least eigenvalue, restricted to the elements that the column has, if that is negative.
        places = self.faces[face]
        rows = self.basis[places]
        values, vectors = symmetric_eigen(-np.einsum("sab,ac,tcb->st", rows, pull, rows))
        moved = elements.copy()
        moved[places] = 10 * SHORT * vectors[:, -1]
        return Escape(moved, float(values[-1]))
