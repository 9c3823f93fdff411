"""Model -> Fit by Monte Carlo EM: against exact fits, at the boundary, on all of InstEval."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.em import Options
from lmeformula.estimation import estimate
from lmeformula.estimation.common import WATCHED_LEVELS
from tests.reference.read import gaussian_references, model_of
from tests.simulate import frame

REFERENCES = gaussian_references()

# Every form that the first release promises, over the simulated rows; those of the references are not repeated.
FORMULAS = {
    "0 +, (1|g)": "y ~ 0 + x + (1 | g)",
    "x*z, (0+x|g)": "y ~ x * z + (0 + x | g)",
    "x:z, (x||g), (1|h)": "y ~ x:z + (x || g) + (1 | h)",
    "three columns, weights": "y | weights(w) ~ x + (x + z | g)",
    "cs": "y ~ x + cs(x + z | g)",
    "ar1": "v ~ x + (1 | h) + ar1(0 + factor(c) | g)",
}
# The exact optimiser ends where another step promises less than 1e-9 in log-likelihood: within the root of
# twice that, 4.5e-5, of the maximum, in standard errors; Monte Carlo EM a Newton step from 1e-3 away at most.
SAME = 1e-4

# One of each model: REML references are fitted by maximum likelihood here.
SMALL = [
    "sleepstudy-slope-ml",
    "sleepstudy-zerocorr-ml",
    "sleepstudy-intercept-reml",
    "dyestuff-ml",
    "penicillin-ml",
    "pastes-nested-ml",
    "oats-nested-reml",
]

_MODELS: dict[str, lf.Model] = {}
_FITS: dict[tuple[str, str], lf.Fit] = {}


def model(name: str) -> lf.Model:
    if name not in _MODELS:
        _MODELS[name] = (
            model_of(name) if name in REFERENCES else lf.compile(lf.design(FORMULAS[name], frame()))
        )
    return _MODELS[name]


def fitted(name: str, method: str) -> lf.Fit:
    """The fit of a model by a method, made once."""
    if (name, method) not in _FITS:
        _FITS[name, method] = estimate(model(name), method=method, seed=1)
    return _FITS[name, method]


def test_every_small_reference_model_is_there():
    shapes = {(r.data, r.formula) for r in REFERENCES.values() if r.nobs < 1000}
    assert shapes == {
        (REFERENCES[i].data, REFERENCES[i].formula) for i in [*SMALL, "dyestuff2-singular-ml"]
    }


@pytest.mark.parametrize("name", [*SMALL, *FORMULAS])
def test_mcem_is_exact_with_control_variates(name):
    exact, mcem = fitted(name, "exact"), fitted(name, "mcem")
    assert exact.converged
    assert mcem.converged
    assert mcem.param_names == exact.param_names
    # The control variates take all Monte Carlo error of a Gaussian posterior: what is left is rounding.
    assert (mcem.param_mc_error <= 1e-9 * exact.param_stderr).all()
    distance = (mcem.param_values - exact.param_values) / exact.param_stderr
    np.testing.assert_allclose(distance, 0.0, atol=SAME)
    np.testing.assert_allclose(mcem.param_stderr, exact.param_stderr, rtol=1e-4)
    assert mcem.deviance == pytest.approx(exact.deviance, abs=1e-8)


@pytest.mark.parametrize("name", ["penicillin-ml", "sleepstudy-slope-ml"])
def test_random_effects_of_mcem_are_the_conditional_modes(name):
    exact, mcem = fitted(name, "exact"), fitted(name, "mcem")
    for found, expected, spread in zip(mcem.modes, exact.modes, exact.mode_cov, strict=True):
        sd = np.sqrt(np.diagonal(spread, axis1=1, axis2=2))
        # Means of a Gaussian posterior with its gradient as control variate: rounding, and the distance to
        # the maximum that is allowed above.
        np.testing.assert_allclose((found - expected) / sd, 0.0, atol=1e-3)
    for found, expected in zip(mcem.mode_cov, exact.mode_cov, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", ["dyestuff-ml", "sleepstudy-slope-ml"])
def test_mcem_without_control_variates_is_within_its_error(name):
    exact = fitted(name, "exact")
    options = Options(control_variates=False, tolerance=0.1)
    found = estimate(model(name), method="mcem", seed=2, options=options)
    assert found.converged
    error = found.param_mc_error
    # Sharp enough to notice a wrong answer, and real errors this time.
    assert (error <= 0.12 * exact.param_stderr).all()
    assert error.max() > 1e-4 * exact.param_stderr.max()
    assert (np.abs(found.param_values - exact.param_values) < 4.5 * error).all()


def test_what_a_monte_carlo_fit_tells():
    fit = fitted("penicillin-ml", "mcem")
    assert fit.method == "mcem"
    assert not fit.reml
    assert fit.loglik.mc_error == 0.0  # exact at the estimates, for Gaussian models
    trace = fit.trace
    assert list(trace.columns[1:5]) == list(fit.param_names)
    assert trace["iteration"].tolist() == list(range(1, len(trace) + 1))
    np.testing.assert_allclose(trace[list(fit.param_names)].iloc[-1], fit.param_values, rtol=1e-3)
    names, draws = fit.watched
    assert names[0] == ("plate", "a", "Intercept")
    expected = sum(min(len(term.levels), WATCHED_LEVELS) for term in fit.model.design.terms)
    assert draws.shape == (trace["num_draws"].iloc[-1], expected)
    # Draws of the effects they are named after: within five posterior sds of the conditional modes.
    terms = [term.name for term in fit.model.design.terms]
    for (term, level, _), column in zip(names, draws.T, strict=True):
        j = terms.index(term)
        place = fit.model.design.terms[j].levels.index(level)
        sd = np.sqrt(fit.mode_cov[j][place, 0, 0])
        assert np.abs(column - fit.modes[j][place, 0]).max() < 5 * sd


def test_a_variance_at_the_boundary_ends_singular():
    exact, mcem = fitted("dyestuff2-singular-ml", "exact"), fitted("dyestuff2-singular-ml", "mcem")
    assert mcem.singular
    assert exact.singular
    # Zero, as far as the likelihood can tell: a thousandth of a standard error of the others.
    assert mcem.params.covariances[0][0, 0] < 1e-6 * mcem.sigma**2
    assert mcem.converged
    assert mcem.deviance == pytest.approx(exact.deviance, abs=1e-3)
    assert (
        abs(mcem.fixef["Intercept"] - exact.fixef["Intercept"]) < 1e-3 * exact.stderr["Intercept"]
    )
    assert mcem.sigma == pytest.approx(exact.sigma, rel=1e-3)
    assert np.isnan(mcem.param_stderr[1])


def test_float32():
    data = lf.datasets.load("penicillin")
    single = lf.compile(lf.design(REFERENCES["penicillin-ml"].formula, data), dtype="float32")
    found, exact = estimate(single, method="mcem"), fitted("penicillin-ml", "exact")
    assert found.converged
    # Five digits: of sums over the rows of squares, whose scores must then cancel to a hundredth of a
    # standard error.
    distance = (found.param_values - exact.param_values) / exact.param_stderr
    assert (np.abs(distance) < 0.01).all()


@pytest.mark.parametrize("method", ["exact", "mcem"])
def test_sigma_can_be_fixed(method):
    formula = "y ~ x + (1 | g) + (1 | h)"
    fixed = lf.compile(lf.design(formula, frame()), sigma=1.0)
    found = estimate(fixed, method=method)
    assert found.converged
    assert found.sigma == 1.0
    assert "sigma" not in found.param_names
    if method == "mcem":
        exact = estimate(fixed, method="exact")
        distance = (found.param_values - exact.param_values) / exact.param_stderr
        np.testing.assert_allclose(distance, 0.0, atol=SAME)


def test_ctrl_c_gives_the_last_whole_iteration():
    class Interrupt:
        def start(self, names):
            pass

        def update(self, iteration):
            self.last = iteration
            if iteration.number == 2:
                raise KeyboardInterrupt

        def stop(self):
            self.stopped = True

    display = Interrupt()
    found = estimate(model("dyestuff-ml"), method="mcem", progress=display)
    assert found.outcome is lf.Outcome.INTERRUPTED
    assert not found.converged
    assert display.stopped
    np.testing.assert_allclose(found.param_values, display.last.estimates, rtol=1e-12)


def test_insteval_by_mcem():
    """All 73,421 rows: the published maximum-likelihood values, and an honest error below 1 %."""
    reference = REFERENCES["insteval-ml"]
    fit = estimate(model("insteval-ml"), method="mcem", seed=0)
    assert fit.converged
    values = dict(zip(fit.param_names, fit.param_values, strict=True))
    for name, value in reference.fixed.items():
        assert abs(values[name] - value) < 0.1 * reference.stderr[name]
        assert fit.stderr[name] == pytest.approx(reference.stderr[name], rel=0.01)
    shares = {"s": 0.01, "d": 0.01, "dept": 0.05}
    for group, _, (sd,), _ in reference.components:
        assert values[f"sd({group})"] == pytest.approx(sd, rel=shares[group])
    assert values["sigma"] == pytest.approx(reference.sigma, rel=0.002)
    assert (fit.param_mc_error < 0.01 * fit.param_stderr).all()
    assert fit.deviance == pytest.approx(-2 * reference.loglik, abs=1e-3)
