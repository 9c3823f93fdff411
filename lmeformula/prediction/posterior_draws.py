"""Draws of all random effects given the data and the estimates, by the normal approximation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.fit import FittedModel
from lmeformula.prediction.posterior import factored, row_precisions
from lmeformula.prediction.refuse_student import has_tails
from lmeformula.prediction.sampled_effects import effect_sample

JOINT = "normal, jointly for all effects"
SAMPLED = "from the sampler of Monte Carlo EM, jointly for all effects"
APART = "normal, each level independently of the others"


class PosteriorDraws(NamedTuple):
    """Independent draws of all random effects.

    Attributes:
      effects: (m, l, k) for each term.
      how: `JOINT`, `SAMPLED` or `APART`.
    """

    effects: tuple[Floats, ...]
    how: str


def posterior_draws(
    fit: FittedModel, num_draws: int, seed: int, *, jointly: bool | None = None
) -> PosteriorDraws:
    """Draw all random effects given the data and the estimates.

    The distribution is normal around the posterior means of the fit. Its precision is that of the rows at
    those means and of the effects' own covariance, as in the Laplace approximation; for Gaussian fits
    this is exact. Effects of different levels and terms are correlated, as they are in crossed designs. Where
    effects have a t distribution they are draws of their own distribution: every fourth one of the sampler of
    Monte Carlo EM, and so nearly independent.

    Args:
      fit: a fitted model.
      num_draws: m.
      seed: of the random numbers.
      jointly: False draws each level from its own conditional covariance, for which the rows are not needed;
        by default this is done where the equations were too large to be factored.
    Returns:
      The draws.
    Raises:
      ModelError: if the draws are joint, and the fit was loaded without its rows.
    References:
      Bates, Maechler, Bolker, Walker (2015), J. Stat. Softw. 67(1), section 5, for the equations.
    """
    random = np.random.default_rng(seed)
    if fit.is_factored if jointly is None else jointly:
        if has_tails(fit):
            return PosteriorDraws(effect_sample(fit, num_draws, seed).effects, SAMPLED)
        about = factored(fit, row_precisions(fit)).draws(num_draws, random)
        effects = tuple(mean + each for mean, each in zip(fit.modes, about, strict=True))
        return PosteriorDraws(effects, JOINT)
    found = []
    for modes, covariances in zip(fit.modes, fit.mode_cov, strict=True):
        roots = np.array([cholesky_semidefinite(covariance) for covariance in covariances])
        noise = random.standard_normal((num_draws, *modes.shape))
        found.append(modes + np.einsum("lab,mlb->mla", roots, noise))
    return PosteriorDraws(tuple(found), APART)
