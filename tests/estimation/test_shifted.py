"""A slope column far from zero, such as a year: the model is the same, and so must its answers be.

With a shift c the slope and its sd stay, the intercept moves by c slopes; so does the likelihood of an
unstructured covariance, which is one of any columns of the same span.
"""

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from tests.shifted import far, moved, moved_errors
from tests.shifted import years as graded

SHIFT = 2000.0
CASES = [
    ("gaussian", "exact", "direct"),
    ("gaussian", "exact", "iterative"),
    ("poisson", "laplace", "direct"),
    ("poisson", "laplace", "iterative"),
]


@pytest.fixture(scope="module")
def years() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    g, x = np.repeat(np.arange(30), 20), rng.integers(0, 21, 600).astype(float)
    effects = 0.2 * rng.normal(size=30)[g] + 0.05 * rng.normal(size=30)[g] * (x - 10.0)
    eta = 0.5 + 0.02 * (x - 10.0) + effects
    return pd.DataFrame(
        {
            "gaussian": eta + 0.4 * rng.normal(size=600),
            "poisson": rng.poisson(np.exp(eta)),
            "x": x,
            "g": g.astype(str),
        }
    )


@pytest.mark.parametrize(("family", "method", "solver"), CASES)
def test_a_year_as_a_slope(years, family, method, solver):
    formula = f"{family} ~ x + (x | g)"
    near = lf.fit(formula, years, family=family, method=method, solver=solver)
    far = lf.fit(
        formula, years.assign(x=years.x + SHIFT), family=family, method=method, solver=solver
    )
    assert near.converged
    assert far.converged, str(far.diagnostics)
    # Probes, and what they leave open, are the same: what differs is rounding, and of standard errors
    # the steps of differences, up to 3e-3.
    assert far.loglik.value == pytest.approx(near.loglik.value, abs=1e-6)
    slopes = [list(fit.param_names).index(name) for fit in (near, far) for name in ("x", "sd(g:x)")]
    found = [fit.param_stderr[slopes[:2]] for fit in (near, far)]
    np.testing.assert_allclose(found[1], found[0], rtol=2e-3)
    np.testing.assert_allclose(
        far.param_values[slopes[:2]], near.param_values[slopes[:2]], rtol=1e-3
    )
    # The intercept, at the shift: var(a - c b) = var a - 2 c cov + c^2 var b
    cov = near.fixed_vcov
    expected = np.sqrt(cov[0, 0] - 2.0 * SHIFT * cov[0, 1] + SHIFT**2 * cov[1, 1])
    assert far.param_stderr[0] == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("shift", [200.0, 20_000.0])
@pytest.mark.parametrize(
    ("formula", "family", "solver"),
    [
        ("grade ~ x + (x | g)", "cumulative", "direct"),
        ("grade ~ x + (x | g)", "cumulative", "iterative"),
        ("grade ~ x + (1 | g)", "acat", "direct"),
        ("grade ~ x + (1 | g)", "sratio", "direct"),
        ("grade ~ x + (x | p)", "cumulative", "direct"),
    ],
)
def test_a_year_beside_thresholds(formula, family, solver, shift):
    options = {"family": family, "method": "laplace", "solver": solver}
    near = lf.fit(formula, graded(), **options)
    fit = lf.fit(formula, far(graded(), shift), **options)
    assert near.converged
    assert fit.converged, str(fit.diagnostics)
    assert fit.singular == near.singular
    assert fit.loglik.value == pytest.approx(near.loglik.value, abs=1e-6)
    expected = moved(near.param_values, near.param_names, shift)
    inside = np.isfinite(near.param_stderr)
    np.testing.assert_array_equal(np.isfinite(fit.param_stderr), inside)
    gap = np.abs(fit.param_values - expected)[inside]
    assert (gap < 1e-3 * fit.param_stderr[inside]).all()
    np.testing.assert_allclose(fit.param_stderr, moved_errors(near, shift), rtol=1e-3)
    np.testing.assert_allclose(fit.predict(), near.predict(), rtol=1e-4)


# family -> a draw of responses, by generator and predictor
FAMILIES = {
    "poisson": lambda rng, eta: rng.poisson(np.exp(eta)),
    "bernoulli": lambda rng, eta: rng.binomial(1, 1.0 / (1.0 + np.exp(-eta))),
    "gamma": lambda rng, eta: rng.gamma(2.0, np.exp(eta) / 2.0),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_year_as_a_slope_of_few_groups(family):
    """Twelve groups of eight rows: a climb in the columns as they are met densities that overflow."""
    rng = np.random.default_rng(12)
    g, x = np.repeat(np.arange(12), 8), rng.normal(size=96)
    b = rng.normal(size=(12, 2)) @ np.array([[0.6, 0.2], [0.0, 0.5]])
    y = FAMILIES[family](rng, 0.3 + 0.2 * x + b[g, 0] + b[g, 1] * x)
    near, far = (
        lf.fit("y ~ x + (x | g)", {"y": y, "x": x + c, "g": g}, family=family, method="laplace")
        for c in (0.0, SHIFT)
    )
    assert near.outcome is far.outcome
    assert far.loglik.value == pytest.approx(near.loglik.value, abs=1e-6)
    assert far.ascent.num_evaluations < 2 * near.ascent.num_evaluations


@pytest.mark.parametrize("solver", ["direct", "iterative"])
@pytest.mark.parametrize("kind", ["one direction", "nothing"])
def test_effects_of_one_direction_and_of_none(kind, solver):
    """A singular covariance is one from any origin, with the errors of what is left."""
    rng = np.random.default_rng(2)
    n = 240
    g, x = np.arange(n) % 30, rng.normal(size=n)
    eta = 0.3 + 0.5 * x
    if kind == "one direction":
        eta = eta + rng.normal(size=30)[g] * (0.8 + 0.5 * x)
    data = pd.DataFrame({"y": rng.poisson(np.exp(0.5 * eta)), "x": x, "g": g.astype(str)})
    options = {"family": "poisson", "method": "laplace", "solver": solver}
    near = lf.fit("y ~ x + (x | g)", data, **options)
    fit = lf.fit("y ~ x + (x | g)", far(data, 20_000.0), **options)
    assert near.singular
    assert fit.singular
    assert fit.converged, str(fit.diagnostics)
    assert fit.loglik.value == pytest.approx(near.loglik.value, abs=1e-6)
    inside = np.isfinite(near.param_stderr)
    np.testing.assert_array_equal(np.isfinite(fit.param_stderr), inside)
    expected = moved(near.param_values, near.param_names, 20_000.0)
    gap = np.abs(fit.param_values - expected)[inside]
    assert (gap < 2e-3 * fit.param_stderr[inside]).all()
    np.testing.assert_allclose(fit.param_stderr, moved_errors(near, 20_000.0), rtol=2e-3)
