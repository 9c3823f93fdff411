"""Own parameters that run to their limits: the simpler family's fit, named, with its errors."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf

POISSON = [
    "nbinom1",
    "nbinom2",
    "generalized_poisson",
    "zero_inflated_poisson",
]
LIMIT = {"nbinom1": 0.0, "nbinom2": math.inf, "generalized_poisson": 0.0}


def underdispersed(seed: int) -> pd.DataFrame:
    """Counts that vary less than Poisson's."""
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(12), 8), rng.normal(size=96)
    mean = np.exp(0.8 + 0.3 * x + rng.normal(0, 0.4, 12)[g])
    return pd.DataFrame(
        {"y": rng.binomial(12, np.minimum(mean / 12, 1)), "x": x, "g": g.astype(str)}
    )


@pytest.mark.parametrize("family", POISSON)
def test_counts_without_overdispersion_end_at_poisson(family):
    data, formula = underdispersed(1), "y ~ x + (1 | g)"
    right = lf.fit(formula, data, "poisson", method="laplace")
    fit = lf.fit(formula, data, family, method="laplace")
    assert fit.outcome is lf.Outcome.BOUNDARY
    assert fit.converged
    assert fit.loglik.value == pytest.approx(right.loglik.value, abs=1e-5)
    np.testing.assert_allclose(fit.stderr, right.stderr, rtol=1e-4)
    assert fit.param_values[-1] == LIMIT.get(family, 0.0)
    assert np.isnan(fit.param_stderr[-1])
    assert "(poisson)" in " ".join(str(fit.summary()).split())
    assert fit.family_params.iloc[-1] == fit.param_values[-1]
    (name,) = fit.diagnostics.at_limits
    assert name in " ".join(str(fit.diagnostics).split())
    assert name.endswith("(poisson)")
    again = lf.fit(formula, data, family, method="laplace")
    assert np.array_equal(fit.param_stderr, again.param_stderr, equal_nan=True)


def test_overdispersed_counts_do_not():
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(12), 10)
    mean = np.exp(1 + rng.normal(0, 0.4, 12)[g]) * rng.gamma(2.0, 0.5, 120)
    data = pd.DataFrame({"y": rng.poisson(mean), "g": g.astype(str)})
    fit = lf.fit("y ~ 1 + (1 | g)", data, "nbinom2", method="laplace")
    assert fit.outcome is lf.Outcome.CONVERGED
    assert np.isfinite(fit.param_stderr).all()


def positive(seed: int) -> dict[str, np.ndarray]:
    """Amounts without zeros, by the gamma distribution."""
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(10), 6), rng.normal(size=60)
    mean = np.exp(0.5 + 0.4 * x + rng.normal(0, 0.4, 10)[g])
    return {"y": mean * rng.gamma(3, 1 / 3, 60), "x": x, "g": g}


@pytest.mark.parametrize("solver", ["direct", "iterative"])
def test_a_power_ends_at_two_where_amounts_are_gamma(solver):
    data, formula = positive(3), "y ~ x + (1 | g)"
    right = lf.fit(formula, data, "gamma", method="laplace")
    fit = lf.fit(formula, data, "tweedie", method="laplace", solver=solver)
    assert fit.outcome is lf.Outcome.BOUNDARY
    assert fit.certificate.holds
    assert fit.diagnostics.at_limits == ("power at 2 (gamma)",)
    close = 1e-6 if solver == "direct" else 1e-3
    assert fit.loglik.value == pytest.approx(right.loglik.value, abs=close)
    np.testing.assert_allclose(fit.stderr, right.stderr, rtol=max(1e-5, close))
    shape = right.family_params["shape"]
    assert fit.family_params["dispersion"] == pytest.approx(1.0 / shape, rel=10 * close)
    error = right.param_stderr[-1] / shape**2
    assert fit.param_stderr[-2] == pytest.approx(error, rel=max(1e-4, 10 * close))
    assert np.isnan(fit.param_stderr[-1])


def test_a_power_has_no_limit_at_two_where_there_are_zeros():
    data = positive(3)
    data["y"] = np.where(np.arange(60) % 20 == 0, 0.0, data["y"])
    fit = lf.fit("y ~ x + (1 | g)", data, "tweedie", method="laplace")
    assert fit.outcome is lf.Outcome.CONVERGED
    assert 1.01 < fit.family_params["power"] < 1.9
    assert not fit.diagnostics.at_limits


