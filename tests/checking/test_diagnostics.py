"""What a fit says of itself: numbers taken over, distances worked out, and advice where it is due."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.certificate import Certificate, Claim
from lmeformula.em.outcome import Outcome
from lmeformula.model.params import Params
from tests.prediction.fakes import NAMES, STDERR, VALUES, fake_fit, fake_mcem_fit


def test_the_last_iteration_is_taken_over():
    fit = fake_mcem_fit()
    found = fit.diagnostics
    assert found.sampling is fit.sampling
    assert found.num_iterations == 9
    assert found.outcome is Outcome.CONVERGED
    assert found.reduction == dict(zip(NAMES, fit.sampling.reduction, strict=True))
    assert found.largest_error.in_stderr == pytest.approx(0.01)
    assert (found.last_step.name, found.last_step.in_stderr) == ("sd(g:Intercept)", 0.004)


def test_distance_of_laplace():
    by_name = {d.name: d for d in fake_mcem_fit().diagnostics.laplace}
    h = by_name["sd(h)"]
    # fakes.py puts Laplace 0.3 standard errors of 0.15 below the estimate of 0.3
    assert h.laplace == pytest.approx(0.255)
    assert h.in_stderr == pytest.approx(-0.3)
    assert h.percent == pytest.approx(-15.0)
    assert by_name["sigma"].in_stderr == 0.0


def test_exact_fits_have_no_monte_carlo():
    found = fake_fit().diagnostics
    assert found.sampling is found.largest_error is found.last_step is None
    assert found.laplace == ()
    assert found.reduction == {}
    assert found.distance == pytest.approx(math.sqrt(2e-12))
    assert found.condition == pytest.approx(1.0)


def test_condition_is_that_of_the_correlations():
    """Of two estimates with correlation r it is (1 + r) / (1 - r), whatever their scales."""
    scale = np.diag([1e6, 1e-3])
    covariance = np.full((7, 7), np.nan)
    covariance[:2, :2] = scale @ np.array([[1.0, 0.6], [0.6, 1.0]]) @ scale
    assert fake_fit(param_vcov=covariance).diagnostics.condition == pytest.approx(4.0)
    assert math.isnan(fake_fit(param_vcov=np.full((7, 7), np.nan)).diagnostics.condition)
    covariance[0, 1] = covariance[1, 0] = (1 - 1e-9) * 1e3
    assert "nearly functions" in fake_fit(param_vcov=covariance).diagnostics.advice[0]


def test_singular_terms_are_named():
    params = Params(
        VALUES[:2], (np.array([[0.25, -0.1], [-0.1, 0.04]]), np.array([[0.09]])), np.array([0.5])
    )
    found = fake_fit(params=params, singular=True).diagnostics
    assert found.singular_terms == ("g",)
    assert "covariance of g is singular" in found.advice[0]
    assert fake_fit().diagnostics.singular_terms == ()


ADVICE = {
    "divergences": ({"divergences": 12}, "12 transitions diverged"),
    "chains": ({"rhat": 1.3}, "chains disagree"),
    "draws": ({"effective": 15.0}, "Only 15 effective draws"),
}


@pytest.mark.parametrize("case", ADVICE)
def test_advice(case):
    changes, sentence = ADVICE[case]
    fit = fake_mcem_fit()
    assert fit.diagnostics.advice == ()
    fit = replace(fit, sampling=fit.sampling._replace(**changes))
    assert sentence in fit.diagnostics.advice[0]
    # Chains do not matter where control variates leave no error.
    exact = replace(fit, param_mc_error=1e-12 * STDERR)
    assert exact.diagnostics.advice == ()


def test_errors_of_parameters_at_their_bounds_are_left_out():
    stderr = np.where(np.arange(7) == 5, np.nan, STDERR)
    found = fake_mcem_fit(param_stderr=stderr).diagnostics
    assert found.largest_error.in_stderr == pytest.approx(0.01)
    assert math.isnan(found.laplace[5].in_stderr)


SOURCES = {
    "exact": ({}, "observed information of the likelihood"),
    "REML": ({"reml": True}, "observed information of the restricted likelihood"),
    "Laplace": ({"information": "laplace"}, "second derivative of the Laplace approximation"),
    "draws": ({"information": "monte carlo"}, "observed information, estimated from the draws"),
}


@pytest.mark.parametrize("case", SOURCES)
def test_source_of_the_standard_errors(case):
    changes, text = SOURCES[case]
    assert fake_fit(**changes).diagnostics.stderr_source.endswith(text)


def test_standard_errors_may_have_errors_of_their_own():
    relative = np.array([0.01, 0.02, 0.05, 0.01, 0.01, np.nan, 0.01])
    fit = fake_mcem_fit(information="monte carlo", param_stderr_error=relative * STDERR)
    error = fit.diagnostics.stderr_error
    assert (error.name, error.in_stderr) == ("sd(g:Intercept)", pytest.approx(0.05))
    assert "estimated from the draws, to 5 % (sd(g:Intercept))" in " ".join(
        repr(fit.diagnostics).split()
    )


def test_an_exact_fit_accounts_for_its_time_and_its_end():
    fit = lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"))
    found = fit.diagnostics
    assert 0 < found.seconds.design + found.seconds.start <= found.seconds.total
    assert found.ascent.num_evaluations > 1
    assert found.distance < 1e-3


STILL = Claim("stationarity", True, 5e-9, 1e-6, (), "")
RISING = Claim("stationarity", False, 2e-2, 1e-6, ("x",), "")
BENT = Claim("curvature", True, 0.1, 1e-6, (), "")
FLAT = Claim("curvature", False, 0.0, 1e-6, ("x",), "")


@pytest.mark.parametrize(
    ("claims", "distance"),
    [((STILL, BENT), 1e-4), ((STILL, FLAT), np.nan), ((RISING, BENT), np.nan), ((), np.nan)],
)
def test_a_distance_is_said_where_the_curvature_supports_it(claims, distance):
    found = fake_fit(certificate=Certificate(claims)).diagnostics
    assert found.distance == pytest.approx(distance, nan_ok=True)
    assert ("standard errors away" in repr(found)) == np.isfinite(distance)


def test_a_stalled_fit_without_a_certificate_knows_no_distance():
    found = fake_fit(outcome=Outcome.OPTIMIZER_STALLED).diagnostics
    assert np.isnan(found.distance)
    assert "is not known" in repr(found)


@pytest.mark.slow
def test_a_monte_carlo_fit_accounts_for_its_time_and_its_start():
    data = lf.datasets.load("cbpp")
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    fit = lf.fit(formula, data, "binomial", method="mcem", progress=False)
    laplace = lf.fit(formula, data, "binomial", method="laplace")
    found = fit.diagnostics
    # Its start ends where another step promises a millionth in log-likelihood: sqrt(2e-6) standard errors.
    apart = np.array([d.laplace for d in found.laplace]) - laplace.param_values
    assert (np.abs(apart) <= 1.5e-3 * laplace.param_stderr).all()
    seconds = found.seconds
    parts = (seconds.start, seconds.compile, seconds.whitening, seconds.iterations, seconds.bridge)
    assert all(part > 0 for part in parts)
    assert sum(parts) <= seconds.total
    assert found.largest_error.in_stderr < 0.01
    assert 0.5 < found.sampling.acceptance < 1.0
    assert found.sampling.num_draws == fit.iterations[-1].num_draws
