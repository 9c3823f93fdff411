"""The Gaussian likelihood in its covariance parameters alone, fixed effects at their best or one held."""

from __future__ import annotations

import numpy as np
import scipy.linalg as sl

from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.algebra.meetings import Factored
from lmeformula.arrays import Floats, Mask
from lmeformula.likelihood.gaussian.likelihood import (
    log_likelihood_of,
    relative_factors,
    solve_exactly,
)
from lmeformula.likelihood.gaussian.solution import Solution
from lmeformula.likelihood.gaussian.sums import Sums, sums
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace


def concentrated(
    data: Sums, space: ParamSpace, psi: Floats, *, reml: bool = False, held: int | None = None
) -> tuple[float, Floats]:
    """Evaluate the likelihood and its derivatives, by the envelope theorem.

    Args:
      data: the cross products.
      space: layout of psi.
      psi: (d,) unconstrained parameters, of whose fixed effects only one that is held is read; log sds must be
        finite.
      reml: of the restricted likelihood.
      held: a fixed effect that is not at its optimum; not with `reml`, which integrates all of them out.
    Returns:
      value: log-likelihood, or the restricted one.
      gradient: (d,) its derivative in psi; 0 in fixed effects that are not held.
    """
    sigma = space.residual_sd(psi)
    variance = sigma**2
    found, pull = solve_exactly(data, relative_factors(space, psi)), 0.0
    if held is not None:
        found, pull = _hold(data, found, held, float(psi[held]))
    slopes = found.slopes(variance, reml)
    gradient = space.pull_back(psi, slopes, sigma)
    if held is not None:
        gradient[held] = pull / variance
    # Of the relative factors, too: they are those of the covariances divided by sigma.
    along = sum(float(np.vdot(*each)) for each in zip(slopes, found.factor.lambdas, strict=True))
    gradient[space.own_slice] = found.rss / variance - data.freedom(reml) - along
    return log_likelihood_of(data, found, variance, reml), gradient


def _hold(
    data: Sums, found: Solution[Factored], held: int, value: float
) -> tuple[Solution[Factored], float]:
    """Move the coefficients of Q the shortest way, in the metric of their information, to the held value.

    Returns:
      The solution there, and minus half the derivative of its residual sum of squares in the held value.
    """
    unit = np.zeros(len(data.ols))
    unit[held] = 1.0
    row = sl.solve_triangular(data.R, unit, trans="T")
    direction = sl.solve(found.information, row, assume_a="pos")
    length = float(row @ direction)
    missing = value - float(data.ols[held] + row @ found.gamma)
    move = direction * (missing / length)
    w = found.w - found.ZVQ @ move
    moved = found._replace(
        gamma=found.gamma + move,
        w=w,
        u=apply_lambda(data.plan, found.factor.lambdas, w, transpose=True),
        rss=found.rss + missing**2 / length,
        score=found.score - found.information @ move,
    )
    return moved, -missing / length


class ExactLikelihood:
    """Of a Gaussian model, or the restricted one, at the best fixed effects.

    Args:
      model: the model.
      sigma: residual standard deviation that others are judged by.
      reml: the restricted likelihood.
    """

    def __init__(self, model: Model, sigma: float, reml: bool) -> None:
        self.space, self.reml = model.space, reml
        self.data: Sums = sums(model.design)
        self.solved: Mask = np.arange(self.space.size) < self.space.num_fixed
        self.scales = self.data.column_scales()
        self.unit = sigma

    def at(self, psi: Floats, held: int) -> tuple[float, Floats]:
        """See `Likelihood`."""
        fixed = held if held < self.space.num_fixed else None
        return concentrated(self.data, self.space, psi, reml=self.reml, held=fixed)
