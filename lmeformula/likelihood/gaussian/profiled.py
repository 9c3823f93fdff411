"""The Gaussian likelihood in its covariance parameters alone, fixed effects at their best or one held."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg as sl

from lmeformula.algebra.factor import Factor
from lmeformula.algebra.lambdas import apply_lambda
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


class Held(NamedTuple):
    """A fixed effect that is held: its place in beta, and its value."""

    place: int
    value: float


class Concentrated(NamedTuple):
    """The likelihood at covariance parameters, the fixed effects at their optimum there.

    Attributes:
      value: log-likelihood, or the restricted one.
      gradient: its derivative in the covariance parameters: theta of each term, then log sigma.
      in_held: its derivative in the value of the held fixed effect; 0 where none is.
    """

    value: float
    gradient: Floats
    in_held: float


def concentrated(
    data: Sums,
    space: ParamSpace,
    covariance: Floats,
    *,
    reml: bool = False,
    held: Held | None = None,
) -> Concentrated:
    """Evaluate the likelihood and its derivatives, by the envelope theorem.

    Args:
      data: the cross products.
      space: layout of psi.
      covariance: (d - p,) the unconstrained parameters after the fixed effects; log sds must be finite.
      reml: of the restricted likelihood.
      held: a fixed effect that is not at its optimum; not with `reml`, which integrates all of them out.
    Returns:
      Value and derivatives.
    """
    p = space.num_fixed
    psi = np.concatenate([np.zeros(p), covariance])
    sigma = space.residual_sd(psi)
    variance = sigma**2
    found = solve_exactly(data, relative_factors(space, psi))
    in_held = 0.0
    if held is not None:
        found, pull = _hold(data, found, held)
        in_held = pull / variance
    slopes = found.slopes(variance, reml)
    gradient = space.pull_back(psi, slopes, sigma)[p:]
    # Of the relative factors, too: they are those of the covariances divided by sigma.
    along = sum(float(np.vdot(*each)) for each in zip(slopes, found.factor.lambdas, strict=True))
    gradient[space.own_slice.start - p :] = found.rss / variance - data.freedom(reml) - along
    return Concentrated(log_likelihood_of(data, found, variance, reml), gradient, in_held)


def _hold(data: Sums, found: Solution[Factor], held: Held) -> tuple[Solution[Factor], float]:
    """Move the coefficients of Q the shortest way, in the metric of their information, to the held value.

    Returns:
      The solution there, and minus half the derivative of its residual sum of squares in the held value.
    """
    unit = np.zeros(len(data.ols))
    unit[held.place] = 1.0
    row = sl.solve_triangular(data.R, unit, trans="T")
    direction = sl.solve(found.information, row, assume_a="pos")
    length = float(row @ direction)
    missing = held.value - float(data.ols[held.place] + row @ found.gamma)
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
        p = self.space.num_fixed
        fixed = Held(held, float(psi[held])) if held < p else None
        found = concentrated(self.data, self.space, psi[p:], reml=self.reml, held=fixed)
        slope = np.concatenate([np.zeros(p), found.gradient])
        if fixed is not None:
            slope[held] = found.in_held
        return found.value, slope
