"""Penalised least squares from residuals of the rows, where differences of cross products are rounding.

A residual sum of squares that is a tiny share of the responses' own, as under a tiny sigma or a nearly perfect
fit, and an information of fixed effects next to effects with huge variances, have no digits as differences. As
sums of squares of residuals, at modes that are corrected by what the normal equations leave, they keep theirs:
an error of the modes matters by its square only.

References: Golub, Van Loan (2013), Matrix Computations, section 5.3.8, for the correction of least squares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import scipy.linalg as sl
from scipy.linalg import lapack

from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.algebra.meetings import Factored
from lmeformula.algebra.probed import ProbedFactor
from lmeformula.arrays import Floats
from lmeformula.likelihood.gaussian.solution import Solution

# Below this share of the whole a difference of cross products is not trusted.
CLOSE = 1e-7
# A judge, and second derivatives, need more digits than who climbs.
JUDGED = 1e-4
# Corrections of the modes.
CORRECTIONS = 3
# Residuals of this size, relative to the responses, are rounding.
ROUNDING = 1e-14
# Below it, a model meets its responses exactly.
EXACTLY = 1e-12
# Sums of squares of responses that are all zero are taken for this.
SMALLEST = 1e-280
# Where sigma is below this share of what fixed effects leave, and so little of the penalised sum of squares is
# from residuals, a model meets its responses by effects without limit.
VANISHING, BY_EFFECTS = 1e-7, 1e-6


class Rows(NamedTuple):
    """What the rows have, beyond their cross products; all times the root of their weights.

    Attributes:
      Q: (n, p) orthogonal columns of the fixed effects.
      residual: (n,) of the regression on them alone.
      root: (n,) of the weights; None where there are none.
      size: root sum of squares of the responses.
    """

    Q: Floats
    residual: Floats
    root: Floats | None
    size: float

    @property
    def yy(self) -> float:
        """Sum of squares of the residuals."""
        return float(self.residual @ self.residual)

    def columns(self, plan: Layout) -> ColumnsHere:
        """Q and the residuals, side by side."""
        both = np.column_stack([self.Q, self.residual])
        return ColumnsHere(plan, self, both, both)

    def spread(self, plan: Layout, effects: Floats) -> Floats:
        """Z effects, (n, m), for effects (q, m)."""
        found = plan.spread(effects)
        return found if self.root is None else found * self.root[:, None]

    def gather(self, plan: Layout, columns: Floats) -> Floats:
        """Z' columns, (q, m), for columns (n, m)."""
        return plan.gather(columns if self.root is None else columns * self.root[:, None])


class Columns(Protocol):
    """Columns (n, m) less what effects say of them, wherever the rows are; times the root of the weights."""

    def gather(self) -> Floats:
        """(q, m) Z' columns."""

    def less(self, effects: Floats) -> Columns:
        """The columns as they were at first, less Z effects, for effects (q, m)."""

    def gram(self) -> Floats:
        """(m, m) products of the columns."""

    def along(self, combination: Floats) -> tuple[float, Floats]:
        """Sum of squares of a combination (m,) of the columns, and (m,) its products with each."""


class ColumnsHere(NamedTuple):
    """Columns in memory.

    Attributes:
      plan: layout of the effects, with the rows.
      rows: the root of their weights is read.
      first: (n, m) the columns as they were.
      values: (n, m) what is left of them.
    """

    plan: Layout
    rows: Rows
    first: Floats
    values: Floats

    def gather(self) -> Floats:
        """See `Columns`."""
        return self.rows.gather(self.plan, self.values)

    def less(self, effects: Floats) -> ColumnsHere:
        """See `Columns`."""
        return self._replace(values=self.first - self.rows.spread(self.plan, effects))

    def gram(self) -> Floats:
        """See `Columns`."""
        return np.asarray(self.values.T @ self.values)

    def along(self, combination: Floats) -> tuple[float, Floats]:
        """See `Columns`."""
        found = self.values @ combination
        return float(found @ found), self.values.T @ found


class AnyRows(Protocol):
    """Rows wherever they are: what is asked of them where a fit comes close to its responses; see `Rows`."""

    @property
    def size(self) -> float:
        """Root sum of squares of the responses."""

    @property
    def yy(self) -> float:
        """Sum of squares of the residuals."""

    def columns(self, plan: Layout) -> Columns:
        """Q and the residuals, side by side."""


def least_of(rows: AnyRows) -> float:
    """The sum of squares that is left where a fit is exact but for rounding."""
    return max((ROUNDING * rows.size) ** 2, SMALLEST)


def is_close(rss: float, yy: float, information: Floats, close: float = CLOSE) -> bool:
    """Whether the sum of squares, or a direction of an information out of one, is too small a difference."""
    return is_small(rss, yy, close) or not has_digits(information, close)


def is_small(rss: float, yy: float, close: float = CLOSE) -> bool:
    """Whether a residual sum of squares is too small a difference of sums of squares."""
    return rss < close * yy


def has_digits(information: Floats, close: float = CLOSE) -> bool:
    """Whether an information out of one keeps digits in every direction."""
    if not len(information):
        return True
    root, status = lapack.dpotrf(information, lower=1, clean=0)
    return status == 0 and not bool((root.diagonal() ** 2 < close).any())


