"""Families with a single predictor against glmmTMB and lme4: Laplace fits, and one by quadrature."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lmeformula as lf

REFERENCES = {
    entry["id"]: entry
    for entry in json.loads((Path(__file__).parent / "families.json").read_text(encoding="utf-8"))
}
QUADRATURE = "cbpp-cauchit-agq25"


def sds(fit: lf.Fit) -> np.ndarray:
    return np.array([float(np.sqrt(covariance[0, 0])) for covariance in fit.params.covariances])


# What one link shows of a family, the others do: they take a while to compile.
LINKED = ("wine-betabinomial-cloglog", "wine-betabinomial-probit")


@pytest.mark.parametrize(
    "id",
    [
        pytest.param(id, marks=[pytest.mark.slow] if id in LINKED else [])
        for id in REFERENCES
        if id != QUADRATURE
    ],
)
def test_laplace_fits_are_those_of_r(id):
    """glmmTMB was asked for a relative change of 1e-13: some six digits of the estimates."""
    reference = REFERENCES[id]
    data = lf.datasets.load(reference["data"])
    fit = lf.fit(reference["formula"], data, reference["family"], method="laplace")
    assert fit.converged
    assert not fit.singular
    assert fit.loglik.df == reference["df"]
    assert float(fit.loglik) == pytest.approx(reference["logLik"], abs=1e-6)
    distance = (fit.fixef.to_numpy() - reference["fixed"]) / reference["fixed_se"]
    np.testing.assert_allclose(distance, 0.0, atol=1e-3)
    np.testing.assert_allclose(fit.stderr, reference["fixed_se"], rtol=1e-4)
    np.testing.assert_allclose(sds(fit), reference["sd"], rtol=1e-4)
    np.testing.assert_allclose(fit.family_params, reference["own"], rtol=2e-4)


def test_a_lognormal_fit_is_one_of_the_logarithm():
    """Its Laplace approximation is exact; the log-likelihoods differ by the sum of the logarithms."""
    data = lf.datasets.load("sleepstudy")
    lognormal = lf.fit("Reaction ~ Days + (Days | Subject)", data, "lognormal", method="laplace")
    gaussian = lf.fit("log(Reaction) ~ Days + (Days | Subject)", data)
    jacobian = np.log(data["Reaction"].to_numpy(float)).sum()
    assert float(lognormal.loglik) == pytest.approx(float(gaussian.loglik) - jacobian, abs=1e-6)
    np.testing.assert_allclose(lognormal.fixef, gaussian.fixef, rtol=1e-6)
    np.testing.assert_allclose(lognormal.stderr, gaussian.stderr, rtol=1e-4)
    assert lognormal.family_params["sigma"] == pytest.approx(gaussian.sigma, rel=1e-5)
    np.testing.assert_allclose(lognormal.r2().conditional, gaussian.r2().conditional, rtol=1e-5)
    expected = np.exp(gaussian.predict() + 0.5 * gaussian.sigma**2)
    np.testing.assert_allclose(lognormal.predict(), expected, rtol=1e-4)


@pytest.mark.slow
def test_cauchit_by_monte_carlo_is_lme4s_quadrature():
    reference = REFERENCES[QUADRATURE]
    data = lf.datasets.load(reference["data"])
    fit = lf.fit(
        reference["formula"], data, reference["family"], method="mcem", seed=2, progress=False
    )
    expected = [*reference["fixed"], *reference["sd"]]
    # What is left of 25 nodes and of an optimiser that was asked for 1e-9.
    allowed = 4.5 * fit.param_mc_error + 2e-3 * fit.param_stderr
    assert (np.abs(fit.param_values - expected) < allowed).all()
    np.testing.assert_allclose(fit.stderr, reference["fixed_se"], rtol=0.02)
