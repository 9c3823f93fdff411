"""Standard errors by the iterative solver are the direct one's, of the likelihood that was maximised."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf

FORMULAS = (
    "y ~ x + a + (x | g)",
    "y ~ x + a + (1 | g) + (1 | h)",
    "y ~ x + a + diag(x | g) + (1 | h)",
)


def rows():
    """Few groups beside eight coefficients of a factor: the two likelihoods' errors are 2 to 40 % apart."""
    rng = np.random.default_rng(2)
    g, h, x = rng.integers(0, 16, 240), rng.integers(0, 10, 240), rng.normal(size=240)
    b = rng.normal(size=(16, 2)) * [1.0, 0.7]
    y = x + b[g, 0] + b[g, 1] * x + 0.8 * rng.normal(size=10)[h] + rng.normal(size=240)
    labels = {"a": g % 8, "g": g, "h": h}
    return {"y": y, "x": x} | {k: [f"{k}{i}" for i in v] for k, v in labels.items()}


@pytest.mark.parametrize("formula", FORMULAS)
def test_errors_of_the_restricted_likelihood(formula):
    direct = lf.fit(formula, rows(), reml=True, solver="direct")
    found = lf.fit(formula, rows(), reml=True, solver="iterative")
    assert direct.converged
    assert found.converged
    # Differences over 1e-3 of a logarithm, at estimates that are off by their Monte Carlo error.
    room = 2e-3 + 3.0 * found.param_mc_error / direct.param_stderr
    assert (np.abs(found.param_stderr / direct.param_stderr - 1.0) < room).all()
    inner = slice(found.model.space.num_fixed, None)
    covariance = np.array([fit.param_vcov[inner, inner] for fit in (direct, found)])
    size = np.outer(*2 * (direct.param_stderr[inner],))
    assert np.abs((covariance[1] - covariance[0]) / size).max() < 1e-2
