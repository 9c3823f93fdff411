"""Conjugate gradients for several right-hand sides at once, and the Gauss quadrature that they leave behind.

The sides share each product with the matrix, whose cost is that of reading it. What is left of a side is added
to its solution at the end: where A is the identity, as for effects without variance, that makes it exact. From
a start at zero the coefficients of the method are those of Lanczos's tridiagonal matrix T, and f(T) gives
c'f(A)c.

References: Saad (2003), Iterative Methods for Sparse Linear Systems, 2nd ed., section 6.7; Golub, Meurant
(2010), Matrices, Moments and Quadrature, chapter 6; Ubaru, Chen, Saad (2017), SIAM J. Matrix Anal. Appl. 38,
1075-1099.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg as sl

from lmeformula.arrays import Floats

MAX_ITERATIONS = 500


class Solved(NamedTuple):
    """Solutions of A x = c for several c.

    Attributes:
      x: (r, m).
      product: (r, m) A c.
      residual: (m,) |A x - c| / |c|, before what is left was added.
      converged: whether all are within their tolerance.
      diagonals: Lanczos's diagonal for each c.
      beside: its off-diagonal, one shorter.
      norms: (m,) |c|^2.
    """

    x: Floats
    product: Floats
    residual: Floats
    converged: bool
    diagonals: tuple[Floats, ...]
    beside: tuple[Floats, ...]
    norms: Floats

    def part(self, columns: slice) -> Solved:
        """The solutions of some of the columns."""
        return Solved(
            x=self.x[:, columns],
            product=self.product[:, columns],
            residual=self.residual[columns],
            converged=self.converged,
            diagonals=self.diagonals[columns],
            beside=self.beside[columns],
            norms=self.norms[columns],
        )

    def quadrature(self, function: Callable[[Floats], Floats]) -> Floats:
        """(m,) c'f(A)c by Gauss quadrature, for f on (0, inf)."""
        found = np.zeros(len(self.norms))
        for i, (diagonal, beside) in enumerate(zip(self.diagonals, self.beside, strict=True)):
            if len(diagonal):
                values, vectors = sl.eigh_tridiagonal(diagonal, beside)
                # Rounding may leave a value at or below zero where the matrix is nearly singular.
                values = np.maximum(values, np.finfo(float).tiny)
                found[i] = self.norms[i] * float(vectors[0] ** 2 @ function(values))
        return found


def conjugate_gradients(
    times: Callable[[Floats], Floats],
    right: Floats,
    tolerance: Floats,
    max_iterations: int = MAX_ITERATIONS,
) -> Solved:
    """Solve A x = c for the columns c of `right`, started at zero.

    Args:
      times: columns (r, m) -> A columns, for any m; A symmetric and positive definite, and preconditioned.
      right: (r, m).
      tolerance: (m,) on |A x - c| / |c|, for each column.
      max_iterations: most products with A.
    Returns:
      The solutions, converged or not.
    Raises:
      numpy.linalg.LinAlgError: if A turns out not to be positive definite.
    Example:
      >>> A = np.array([[2.0, 1.0], [1.0, 3.0]])
      >>> found = conjugate_gradients(lambda x: A @ x, np.array([[3.0], [4.0]]), np.array([1e-12]))
      >>> found.x.ravel().round(10).tolist()
      [1.0, 1.0]
    """
    size, count = right.shape
    x = np.zeros((size, count))
    product = np.zeros((size, count))
    norms = _dots(right, right)
    squares = norms.copy()
    goal = tolerance**2 * norms
    steps: list[list[float]] = [[] for _ in range(count)]
    ratios: list[list[float]] = [[] for _ in range(count)]
    active = np.flatnonzero(norms > 0)
    residual = right[:, active].copy()
    direction = residual.copy()
    for number in range(max_iterations):
        if not active.size:
            break
        along = times(direction)
        if number == 0:
            product[:, active] = along
        curvature = _dots(direction, along)
        if not (curvature > 0).all():
            raise np.linalg.LinAlgError("the matrix is not positive definite")
        step = squares[active] / curvature
        x[:, active] += step * direction
        along *= step
        residual -= along
        reached = _dots(residual, residual)
        ratio = reached / squares[active]
        for place, column in enumerate(active):
            steps[column].append(float(step[place]))
            ratios[column].append(float(ratio[place]))
        squares[active] = reached
        direction *= ratio
        direction += residual
        going = reached > goal[active]
        if not going.all():
            x[:, active[~going]] += residual[:, ~going]
            active = active[going]
            residual, direction = residual[:, going], direction[:, going]
    x[:, active] += residual
    tridiagonals = [
        _tridiagonal(np.array(a), np.array(b)) for a, b in zip(steps, ratios, strict=True)
    ]
    safe = np.where(norms > 0, norms, 1.0)
    return Solved(
        x=x,
        product=product,
        residual=np.sqrt(squares / safe),
        converged=not active.size,
        diagonals=tuple(diagonal for diagonal, _ in tridiagonals),
        beside=tuple(beside for _, beside in tridiagonals),
        norms=norms,
    )


def _tridiagonal(steps: Floats, ratios: Floats) -> tuple[Floats, Floats]:
    """Lanczos's matrix from the steps and ratios of conjugate gradients (Saad, section 6.7.3)."""
    diagonal = 1.0 / steps
    diagonal[1:] += ratios[:-1] / steps[:-1]
    return diagonal, np.sqrt(ratios[:-1]) / steps[:-1]


def _dots(left: Floats, right: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->j", left, right))
