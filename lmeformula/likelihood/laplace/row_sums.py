"""What the Laplace approximation asks of rows: their log densities, and sums of what follows from them.

Who holds effects and parameters gives vectors of effects, and gets such vectors back. Arrays with a number for
each row are for whoever has the rows; others only hand them on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.arrays import Floats
from lmeformula.family import Depths
from lmeformula.likelihood.laplace.rows import RowDerivatives
from lmeformula.rows.mapped import row_blocks


class At(NamedTuple):
    """Where the approximation is looked at.

    Attributes:
      beta: (p,) fixed effects.
      lambdas: (k, k) factor of each term's covariance, with a diagonal other than zero.
      own: (f,) the family's own parameters, unconstrained.
    """

    beta: Floats
    lambdas: tuple[Floats, ...]
    own: Floats


class Look(NamedTuple):
    """Rows at some effects.

    Attributes:
      eta: (n,) linear predictor.
      first: (n,) first derivatives there.
      weights: (n,) negative second ones.
      value: the log density of all rows.
    """

    eta: Floats
    first: Floats
    weights: Floats
    value: float


class Seen(Protocol):
    """Rows at some effects, as a `Look` or a mode has them."""

    @property
    def eta(self) -> Floats:
        """(n,) linear predictor."""

    @property
    def first(self) -> Floats:
        """(n,) the rows' first derivatives there."""


class Weighted(Seen, Protocol):
    """Rows at some effects, with their weights."""

    @property
    def weights(self) -> Floats:
        """(n,) W."""


class Deeper(NamedTuple):
    """How -log |M| / 2 pulls at what moves the rows' predictors, or how that moves with effects.

    Attributes:
      pulls: (q,) Z' of its derivative in the predictors.
      in_beta: (p,) X' of that.
      in_own: (f,) its derivative in the family's own parameters.
    """

    pulls: Floats
    in_beta: Floats
    in_own: Floats


class RowSums(Protocol):
    """What is asked of rows, wherever they are."""

    def look(self, at: At, u: Floats) -> Look:
        """The rows at spherical effects (q,)."""

    def ahead(self, look: Look, at: At, step: Floats) -> Callable[[float, Floats], Look]:
        """Along a step (q,) of the effects: what share of it, and the effects there -> the rows there."""

    def pulls(self, there: Seen) -> Floats:
        """(q,) Z' of the first derivatives."""

    def weights(self, look: Look) -> Floats:
        """(n,) the negative second derivatives."""

    def held(self, weights: Floats) -> Floats:
        """Weights that are nowhere negative."""

    def in_beta(self, there: Seen) -> Floats:
        """(p,) X' of the first derivatives."""

    def depths(self, there: Seen, own: Floats) -> Depths:
        """The further derivatives."""

    def through(self, there: Weighted, effects: Floats) -> Floats:
        """Z'WZ effects (q,) or (q, m)."""

    def complete(self, there: Weighted, depths: Depths) -> tuple[Floats, Floats]:
        """Negative second derivatives of the log joint density.

        Returns:
          crossed: (q, p + f) in Z's effects and in the fixed effects and own parameters.
          square: (p + f, p + f) in the latter.
        """

    def deeper(self, there: Weighted, depths: Depths, leverages: Floats) -> Deeper:
        """How the determinant pulls with the mode held.

        Args:
          there, depths: the rows.
          leverages: (v n,) diagonal of Z Lambda M^-1 Lambda' Z': twice how it changes with each row's weight.
        """

    def along(self, there: Weighted, depths: Depths, effects: Floats) -> Deeper:
        """How much less the slopes of the log joint density are where effects (q,) move so much."""

    def bent(
        self, there: Weighted, depths: Depths, own: Floats, effects: Floats
    ) -> tuple[Floats, Floats]:
        """(m, m) products of how predictors move: weighted ones, and by own parameters (f, m) that move.

        Args:
          there, depths: the rows.
          own: how own parameters move.
          effects: (q, m) by which effects move; the first p directions move a fixed effect each as well.
        """