def test_a_power_runs_to_one_where_amounts_are_all_alike():
    """Multiples of one number: a likelihood without limit, in which the other parameters are Poisson's."""
    rng = np.random.default_rng(3)
    data = positive(3)
    count = rng.poisson(1.5 * data["y"])
    right = lf.fit("y ~ x + (1 | g)", data | {"y": count}, "poisson", method="laplace")
    fit = lf.fit("y ~ x + (1 | g)", data | {"y": 2.5 * count}, "tweedie", method="laplace")
    assert fit.outcome is lf.Outcome.DIVERGED
    (claim,) = fit.certificate.failing
    assert claim.names == ("power",)
    assert "multiples of one number" in claim.words
    assert fit.family_params["dispersion"] == pytest.approx(2.5, abs=1e-5)
    np.testing.assert_allclose(fit.stderr, right.stderr, rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "value"),
    [("poisson", 1e18), ("nbinom2", 1e300), ("gamma", 1e300), ("inverse_gaussian", 1e-300)],
)
def test_responses_out_of_all_proportion_are_an_outcome(family, value):
    rng = np.random.default_rng(6)
    data = pd.DataFrame(
        {"g": np.repeat(np.arange(10), 6).astype(str), "y": rng.poisson(3, 60) + 1.0}
    )
    data.loc[7, "y"] = value
    fit = lf.fit("y ~ 1 + (1 | g)", data, family, method="laplace")
    assert isinstance(fit.outcome, lf.Outcome)


@pytest.mark.parametrize("family", ["nbinom2", "nbinom1"])
def test_by_the_iterative_solver_too(family):
    data, formula = underdispersed(1), "y ~ x + (1 | g)"
    right = lf.fit(formula, data, "poisson", method="laplace")
    fit = lf.fit(formula, data, family, method="laplace", solver="iterative")
    assert fit.outcome is lf.Outcome.BOUNDARY
    assert fit.loglik.value == pytest.approx(right.loglik.value, abs=1e-4)
    np.testing.assert_allclose(fit.stderr, right.stderr, rtol=1e-2)
    assert fit.param_values[-1] == LIMIT[family]
    assert np.isnan(fit.param_stderr[-1])
    assert fit.diagnostics.at_limits
    assert fit.certificate.holds


@pytest.mark.slow
@pytest.mark.parametrize("family", ["nbinom2", "nbinom1"])
def test_a_dispersion_with_a_formula_runs_there_by_name(family):
    data, formula = underdispersed(1), "y ~ x + (1 | g)"
    right = lf.fit(formula, data, "poisson", method="laplace")
    fit = lf.fit({"mu": formula, "dispersion": "~ x"}, data, family, method="laplace")
    assert fit.outcome is lf.Outcome.BOUNDARY
    assert fit.loglik.value == pytest.approx(right.loglik.value, abs=1e-5)
    np.testing.assert_allclose(fit.stderr[:2], right.stderr, rtol=1e-4)
    names = ("dispersion_Intercept", "dispersion_x")
    assert fit.stderr[list(names)].isna().all()
    assert fit.diagnostics.at_limits == names
    assert names[1] in " ".join(str(fit.summary()).split())


@pytest.mark.slow
def test_a_second_limit_is_tried_after_a_first_one_was_taken():
    """Counts of Poisson and more zeros: the dispersion is at its limit, and the zero chance is not."""
    rng = np.random.default_rng(1)
    g, x = np.repeat(np.arange(12), 8), rng.normal(size=96)
    mean = np.exp(0.8 + 0.3 * x + rng.normal(0, 0.4, 12)[g])
    y = np.maximum(np.round(mean).astype(int), 1) * (rng.random(96) < 0.7)
    data, formula = pd.DataFrame({"y": y, "x": x, "g": g}), "y ~ x + (1 | g)"
    fit = lf.fit(formula, data, "zero_inflated_nbinom2", method="laplace")
    right = lf.fit(formula, data, "zero_inflated_poisson", method="laplace")
    assert fit.outcome is lf.Outcome.BOUNDARY
    assert fit.loglik.value == pytest.approx(right.loglik.value, abs=1e-5)
    np.testing.assert_allclose(fit.stderr, right.stderr, rtol=1e-4)
    assert fit.diagnostics.at_limits == ("dispersion at inf (zero_inflated_poisson)",)


@pytest.mark.slow
def test_a_precision_of_single_trials_is_not_determined():
    """As good at its limit as anywhere: no boundary, but nothing known."""
    rng = np.random.default_rng(6)
    data = {"g": np.repeat(np.arange(10), 6), "x": rng.normal(size=60), "t": np.ones(60, int)}
    data["y"] = (rng.random(60) < 0.5).astype(int)
    formula = "y | trials(t) ~ 1 + x + (1 | g)"
    fit = lf.fit(formula, data, "beta_binomial", method="laplace")
    right = lf.fit(formula, data, "binomial", method="laplace")
    assert fit.outcome is lf.Outcome.UNIDENTIFIED
    assert "precision" in str(fit.summary())
    assert np.isnan(fit.param_stderr[-1])
    assert fit.loglik.value == pytest.approx(right.loglik.value, abs=1e-6)
    np.testing.assert_allclose(fit.stderr, right.stderr, rtol=1e-4)
