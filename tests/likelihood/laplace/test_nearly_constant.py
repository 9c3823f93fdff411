"""Groups that are nearly all alike: large sds, on a ridge where the ascent must not go to and fro.

Reference: R 4.2, glmmTMB 1.1.5, glmmTMB(y ~ 1 + (1 | g), family = binomial(link)) with rel.tol = 1e-14, and
family = poisson; each the Laplace approximation.
"""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf

SIZES = (*[13] * 25, 11)
# Rows that are one, of each group.
ONES = {
    "one group mixed": "13 13 0 13 0 13 0 13 13 0 0 0 13 1 0 0 13 13 0 13 0 0 13 0 0 0",
    "two groups mixed": "0 13 0 13 0 0 0 0 0 0 0 13 13 0 13 13 2 0 0 0 13 0 0 0 13 3",
    "four groups mixed": "0 13 2 0 0 0 0 13 1 13 13 0 13 13 7 0 1 0 0 0 0 0 13 13 0 0",
}
# Log-likelihood, intercept, sd.
GLMMTMB = (
    ("one group mixed", "bernoulli", -25.697413, -12.984846, 45.400087),
    ("one group mixed", "bernoulli(probit)", -26.851282, -4.973852, 16.499031),
    ("two groups mixed", "bernoulli", -33.653334, -12.413958, 31.576177),
    ("two groups mixed", "bernoulli(probit)", -33.783540, -4.890374, 12.433688),
    ("four groups mixed", "bernoulli", -49.899089, -10.889030, 21.455359),
    ("four groups mixed", "bernoulli(probit)", -49.663658, -4.620974, 9.314023),
)


def rows(case: str) -> dict[str, np.ndarray]:
    ones = [int(count) for count in ONES[case].split()]
    y = [np.arange(size) < count for size, count in zip(SIZES, ones, strict=True)]
    return {"y": np.concatenate(y).astype(int), "g": np.repeat(np.arange(26), SIZES)}


def check(fit: lf.Fit, loglik: float, intercept: float, sd: float, allowed: float) -> None:
    assert fit.outcome is lf.Outcome.CONVERGED
    # Their optimiser stops a little below; never is ours lower.
    assert loglik - 1e-6 <= fit.loglik.value <= loglik + 1e-3
    assert fit.param_values == pytest.approx([intercept, sd], rel=allowed)


@pytest.mark.parametrize(("case", "family", "loglik", "intercept", "sd"), GLMMTMB)
def test_the_maximum_is_found(case, family, loglik, intercept, sd):
    fit = lf.fit("y ~ 1 + (1 | g)", rows(case), family, method="laplace")
    check(fit, loglik, intercept, sd, 2e-3)
    assert fit.diagnostics.distance < 1e-3


def test_by_the_iterative_solver_too():
    case, family, loglik, intercept, sd = GLMMTMB[0]
    fit = lf.fit("y ~ 1 + (1 | g)", rows(case), family, method="laplace", solver="iterative")
    check(fit, loglik, intercept, sd, 2e-3)


def test_successes_out_of_trials_are_the_same_model():
    case, _, _, intercept, sd = GLMMTMB[0]
    ones = [int(count) for count in ONES[case].split()]
    data = {"y": ones, "n": SIZES, "g": np.arange(26)}
    fit = lf.fit("y | trials(n) ~ 1 + (1 | g)", data, "binomial", method="laplace")
    assert fit.outcome is lf.Outcome.CONVERGED
    assert fit.param_values == pytest.approx([intercept, sd], rel=2e-3)


def test_counts_that_are_mostly_zero():
    totals = [300, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 41, *[0] * 6, 1, *[0] * 6]
    y = np.zeros(26 * 13, int)
    y[::13] = totals
    data = {"y": y, "g": np.repeat(np.arange(26), 13)}
    fit = lf.fit("y ~ 1 + (1 | g)", data, "poisson", method="laplace")
    check(fit, -914.023276, -9.216528, 7.781469, 2e-4)
