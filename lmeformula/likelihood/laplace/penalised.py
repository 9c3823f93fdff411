"""A likelihood with the log density of priors added: value, slopes and information, in this one place.

Whatever integrates effects out, by the determinant at their mode or by quadrature, is inside, and everything
that asks it, the ascent, the information at its end and the certificate, is of the posterior density.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import scipy.linalg as sl

from lmeformula.algebra.crossproducts import Layout
from lmeformula.arrays import Floats
from lmeformula.checkpoint.trees import Tree
from lmeformula.covariance.eigen import symmetric_eigen
from lmeformula.family import Depths
from lmeformula.likelihood.laplace.directions import Directions
from lmeformula.likelihood.laplace.likelihood import Beyond, Marginal, Method, Mode, Problem
from lmeformula.likelihood.laplace.row_sums import At
from lmeformula.model.compile import Model
from lmeformula.model.penalty import Moves, Penalty


class Penalised:
    """A way to integrate effects out, and the log density of priors added to what it gives; see `Marginal`.

    Args:
      inner: the way.
      penalty: the log density of the priors.
    """

    def __init__(self, inner: Marginal, penalty: Penalty) -> None:
        self.inner, self.penalty = inner, penalty

    @property
    def method(self) -> Method:
        """See `Marginal`."""
        return self.inner.method

    @property
    def is_exact(self) -> bool:
        """See `Marginal`."""
        return self.inner.is_exact

    @property
    def is_spent(self) -> bool:
        """See `Marginal`."""
        return self.inner.is_spent

    @property
    def held(self) -> Any:
        """See `Memory`."""
        return self.inner.held

    @held.setter
    def held(self, held: Any) -> None:
        self.inner.held = held

    def noted(self, before: Any) -> Tree:
        """See `Memory`."""
        return self.inner.noted(before)

    @classmethod
    def of(cls, model: Model, plan: Layout) -> Marginal:
        """See `Marginal`; `penalised` makes these."""
        raise NotImplementedError

    def beyond(
        self, problem: Problem, mode: Mode, depths: Depths, along: Directions | None = None
    ) -> Beyond:
        """See `Marginal`."""
        found = self.inner.beyond(problem, mode, depths, along)
        is_bent = along is not None and found.information is not None
        return _together(found, self.density(problem, mode.at, along if is_bent else None))

    def bends_along(self, num_directions: int) -> bool:
        """See `Marginal`."""
        return self.inner.bends_along(num_directions)

    def added(self, problem: Problem, mode: Mode) -> float:
        """See `Marginal`."""
        at, penalty = mode.at, self.penalty
        covariances = tuple(one @ one.T for one in at.lambdas)
        own = penalty.space.own.to_report(at.own)
        density = penalty.value(_natural(problem, at.beta), covariances, own)
        return self.inner.added(problem, mode) + density

    def near(self, problem: Problem, at: At, u: Floats) -> Beyond:
        """See `Marginal`."""
        return _together(self.inner.near(problem, at, u), self.density(problem, at))

    def effects(
        self, problem: Problem, mode: Mode
    ) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
        """See `Marginal`: priors of parameters say nothing of effects beside these."""
        return self.inner.effects(problem, mode)

    def upright(self, problem: Problem, at: At, changes: tuple[Floats, ...]) -> Floats:
        """What priors add to an information that is to be positive, for the ascent.

        Args:
          problem: the arrays.
          at: the parameters.
          changes: (t, k, k) derivatives of each Lambda in its own coordinates.
        Returns:
          (p + f + t, p + f + t) of the fixed effects, own parameters and all factors, positive semidefinite.
        """
        p, f = len(at.beta), len(at.own)
        m = p + f + sum(map(len, changes))
        along, place = np.eye(m), p + f
        turned = []
        for change in changes:
            turned.append(np.zeros((m, *change.shape[1:])))
            turned[-1][place : place + len(change)] = change
            place += len(change)
        moves = Moves(_natural(problem, along[:p]), tuple(turned), along[p : p + f])
        beta = _natural(problem, at.beta)
        found = self.penalty.information(beta, at.lambdas, at.own, moves, is_rough=True)
        if not np.isfinite(found).all():
            return np.zeros_like(found)
        values, vectors = symmetric_eigen(found)
        return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)

    def density(self, problem: Problem, at: At, along: Directions | None = None) -> Beyond:
        """The log density of the priors alone, with its slopes, and its information along directions.

        Args:
          problem: the arrays.
          at: the parameters.
          along: the directions, or None.
        """
        penalty, beta = self.penalty, _natural(problem, at.beta)
        value, slopes = penalty.at(beta, at.lambdas, at.own)
        in_beta, information = slopes.in_beta, None
        if problem.triangle is not None and len(in_beta):
            in_beta = sl.solve_triangular(problem.triangle, in_beta, trans="T")
        if along is not None:
            moves = Moves(_natural(problem, along.beta), along.changes, along.own)
            information = penalty.information(
                beta, at.lambdas, at.own, moves, is_rough=along.is_rough
            )
        return Beyond(value, in_beta, slopes.in_factors, slopes.in_own, information)


def _together(one: Beyond, other: Beyond) -> Beyond:
    information = one.information
    if information is not None and other.information is not None:
        information = information + other.information
    return one._replace(
        value=one.value + other.value,
        in_beta=one.in_beta + other.in_beta,
        in_factors=tuple(a + b for a, b in zip(one.in_factors, other.in_factors, strict=True)),
        in_own=one.in_own + other.in_own,
        information=information,
    )


def penalised(inner: Marginal, model: Model) -> Marginal:
    """A way to integrate effects out, with the priors of a model where it has some."""
    if model.penalty is None:
        return inner
    found: Any = Penalised(inner, model.penalty)
    return cast(Marginal, found)


def unpenalised(marginal: Marginal) -> Marginal:
    """The way to integrate effects out itself."""
    return marginal.inner if isinstance(marginal, Penalised) else marginal


def _natural(problem: Problem, beta: Floats) -> Floats:
    """(p,) or (p, m) fixed effects from coefficients of the columns of the problem."""
    if problem.triangle is None or not len(beta):
        return beta
    return np.asarray(sl.solve_triangular(problem.triangle, beta))
