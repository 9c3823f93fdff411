"""Monte Carlo EM with several linear predictors, against quadrature in two dimensions."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.errors import ModelError
from tests.estimation.predictors import CASES, data_of, loglik, truth


def test_quadrature_has_converged():
    psi = np.array([0.9, 0.5, -0.2, 0.3, -0.1, 0.3, -1.2])
    assert loglik("scale", psi) == pytest.approx(loglik("scale", psi, 51), abs=1e-4)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name != "scale" else []) for name in CASES],
)
def test_monte_carlo_fits_are_the_maximum_by_quadrature(name):
    case, expected = CASES[name], truth(name)
    data = data_of(name).columns
    fit = lf.fit(case.formulas, data, case.family, seed=3, tolerance=0.03, progress=False)
    assert fit.method == "mcem"
    assert fit.converged
    # What the optimiser of the quadrature leaves is below a thousandth of a standard error.
    allowed = 4.5 * fit.param_mc_error + 2e-3 * fit.param_stderr
    assert (np.abs(fit.param_values - expected.values) < allowed).all()
    assert (fit.param_mc_error < 0.05 * fit.param_stderr).all()
    assert abs(fit.loglik.value - expected.loglik) < 4.5 * fit.loglik.mc_error + 1e-4


def test_what_one_predictor_alone_has_is_refused():
    model = lf.compile(lf.design(CASES["scale"].formulas, data_of("scale").columns))
    with pytest.raises(ModelError, match="no exact likelihood"):
        lf.estimate(model, method="exact")
    with pytest.raises(
        ModelError, match="Monte Carlo EM by the iterative solver is for models with one"
    ):
        lf.estimate(model, method="mcem", solver="iterative")
    with pytest.raises(ModelError, match="not the restricted one"):
        lf.estimate(model, method="laplace", reml=True)


def test_separation_is_found_in_each_predictor():
    """Where x is one no count is zero, and the kind is always the same."""
    rng = np.random.default_rng(1)
    g, x = np.repeat(np.arange(20), 10), (rng.uniform(size=200) < 0.3).astype(float)
    counts = np.where(x == 1.0, 2.0 + g % 3, rng.poisson(1.5, size=200))
    formulas = {"mu": "y ~ 1 + (1 | g)", "zi": "~ x"}
    fit = lf.fit(formulas, {"y": counts, "x": x, "g": g}, "hurdle_poisson", method="laplace")
    assert fit.outcome is lf.Outcome.SEPARATION
    assert "zi_x" in str(fit.summary())
    assert np.isnan(fit.stderr["zi_x"])
    assert fit.stderr[["Intercept", "zi_Intercept"]].notna().all()