class RowsHere(NamedTuple):
    """Rows in memory; see `RowSums`.

    Attributes:
      plan: layout of the random effects.
      X: (n, p) fixed-effects model matrix.
      offset: (n,).
      rows: derivatives of the rows' log density.
    """

    plan: Layout
    X: Floats
    offset: Floats
    rows: RowDerivatives

    def look(self, at: At, u: Floats) -> Look:
        """See `RowSums`."""
        return self.look_at(at.beta, apply_lambda(self.plan, at.lambdas, u), at.own)

    def look_at(self, beta: Floats, effects: Floats, own: Floats) -> Look:
        """The rows at effects (q,) of the predictors' scale."""
        eta = self.X @ beta
        eta += self.offset
        eta += self.plan.spread(effects)
        return self._look(eta, own)

    def ahead(self, look: Look, at: At, step: Floats) -> Callable[[float, Floats], Look]:
        """See `RowSums`."""
        move = self.plan.spread(apply_lambda(self.plan, at.lambdas, step))
        return lambda share, u: self._look(look.eta + share * move, at.own)

    def _look(self, eta: Floats, own: Floats) -> Look:
        rows = self.rows.slopes(eta, own)
        return Look(eta, rows.first, np.negative(rows.second), rows.value)

    def pulls(self, there: Seen) -> Floats:
        """See `RowSums`."""
        return self.plan.gather(there.first)

    def weights(self, look: Look) -> Floats:
        """See `RowSums`."""
        return look.weights

    def held(self, weights: Floats) -> Floats:
        """See `RowSums`."""
        return self.rows.held(weights)

    def in_beta(self, there: Seen) -> Floats:
        """See `RowSums`."""
        return self.X.T @ there.first

    def depths(self, there: Seen, own: Floats) -> Depths:
        """See `RowSums`."""
        return self.rows.depths(there.eta, own)

    def through(self, there: Weighted, effects: Floats) -> Floats:
        """See `RowSums`."""
        weights = there.weights if effects.ndim == 1 else there.weights[:, None]
        return self.plan.gather(weights * self.plan.spread(effects))

    def complete(self, there: Weighted, depths: Depths) -> tuple[Floats, Floats]:
        """See `RowSums`."""
        columns, square = complete_block(self.X, there.weights, depths)
        return self.plan.gather(columns), square

    def deeper(self, there: Weighted, depths: Depths, leverages: Floats) -> Deeper:
        """See `RowSums`."""
        slope = deepened(depths.third, leverages)
        slope *= 0.5
        return Deeper(
            self.plan.gather(slope), self.X.T @ slope, 0.5 * (depths.own_second @ leverages)
        )

    def along(self, there: Weighted, depths: Depths, effects: Floats) -> Deeper:
        """See `RowSums`."""
        predictors = self.plan.spread(effects)
        in_own = -(depths.own_first @ predictors)
        predictors *= there.weights
        return Deeper(self.plan.gather(predictors), self.X.T @ predictors, in_own)

    def directed(self, effects: Floats, rows: slice = slice(None)) -> Floats:
        """(v n, m) how predictors move with effects (q, m); see `RowSums.bent`."""
        predictors = self.plan.spread(effects, rows)
        predictors[:, : self.X.shape[1]] += self.X[rows]
        return predictors

    def bent(
        self, there: Weighted, depths: Depths, own: Floats, effects: Floats
    ) -> tuple[Floats, Floats]:
        """See `RowSums`; a block of rows at a time."""
        squares, by_own = np.zeros((2, *[effects.shape[1]] * 2))
        for rows in row_blocks(len(self.X)):
            products = bent_products(
                there.weights[rows], depths.own_first[:, rows], own, self.directed(effects, rows)
            )
            squares += products[0]
            by_own += products[1]
        return squares, by_own


def bent_products(
    weights: Floats, own_first: Floats, own: Floats, predictors: Floats
) -> tuple[Floats, Floats]:
    """(m, m) products of moves (v n, m) of the predictors; see `RowSums.bent`."""
    squares = predictors.T @ (weights[:, None] * predictors)
    return squares, own.T @ own_first @ predictors


def complete_block(X: Floats, weights: Floats, depths: Depths) -> tuple[Floats, Floats]:
    """Negative second derivatives of the log joint density at a mode.

    Args:
      X: (n, p).
      weights: (n,) W there.
      depths: the rows' further derivatives there.
    Returns:
      columns: (n, p + f) in each row's predictor and in the fixed effects and own parameters.
      square: (p + f, p + f) in the fixed effects and own parameters.
    """
    weighted = X * weights[:, None]
    p, f = weighted.shape[1], len(depths.own_each)
    square = np.empty((p + f, p + f))
    square[:p, :p] = X.T @ weighted
    square[p:, :p] = -depths.own_first @ X
    square[:p, p:] = square[p:, :p].T
    square[p:, p:] = -depths.own_own
    columns = np.column_stack([weighted, -depths.own_first.T]) if f else weighted
    return columns, square


def deepened(third: Floats, values: Floats) -> Floats:
    """What values (v n,) or (v n, m) of the rows give with their third derivatives, as a derivative in eta.

    Args:
      third: (v, K, n) derivatives of the stacked second derivatives in the predictors.
      values: each is of a stacked row; those of pairs of predictors read nothing.
    """
    size, k, n = third.shape
    if size == 1 and values.ndim == 1:
        return np.asarray(third.reshape(n) * values)
    found = np.zeros_like(values)
    parts = values.reshape(size, n, -1)
    found[: k * n] = np.einsum("vkn,vnm->knm", third, parts).reshape(k * n, *values.shape[1:])
    return found


def spread_out(third: Floats, moves: Floats) -> Floats:
    """How second derivatives (v n, m) move with the predictors (v n, m): the adjoint of `deepened`."""
    size, k, n = third.shape
    parts = moves[: k * n].reshape(k, n, -1)
    return np.asarray(np.einsum("vkn,knm->vnm", third, parts).reshape(size * n, -1))
