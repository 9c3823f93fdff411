"""The relative covariance factors as vectors of free elements, in which likelihoods are maximised."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg as sl
from numpy.typing import NDArray

from lmeformula.model.covariance import cholesky_semidefinite
from lmeformula.model.params import ParamSpace

Floats = NDArray[np.float64]

# Diagonal elements are kept at least this far from zero, where the derivative of log |M| loses digits as
# the inverse square of it. Columns that end there are exactly zero in the result.
SMALLEST = 1e-5


class FactorSpace(NamedTuple):
    """The free elements of the factors, each on the scale of its column of the data.

    Elements have no bounds: a column of a factor may change its sign, which leaves the covariance as it is,
    so that the likelihood is smooth where an element crosses zero, and a variance of zero is an ordinary
    stationary point.

    Attributes:
      bases: (t, k, k) of each term: a factor is the combination of its basis matrices with its elements.
      is_diagonal: (t in all) which elements lie on the diagonal.
      columns: positions of the elements that make up one column of one factor, the diagonal one first.
      owner: (t in all) the term that each element belongs to.
    """

    bases: tuple[Floats, ...]
    is_diagonal: NDArray[np.bool_]
    columns: tuple[NDArray[np.int64], ...]
    owner: NDArray[np.int64]

    @property
    def size(self) -> int:
        """Number of elements."""
        return len(self.owner)

    def factors(self, elements: Floats) -> tuple[Floats, ...]:
        """The (k, k) factor of each term."""
        ends = np.cumsum([0, *(len(basis) for basis in self.bases)])
        return tuple(
            np.tensordot(elements[a:b], basis, 1)
            for a, b, basis in zip(ends[:-1], ends[1:], self.bases, strict=True)
        )

    def keep_off_zero(self, elements: Floats) -> Floats:
        """The elements, those on the diagonal at least SMALLEST in size."""
        held = np.where(
            elements < 0, np.minimum(elements, -SMALLEST), np.maximum(elements, SMALLEST)
        )
        return np.where(self.is_diagonal, held, elements)

    def pull_back(self, slopes: tuple[Floats, ...]) -> Floats:
        """(t,) derivatives in the elements from those in each Lambda (k, k)."""
        return np.concatenate(
            [
                np.einsum("tab,ab->t", basis, slope)
                for basis, slope in zip(self.bases, slopes, strict=True)
            ]
        )

    def curvature(
        self, lambdas: tuple[Floats, ...], slopes: tuple[Floats, ...]
    ) -> tuple[Floats, tuple[Floats, ...]]:
        """The part of the second derivative that comes from Lambda Lambda' being quadratic in Lambda.

        Args:
          lambdas: the factors.
          slopes: (k, k) derivatives of the log-likelihood in them.
        Returns:
          falling: (t, t) the positive definite part of the negative second derivative.
          pulls: (k, k) of each term: symmetric K with slope = -K Lambda.
        """
        falling, pulls = np.zeros((self.size, self.size)), []
        for j, (basis, slope, factor) in enumerate(zip(self.bases, slopes, lambdas, strict=True)):
            pull = -sl.solve_triangular(factor, slope.T, lower=True, trans="T").T
            pull = 0.5 * (pull + pull.T)
            pulls.append(pull)
            values, vectors = np.linalg.eigh(pull)
            positive = (vectors * np.maximum(values, 0.0)) @ vectors.T
            here = np.flatnonzero(self.owner == j)
            falling[np.ix_(here, here)] = np.einsum("sab,ac,tcb->st", basis, positive, basis)
        return falling, tuple(pulls)


def factor_space(space: ParamSpace, scales: tuple[Floats, ...]) -> FactorSpace:
    """Divide the structures' bases by the root mean squares (k,) of the columns that they multiply."""
    bases, columns, diagonal = [], [], []
    start = 0
    for term, scale in zip(space.terms, scales, strict=True):
        basis = term.structure.basis(len(term.columns))
        # One variance for all coefficients has one scale.
        shared = np.abs(np.trace(basis, axis1=1, axis2=2)) > 1
        rows = np.where(shared[:, None], np.sqrt(np.mean(scale**2)), scale)
        bases.append(basis / rows[:, :, None])
        on_diagonal = np.trace(basis, axis1=1, axis2=2) > 0
        diagonal.append(on_diagonal)
        support = [tuple(np.flatnonzero(matrix.any(axis=0))) for matrix in basis]
        for place in np.flatnonzero(on_diagonal):
            same = (t for t, s in enumerate(support) if s == support[place] and t != place)
            columns.append(start + np.array([place, *same]))
        start += len(basis)
    owner = np.repeat(np.arange(len(bases)), [len(basis) for basis in bases])
    return FactorSpace(tuple(bases), np.concatenate(diagonal), tuple(columns), owner)


def any_singular(lambdas: tuple[Floats, ...], scales: tuple[Floats, ...]) -> bool:
    """Whether the covariance of some term is singular, judged on the scale of its columns of the data."""
    for factor, scale in zip(lambdas, scales, strict=True):
        scaled = factor * scale[:, None]
        if is_singular(cholesky_semidefinite(scaled @ scaled.T)):
            return True
    return False


def is_singular(factor: Floats, tolerance: float = 1e-4) -> bool:
    """Whether a relative covariance factor is singular, to lme4's tolerance for its diagonal."""
    return bool((np.abs(np.diag(factor)) < tolerance).any())
