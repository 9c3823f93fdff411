"""The effects of a fit given the data, at the estimates: what is asked of them, and who can answer."""

from __future__ import annotations

from typing import Protocol

from lmeformula.algebra.crossproducts import Layout
from lmeformula.arrays import Floats
from lmeformula.design.design import Design, NewRows
from lmeformula.errors import ModelError
from lmeformula.estimation.solver import can_be_factored
from lmeformula.fit import FittedModel
from lmeformula.prediction.normal_posterior import NormalPosterior, factored
from lmeformula.prediction.posterior_draws import PosteriorDraws, drawn_apart
from lmeformula.prediction.sampled_posterior import SampledPosterior

# Draws of effects that are not normal.
NUM_DRAWS = 4000


class Posterior(Protocol):
    """The effects given the data: normal about their modes, or as draws have it.

    A predictor's error by its effects is normal, with the covariances `spread`, about each of the `shifts`.
    """

    @property
    def num_draws(self) -> int:
        """How many draws stand for the effects; 0 where they are normal."""

    @property
    def effective(self) -> float:
        """The fewest independent draws that an effect's mean is as good as; infinite where there are none."""

    @property
    def plan(self) -> Layout:
        """Where the effects of each term are among the q."""

    @property
    def moves(self) -> Floats:
        """(q, d) how the effects' means follow the parameters of `parameter_covariance`."""

    def tells_of(self, rows: Design | NewRows) -> bool:
        """Whether it says anything of rows: the data say nothing of levels that are unseen."""

    def spread(self, rows: Design | NewRows) -> Floats:
        """(n, K, K) covariances of rows' predictors, the parameters known."""

    def shifts(self, rows: Design | NewRows) -> Floats:
        """(m, n) how far the one predictor of rows is from that at the effects of the fit; of known levels."""

    def draws(self, num_draws: int, seed: int) -> PosteriorDraws:
        """Draw all effects."""


def posterior_of(fit: FittedModel, num_draws: int = NUM_DRAWS, seed: int = 0) -> Posterior:
    """The effects given the data at the estimates.

    Args:
      fit: a fitted model.
      num_draws: of effects that are not normal; they are drawn when they are needed.
      seed: of these.
    Raises:
      ModelError: if its equations are too large to be factored here, or have no minimum.
    """
    check_direct(fit, "intervals of predictions")
    return _posterior(fit, num_draws, seed)


def _posterior(fit: FittedModel, num_draws: int, seed: int) -> Posterior:
    if fit.params.has_normal_effects:
        return factored(fit)
    return SampledPosterior(fit, num_draws, seed)


def normal_posterior_of(fit: FittedModel) -> NormalPosterior:
    """The same for what takes effects for normal.

    Raises:
      ModelError: as `posterior_of`, and where effects have a t distribution.
    """
    check_direct(fit, "intervals of predictions")
    refuse_student(fit, "mixed-model equations, as for errors of rows left out,")
    return factored(fit)


def has_normal_posterior(fit: FittedModel) -> bool:
    """Whether `normal_posterior_of` has an answer for this model."""
    return can_be_factored(fit.model) and fit.params.has_normal_effects


def refuse_student(fit: FittedModel, what: str) -> None:
    """Refuse a statistic of a fit whose effects have a t distribution.

    Args:
      fit: a fitted model.
      what: of several things, such as "intervals of predictions".
    Raises:
      ModelError: where some of its terms are gr(..., dist = "student") and have not ended as Gaussian ones.
    """
    if not fit.params.has_normal_effects:
        raise ModelError(
            f"{what} take random effects for Gaussian, and this fit has some by Student's t distribution",
            hint="Its estimates, predictions with their intervals, simulations and Wald intervals do not; or "
            "fit the model without dist to compare.",
        )


def check_direct(fit: FittedModel, what: str) -> None:
    """Refuse models whose equations are too large to be factored.

    Raises:
      ModelError: that says so.
    """
    if not can_be_factored(fit.model):
        raise ModelError(
            f"{what} need a factorization that is too large for this model",
            hint='Use what does without: ddf="none", predictions without intervals.',
        )


def posterior_draws(
    fit: FittedModel, num_draws: int, seed: int, *, jointly: bool | None = None
) -> PosteriorDraws:
    """Draw all random effects given the data and the estimates.

    The distribution is normal around the posterior means of the fit. Its precision is that of the rows at
    those means and of the effects' own covariance, as in the Laplace approximation; for Gaussian fits
    this is exact. Effects of different levels and terms are correlated, as they are in crossed designs. Where
    effects have a t distribution they are draws of their own distribution.

    Args:
      fit: a fitted model.
      num_draws: m.
      seed: of the random numbers.
      jointly: False draws each level from its own conditional covariance, for which the rows are not needed;
        by default this is done where the equations were too large to be factored.
    Raises:
      ModelError: if the draws are joint, and the fit was loaded without its rows.
    References:
      Bates, Maechler, Bolker, Walker (2015), J. Stat. Softw. 67(1), section 5, for the equations.
    """
    if fit.is_factored if jointly is None else jointly:
        return _posterior(fit, num_draws, seed).draws(num_draws, seed)
    return drawn_apart(fit, num_draws, seed)
