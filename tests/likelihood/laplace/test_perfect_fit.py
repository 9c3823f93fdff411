"""Responses that a model meets exactly: said, in every family, before an ascent loses its digits."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

import lmeformula as lf
from lmeformula.likelihood.laplace.perfect_fit import met_by_design

# Family: responses that predictors give exactly, the parameter that runs off, and where to.
MET = {
    "gamma": (np.exp, "shape", np.inf),
    "inverse_gaussian": (np.exp, "shape", np.inf),
    "lognormal": (np.exp, "sigma", 0.0),
    "tweedie": (np.exp, "dispersion", 0.0),
    "beta": (scipy.special.expit, "precision", np.inf),
    "student": (lambda eta: eta, "scale", 0.0),
}
# The others compile automatic derivatives for some seconds.
QUICK = ("gamma", "inverse_gaussian", "lognormal", "tweedie")
FAMILIES = [pytest.param(k, marks=[] if k in QUICK else pytest.mark.slow) for k in MET]


def rows(spread: float, seed: int = 6) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Columns, linear predictors, and the effects in them."""
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(10), 6), rng.normal(size=60)
    b = spread * rng.normal(size=10)
    return {"x": x, "g": g}, 0.5 + 0.3 * x + b[g], b


@pytest.mark.parametrize("solver", ["direct", "iterative"])
@pytest.mark.parametrize("origin", [0.0, 7.0, -7.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_by_fixed_effects(family, origin, solver):
    mean, name, limit = MET[family]
    data, eta, _ = rows(0.0)
    origin = min(origin, 0.0) if family == "beta" else origin
    fit = lf.fit(
        "y ~ x + (1 | g)", data | {"y": mean(origin + eta)}, family, method="laplace", solver=solver
    )
    assert fit.outcome is lf.Outcome.PERFECT_FIT
    assert np.isnan(fit.param_stderr).all()
    (claim,) = fit.certificate.failing
    assert claim.names == (name,)
    assert fit.family_params[name] == limit
    np.testing.assert_allclose(fit.fixef, [0.5 + origin, 0.3], rtol=1e-6)
    assert str(fit.summary())


@pytest.mark.parametrize("solver", ["direct", "iterative"])
@pytest.mark.parametrize("family", FAMILIES)
def test_by_effects_of_groups(family, solver):
    """What is left to estimate is their mean and their variance, of ten effects that are known."""
    mean, name, _ = MET[family]
    data, eta, b = rows(0.4)
    fit = lf.fit(
        "y ~ x + (1 | g)", data | {"y": mean(eta)}, family, method="laplace", solver=solver
    )
    assert fit.outcome is lf.Outcome.PERFECT_FIT
    assert fit.certificate.failing[0].names == (name,)
    if solver == "direct":
        np.testing.assert_allclose(fit.fixef, [0.5 + b.mean(), 0.3], rtol=1e-4)
        np.testing.assert_allclose(fit.param_values[2], b.std(), rtol=1e-4)


@pytest.mark.parametrize("family", QUICK)
def test_not_what_is_nearly_met(family):
    mean = MET[family][0]
    data, eta, _ = rows(0.4)
    noise = np.random.default_rng(1).normal(0.0, 1e-3, 60)
    fit = lf.fit("y ~ x + (1 | g)", data | {"y": mean(eta + noise)}, family, method="laplace")
    assert fit.outcome in (lf.Outcome.CONVERGED, lf.Outcome.BOUNDARY)
    assert np.isfinite(fit.stderr).all()


def test_not_what_effects_alone_account_for():
    """As many effects as rows give whatever the responses are, and cost their densities."""
    data, eta, _ = rows(0.4)
    noise = np.random.default_rng(1).gamma(3.0, 1 / 3.0, 60)
    columns = data | {"y": np.exp(eta) * noise, "row": np.arange(60)}
    design = lf.design("y ~ x + (1 | g) + (1 | row)", columns)
    assert met_by_design(lf.compile(design, "gamma")) is None


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_of_many_rows(noise):
    """By steps of least squares, whose first ones tell rows that are not met."""
    rng = np.random.default_rng(2)
    g, h = rng.integers(0, 300, 4000), rng.integers(0, 300, 4000)
    x = rng.normal(size=4000)
    eta = 0.2 * x + rng.normal(size=300)[g] + rng.normal(size=300)[h]
    y = np.exp(eta + noise * rng.normal(size=4000))
    design = lf.design("y ~ x + (1 | g) + (1 | h)", {"y": y, "x": x, "g": g, "h": h})
    known = met_by_design(lf.compile(design, "gamma"))
    assert (known is None) == (noise > 0.0)
