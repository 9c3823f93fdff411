"""How estimates and, with them, conditional modes move linear predictors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmeformula.algebra.crossproducts import Layout
from lmeformula.arrays import Floats
from lmeformula.design.design import Design, NewRows
from lmeformula.fit import FittedModel
from lmeformula.prediction.parameter_errors import parameter_covariance
from lmeformula.prediction.posterior import Posterior
from lmeformula.prediction.predictor import stacked_estimates
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

    def of(self, rows: Design | NewRows) -> Floats:
        """(K, n, d) derivatives of the linear predictors of rows; levels that are unseen do not move."""
        each = np.arange(rows.num_predictors)
        found = np.zeros((len(each), len(rows.X), len(self.vcov)))
        reads = np.equal.outer(each, rows.column_predictors)
        found[:, :, : self.num_fixed] = rows.X * reads[:, None]
        if self.moves is None or self.plan is None:
            return found
        for moved, block in zip(self.plan.split(self.moves), rows.terms, strict=True):
            known = block.index >= 0
            of_rows = moved[np.where(known, block.index, 0)]
            reads = np.equal.outer(each, block.predictors)
            for place, values in enumerate(
                np.where(known[:, None], block.values, 0.0) * reads[:, None]
            ):
                found[place] += np.einsum("na,nad->nd", values, of_rows)
        return found


def loadings(fit: FittedModel, posterior: Posterior | None) -> Loadings:
    """The loadings of a fit's predictors.

    At the modes b of the effects Z'g = Psi^-1 b, with g the derivative of the rows' log density in their
    predictors: modes move by -H^-1 Z'WX with the fixed effects, and by H^-1 Z' dg with the own parameters.

    Args:
      fit: a fitted model.
      posterior: of its effects, where these take part at their modes, which move; else None.
    """
    vcov, p = parameter_covariance(fit), fit.model.space.num_fixed
    if posterior is None:
        return Loadings(vcov, p)
    moves = -posterior.crossed[:, :p]
    if len(vcov) > p:
        moves = np.column_stack([moves, posterior.collected(_slopes_in_own(fit))])
    return Loadings(vcov, p, moves, posterior.plan)


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

    eta, free = stacked_estimates(fit)
    found = row_derivatives(fit.model).depths(eta, free).own_first.T
    return np.asarray(np.where(np.isfinite(free), found, 0.0))
