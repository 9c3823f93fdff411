"""Groups whose responses are nearly all alike, where Laplace is far off: the maximum, or an honest error."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.estimation.exact_start import exact_start
from lmeformula.likelihood.laplace.modes import arrays_of


def alike(seed: int) -> dict[str, np.ndarray]:
    """60 groups of 10 binary rows, all alike but for four."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(60), 10)
    y = (rng.random(60) < 0.5).astype(int)[g]
    y[[5, 105, 305, 505]] ^= 1
    return {"y": y, "g": g}


def model_of(data: dict[str, np.ndarray]) -> lf.Model:
    return lf.compile(lf.design("y ~ 1 + (1 | g)", data), "bernoulli")


def loglik(data: dict[str, np.ndarray], intercept: float, sd: float) -> float:
    """By the trapezoidal rule on a fine grid; rows of a group differ in their response alone."""
    z = np.linspace(-9.0, 9.0, 4001)
    eta, ones = intercept + sd * z, np.bincount(data["g"], data["y"])[:, None]
    inside = -ones * np.logaddexp(0, -eta) - (10 - ones) * np.logaddexp(0, eta) - 0.5 * z**2
    step = np.log(z[1] - z[0]) - 0.5 * np.log(2 * np.pi)
    return float((logsumexp(inside, axis=1) + step).sum())


@pytest.mark.parametrize("seed", [0, 1])
def test_the_exact_maximum_is_found_from_afar(seed):
    data = alike(seed)
    model = model_of(data)
    arrays = arrays_of(model, layout(model.stack.terms))
    found = exact_start(model, arrays, np.array([-11.7, 3.57]), np.eye(2), np.zeros(60))
    assert found is not None
    at = loglik(data, found.psi[0], np.exp(found.psi[1]))
    for intercept, sd in ((0.5, 1.0), (-0.5, 1.0), (0.0, 1.05), (0.0, 0.95)):
        assert loglik(data, found.psi[0] + intercept, np.exp(found.psi[1]) * sd) < at
    best = max(loglik(data, 0.0, sd) for sd in np.geomspace(3.0, 60.0, 30))
    assert at > best - 1e-9
    assert (np.linalg.eigvalsh(found.information) > 0).all()


def test_a_maximum_between_no_effects_and_endless_ones_is_found():
    """Four ones of 80 rows: likelihoods of no effects, and of ever larger ones, are level and lower."""
    g, x = np.arange(80) % 40, np.linspace(-1.5, 1.5, 80)
    y = np.zeros(80)
    y[[3, 43, 11, 20]] = 1.0
    model = lf.compile(lf.design("y ~ 1 + x + (1 | g)", {"y": y, "x": x, "g": g}), "bernoulli")
    arrays = arrays_of(model, layout(model.stack.terms))
    found = exact_start(model, arrays, np.array([-166.0, -61.0, 6.0]), np.eye(3), np.zeros(40))
    assert found is not None

    def value(psi: np.ndarray) -> float:
        z = np.linspace(-9.0, 9.0, 1001)
        eta = (psi[0] + psi[1] * x)[:, None] + np.exp(psi[2]) * z
        rows = -np.logaddexp(0.0, np.where(y[:, None] > 0, -eta, eta))
        weights = -0.5 * z**2 - 0.5 * np.log(2 * np.pi) + np.log(z[1] - z[0])
        return float(sum(logsumexp(rows[g == k].sum(axis=0) + weights) for k in range(40)))

    at = value(found.psi)
    for sd in (0.01, 2.0, 20.0):
        beside = minimize(
            lambda beta, sd=sd: -value(np.append(beta, np.log(sd))),
            [-3.0 - 1.8 * sd, 0.0],
            method="Nelder-Mead",
            options={"maxiter": 40},
        )
        assert at > -beside.fun - 1e-9


def test_monte_carlo_stays_there_within_its_error():
    """Draws are too few to be done, and too few are not followed."""
    data = alike(0)
    fit = lf.estimate(model_of(data), method="mcem", seed=1, max_draws=400, progress=False)
    assert not fit.converged
    intercept, sd = fit.param_values
    assert fit.loglik.value == pytest.approx(loglik(data, intercept, sd), abs=1e-6)
    best = max(loglik(data, 0.0, sd) for sd in np.geomspace(3.0, 60.0, 30))
    assert fit.loglik.value > best - 0.5 - 4.0 * fit.loglik.mc_error
    assert sd > 10.0
    assert np.isfinite(fit.param_stderr).all()
