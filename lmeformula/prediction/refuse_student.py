"""What is said where effects have heavy tails, and a statistic takes them for Gaussian."""

from __future__ import annotations

import math

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel


def refuse_heavy(fit: FittedModel, what: str) -> None:
    """Refuse a statistic of a fit whose effects have a t distribution.

    Args:
      fit: a fitted model.
      what: of several things, such as "intervals of predictions".
    Raises:
      ModelError: where some of its terms are gr(..., dist = "student") and have not ended as Gaussian ones.
    """
    if has_tails(fit):
        raise ModelError(
            f"{what} take random effects for Gaussian, and this fit has some by Student's t distribution",
            hint="Its estimates, predictions with their intervals, simulations and Wald intervals do not; or "
            "fit the model without dist to compare.",
        )


def has_tails(fit: FittedModel) -> bool:
    """Whether some effects of a fit have a t distribution with finitely many degrees of freedom."""
    return any(math.isfinite(df) for df in fit.params.freedom)


def effect_covariances(fit: FittedModel) -> tuple[Floats, ...]:
    """(k, k) covariances of each term's effects: of t effects their scale matrix times df / (df - 2).

    Infinite where the degrees of freedom are two or fewer.
    """
    return tuple(
        covariance * _inflation(df)
        for covariance, df in zip(fit.params.covariances, fit.params.freedom_of, strict=True)
    )


def _inflation(df: float) -> float:
    if math.isinf(df):
        return 1.0
    return df / (df - 2.0) if df > 2.0 else math.inf


def drawn_effects(
    random: np.random.Generator, covariance: Floats, df: float, num_levels: int
) -> Floats:
    """(l, k) effects drawn from their distribution, of this covariance (k, k): of t effects the scale."""
    noise = random.standard_normal((num_levels, len(covariance)))
    if math.isfinite(df):
        noise *= np.sqrt(df / random.chisquare(df, size=(num_levels, 1)))
    return np.asarray(noise @ cholesky_semidefinite(covariance).T)
