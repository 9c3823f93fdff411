"""How estimates and, with them, conditional modes move linear predictors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmeformula.algebra.crossproducts import Layout
from lmeformula.arrays import Floats
from lmeformula.design.design import TermBlock
from lmeformula.fit import FittedModel
from lmeformula.prediction.equations import Equations
from lmeformula.prediction.parameter_errors import parameter_covariance
from lmeformula.prediction.predictor import linear_predictor, stacked_predictor
from lmeformula.prediction.sampled_effects import EffectSample


@dataclass(frozen=True, slots=True, eq=False)
class Loadings:
    """How linear predictors follow the parameters, with the effects at their modes or without effects.

    Attributes:
      vcov: (d, d) covariance of the d = p + f parameters; see `parameter_covariance`.
      num_fixed: p.
      moves: (q, d) how the conditional modes follow the parameters; None where effects take no part.
      plan: where the effects of each term are among the q.
    """

    vcov: Floats
    num_fixed: int
    moves: Floats | None = None
    plan: Layout | None = None

    def of(
        self, X: Floats, terms: Sequence[TermBlock], column_predictors: Sequence[int], k: int
    ) -> Floats:
        """(n, d) derivative of predictor k in the parameters.

        Args:
          X: (n, p).
          terms: of these rows; levels that the fit has not seen do not move.
          column_predictors: which predictor each column of X is of.
          k: the predictor.
        """
        found = np.zeros((len(X), len(self.vcov)))
        found[:, : self.num_fixed] = X * np.equal(column_predictors, k)
        if self.moves is None or self.plan is None:
            return found
        for moved, block in zip(self.plan.split(self.moves), terms, strict=True):
            known = block.index >= 0
            each = moved[np.where(known, block.index, 0)]
            values = np.where(known[:, None], block.values, 0.0) * np.equal(block.predictors, k)
            found += np.einsum("na,nad->nd", values, each)
        return found


def loadings(fit: FittedModel, solved: Equations | None) -> Loadings:
    """The loadings of a fit's predictors.

    At the modes b of the effects Z'g = Psi^-1 b, with g the derivative of the rows' log density in their
    predictors: modes move by -H^-1 Z'WX with the fixed effects, and by H^-1 Z' dg with the own parameters.

    Args:
      fit: a fitted model.
      solved: its mixed-model equations, where effects take part at their modes, which move; else None.
    """
    vcov, p = parameter_covariance(fit), fit.model.space.num_fixed
    if solved is None:
        return Loadings(vcov, p)
    moves = -solved.crossed[:, :p]
    if len(vcov) > p:
        moves = np.column_stack([moves, solved.collected(_slopes_in_own(fit))])
    return Loadings(vcov, p, moves, solved.factor.plan)


def sampled_loadings(fit: FittedModel, sampled: EffectSample) -> Loadings:
    """The loadings of a fit's predictors, whose effects are at their means over draws and move with those.

    Args:
      fit: a fitted model.
      sampled: draws of its effects.
    """
    vcov, space = parameter_covariance(fit), fit.model.space
    moves = sampled.moves[:, : space.num_fixed]
    if len(vcov) > space.num_fixed:
        moves = np.column_stack([moves, sampled.moves[:, space.own_slice]])
    return Loadings(vcov, space.num_fixed, moves, sampled.plan)


def _slopes_in_own(fit: FittedModel) -> Floats:
    """(v n, f) derivatives in the unconstrained own parameters of the rows' first ones in their predictors."""
    from lmeformula.likelihood.laplace.rows import row_derivatives  # may start TensorFlow

    eta = stacked_predictor(fit, linear_predictor(fit, fit.model.design))
    free = fit.model.space.own.scale.to_free(fit.params.own)
    found = row_derivatives(fit.model).depths(eta, free).own_first.T
    return np.asarray(np.where(np.isfinite(free), found, 0.0))