class Left(NamedTuple):
    """What effects leave of columns, each by itself.

    Attributes:
      residuals: (n, m).
      modes: (q, m) of the spherical effects.
    """

    residuals: Floats
    modes: Floats

    @property
    def products(self) -> Floats:
        """(m, m) columns' V^-1 columns sigma^2: an error of the modes matters by its square."""
        return np.asarray(self.residuals.T @ self.residuals + self.modes.T @ self.modes)

    def along(self, combination: Floats) -> tuple[Floats, Floats]:
        """Residuals (n,) and modes (q,) of a combination (m,) of the columns."""
        return self.residuals @ combination, self.modes @ combination


C = TypeVar("C", bound=Columns)


def leave(
    columns: C,
    num_effects: int,
    outward: Callable[[Floats], Floats],
    inward: Callable[[Floats], Floats],
    solve: Callable[[Floats], Floats],
) -> tuple[C, Floats]:
    """Solve for the effects of columns, and correct them by their residuals.

    Args:
      columns: as they are before there are effects.
      num_effects: q.
      outward, inward: Lambda times, and Lambda' times columns (q, m).
      solve: M^-1 times columns (q, m), M = Lambda' Z'WZ Lambda + I, roughly.
    Returns:
      What is left of the columns, and the modes (q, m) of the spherical effects.
    """
    left, gathered = columns, columns.gather()
    modes = np.zeros((num_effects, gathered.shape[1]))
    for number in range(1 + CORRECTIONS):
        gathered = left.gather() if number else gathered
        modes = modes + solve(inward(gathered) - modes)
        left = left.less(outward(modes))  # type: ignore[assignment]
    return left, modes


def leave_all(plan: Layout, rows: Rows, spread: Floats, solve: Callable[[Floats], Floats]) -> Left:
    """What effects leave of all columns of Z, of the fixed effects' and of the response, side by side.

    Args:
      plan, rows, solve: as of `leave`.
      spread: (q, q) Lambda.
    """
    Z = rows.spread(plan, np.eye(len(spread)))
    every = np.column_stack([Z, rows.Q, rows.residual])
    left, modes = leave(
        ColumnsHere(plan, rows, every, every),
        plan.num_effects,
        outward=lambda columns: spread @ columns,
        inward=lambda columns: spread.T @ columns,
        solve=solve,
    )
    return Left(left.values, modes)


def solve_closely(
    rows: AnyRows, factor: Factored | ProbedFactor, gamma: Floats | None
) -> Solution[Factored | ProbedFactor]:
    """Solve for effects and fixed effects from the rows.

    Args:
      rows: residuals before there are effects.
      factor: M, with which equations are solved roughly.
      gamma: (p,) coefficients of the columns; None for the best.
    """
    plan, lambdas = factor.plan, factor.lambdas
    left, modes = leave(
        rows.columns(plan),
        plan.num_effects,
        outward=lambda columns: apply_lambda(plan, lambdas, columns),
        inward=lambda columns: apply_lambda(plan, lambdas, columns, transpose=True),
        solve=factor.solve,
    )
    products = left.gram() + modes.T @ modes
    information, pull = products[:-1, :-1], products[:-1, -1]
    if gamma is None:
        gamma = best_coefficients(information, pull)
    to_residual = np.append(-gamma, 1.0)
    missed, along = left.along(to_residual)
    u, totals = modes @ to_residual, left.gather()
    return Solution(
        factor=factor,
        gamma=gamma,
        u=u,
        w=_pull(plan, rows.size, lambdas, totals @ to_residual, u),
        rss=max(missed + float(u @ u), least_of(rows)),
        information=information,
        ZVQ=totals[:, :-1],
        score=along[:-1] + modes[:, :-1].T @ u,
        missed=missed,
    )


def _pull(
    plan: Layout, size: float, lambdas: tuple[Floats, ...], totals: Floats, u: Floats
) -> Floats:
    """(q,) Z'V^-1 r sigma^2: of each term from totals of residuals or from Lambda'w = u, what loses less."""
    w = totals.copy()
    for j, (factor, part) in enumerate(zip(lambdas, plan.split(u), strict=True)):
        # Totals have the rounding of the responses, modes their own, by how much their covariance enlarges it.
        least = np.linalg.svd(factor)[1][-1]
        if np.linalg.norm(part) < least * size:
            w[plan.place(j)] = sl.solve_triangular(factor, part.T, lower=True, trans="T").T.ravel()
    return w


def best_coefficients(information: Floats, pull: Floats) -> Floats:
    """(p,) coefficients of the orthogonal columns, from Q'V^-1 Q and Q'V^-1 r, times sigma^2.

    Raises:
      LinAlgError: if the information is not positive definite, each column on its own scale.
    """
    if not pull.size:
        return pull
    scale = np.sqrt(np.maximum(information.diagonal(), np.finfo(float).tiny))
    scaled = information / np.outer(scale, scale)
    _, found, status = lapack.dposv(scaled, pull / scale)
    if status != 0:
        raise np.linalg.LinAlgError("the information of the fixed effects is not positive definite")
    return np.asarray(found / scale, float)


def is_perfect(rows: AnyRows, rss: float, missed: float | None) -> bool:
    """Whether a model meets its responses exactly: by its columns, or by effects that grow without limit.

    Args:
      rows: residuals before there are effects.
      rss: penalised residual sum of squares.
      missed: the part of it that is from residuals; None where the fit is not close.
    """
    if missed is None:
        return rss <= (EXACTLY * rows.size) ** 2
    by_effects = rss < VANISHING**2 * rows.yy and missed < BY_EFFECTS * rss
    return by_effects or rss <= (EXACTLY * rows.size) ** 2
