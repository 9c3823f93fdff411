"""The profiled deviance at relative covariance factors."""

from __future__ import annotations

import numpy as np

from lmeformula.likelihood.gaussian.likelihood import (
    log_likelihood_of,
    solve_quickly,
    variance_of,
)
from lmeformula.likelihood.gaussian.solution import Solution
from lmeformula.likelihood.gaussian.sums import Sums


def deviance(
    data: Sums, lambdas: tuple[np.ndarray, ...], sigma: float | None, reml: bool
) -> tuple[float, tuple[np.ndarray, ...], Solution]:
    """Its value, its (k, k) derivatives in the elements of each Lambda, and the solution."""
    found = solve_quickly(data, lambdas)
    variance = variance_of(data, found, sigma, reml)
    slopes = tuple(-2.0 * slope for slope in found.slopes(variance, reml))
    return -2.0 * log_likelihood_of(data, found, variance, reml), slopes, found
