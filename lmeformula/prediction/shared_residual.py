"""A fit without a residual as one that has some: what divides by what residuals leave keeps its digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.fit import FittedModel
from lmeformula.likelihood.gaussian.likelihood import solve_exactly_quickly
from lmeformula.likelihood.gaussian.orthogonal import orthogonal
from lmeformula.likelihood.gaussian.posterior import conditional
from lmeformula.likelihood.gaussian.sums import sums
from lmeformula.model.no_residual import own_term

# Of the least variance that effects have in any direction.
SHARE = 0.5


def with_a_residual(fit: FittedModel) -> tuple[FittedModel, float]:
    """The fit with a share of the variances of the term that has an effect for each row as a residual.

    Responses have the same distribution. A row's predictor lacks that share of its variance.

    Args:
      fit: a Gaussian fit.
    Returns:
      fit: with a residual; itself where it had one.
      variance: the share; zero where it had one.
    """
    model, params = fit.model, fit.params
    if not model.space.has_no_residual:
        return fit, 0.0
    term, covariances = own_term(model.design), list(params.covariances)
    variance = SHARE * float(np.linalg.eigvalsh(covariances[term])[0])
    covariances[term] = covariances[term] - variance * np.eye(len(covariances[term]))
    sd, data = float(np.sqrt(variance)), sums(model.design)
    inner = orthogonal(data)
    lambdas = tuple(cholesky_semidefinite(covariance) / sd for covariance in covariances)
    solution = solve_exactly_quickly(inner.data, inner.factors(lambdas))
    modes, mode_cov = inner.effects(*conditional(solution, sd))
    space = replace(model.space.holding(sd), has_no_residual=False)
    found = replace(
        fit,
        model=replace(model, space=space),
        params=params._replace(covariances=tuple(covariances), own=np.array([sd])),
        modes=modes,
        mode_cov=mode_cov,
    )
    return found, variance
