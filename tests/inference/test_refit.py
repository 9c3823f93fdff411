"""A refit is the fit to data with that response, in any family and by any method; bad responses are refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.errors import FormulaDataError, ModelError
from tests.simulate import frame

GAUSSIAN = {
    "slopes": "y ~ x + (x | g)",
    "crossed": "y ~ x + (1 | g) + (1 | h)",
    "nested, weights": "y | weights(w) ~ x + (1 | h / c)",
    "independent slopes, offset": "y ~ x + offset(o) + (x || g) + (1 | h)",
    "one correlation": "y ~ x + cs(x + z | g)",
}
_FIRST: dict[tuple[str, bool], lf.Fit] = {}


def first(name: str, reml: bool) -> lf.Fit:
    """The fit that is refitted, made once, so that its cache is used by several tests."""
    if (name, reml) not in _FIRST:
        _FIRST[name, reml] = lf.fit(GAUSSIAN[name], frame(), reml=reml)
    return _FIRST[name, reml]


def compare(found: lf.Fit, expected: lf.Fit) -> None:
    assert found.converged
    assert found.singular == expected.singular
    assert found.loglik.value == pytest.approx(expected.loglik.value, rel=1e-8)
    # Log-likelihoods within 1e-8 of 100 hold estimates within 1e-3 standard errors.
    error = np.where(np.isnan(expected.param_stderr), 1.0, expected.param_stderr)
    assert (np.abs(found.param_values - expected.param_values) < 2e-3 * error).all()
    np.testing.assert_allclose(found.param_stderr, expected.param_stderr, rtol=5e-3)
    assert found.param_names == expected.param_names


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", GAUSSIAN)
def test_gaussian(name, seed, reml):
    fit, rng = first(name, reml), np.random.default_rng(seed)
    y = fit.model.design.y + rng.normal(size=fit.nobs) + rng.normal(size=12)[frame()["g"]]
    found = fit.refit(y)
    assert (found.method, found.reml) == ("exact", reml)
    compare(found, lf.fit(GAUSSIAN[name], {**frame(), "y": y}, reml=reml))
    np.testing.assert_array_equal(found.model.design.y, y)


@pytest.mark.parametrize("name", GAUSSIAN)
def test_to_and_from_singular_fits(name):
    """No effects at all: variances at zero; then back again, from there."""
    fit, rng = first(name, False), np.random.default_rng(5)
    data = frame()
    # What is left of noise within all groups: less variance between them than chance would give.
    flat = rng.normal(size=fit.nobs)
    for group in ("g", "h"):
        flat -= pd.Series(flat).groupby(data[group]).transform("mean").to_numpy()
    away = fit.refit(flat)
    compare(away, lf.fit(GAUSSIAN[name], {**data, "y": flat}))
    assert away.singular
    back = away.refit(data["y"])
    compare(back, fit)


def test_all_rows_of_the_data_or_those_used():
    data = frame()
    data["x"] = np.where(np.arange(72) % 10 == 3, np.nan, data["x"])
    fit = lf.fit("y ~ x + (1 | g)", data)
    assert fit.nobs == 65
    y = data["y"] + np.sin(np.arange(72.0))
    whole, used = (
        fit.refit(pd.Series(y, index=range(100, 172))),
        fit.refit(y[fit.model.design.rows]),
    )
    np.testing.assert_array_equal(whole.model.design.y, used.model.design.y)
    assert whole.loglik.value == used.loglik.value
    compare(used, lf.fit("y ~ x + (1 | g)", {**data, "y": y}))
    # Missing where the row is not used does not matter.
    y = np.where(np.isnan(data["x"]), np.nan, y)
    assert fit.refit(y).loglik.value == used.loglik.value


def test_fixed_sigma_and_transformed_responses():
    data = {**frame(), "y": np.exp(frame()["y"] / 4)}
    fit = lf.fit("log(y) ~ x + (1 | g)", data, sigma=0.3)
    y = np.log(data["y"]) * 1.5 + 1
    compare(fit.refit(y), lf.fit("y ~ x + (1 | g)", {**data, "y": y}, sigma=0.3))


@pytest.mark.parametrize("method", ["laplace"])
@pytest.mark.parametrize("family", ["bernoulli", "poisson"])
def test_other_families(family, method):
    rng, data = np.random.default_rng(3), frame()
    eta = 0.3 + 0.5 * data["x"] + rng.normal(size=12)[data["g"]]

    def draw():
        return (
            (rng.uniform(size=72) < 1 / (1 + np.exp(-eta)))
            if family == "bernoulli"
            else rng.poisson(np.exp(eta))
        )

    data["y"] = draw()
    fit = lf.fit("y ~ x + (1 | g)", data, family, method=method)
    y = draw()
    found = fit.refit(y)
    expected = lf.fit("y ~ x + (1 | g)", {**data, "y": y}, family, method=method)
    assert found.method == method
    assert found.loglik.value == pytest.approx(expected.loglik.value, rel=1e-8)
    np.testing.assert_allclose(
        found.param_values, expected.param_values, atol=2e-3 * expected.param_stderr.max()
    )


def test_monte_carlo():
    fit = lf.fit("y ~ x + (1 | g)", frame(), method="mcem", progress=False)
    y = frame()["y"] + np.cos(np.arange(72.0))
    found = fit.refit(y, seed=4)
    expected = lf.fit("y ~ x + (1 | g)", {**frame(), "y": y})
    assert found.method == "mcem"
    assert found.converged
    # Its own error is rounding here; its last step is smaller than a hundredth of a standard error.
    error = 5 * found.param_mc_error + 1e-4 * expected.param_stderr
    assert (np.abs(found.param_values - expected.param_values) < error).all()


def test_categories_keep_their_levels():
    rng, data = np.random.default_rng(3), frame()
    data["y"] = np.array(["bad", "good"])[rng.integers(2, size=72)]
    fit = lf.fit("y ~ x + (1 | g)", data, "bernoulli", method="laplace")
    y = np.array(["bad", "good"])[rng.integers(2, size=72)]
    found = fit.refit(y)
    assert found.model.design.response.levels == ("bad", "good")
    np.testing.assert_array_equal(found.model.design.y, y == "good")
    with pytest.raises(FormulaDataError, match="did not have: ugly"):
        fit.refit(np.where(y == "good", "ugly", y))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y[:-1], "the new response has 71 values, and the fit used 72 rows"),
        (lambda y: np.where(np.arange(72) < 2, np.nan, y), "missing or infinite in 2 of the rows"),
        (lambda y: np.full(72, 1.0), "is constant"),
        (
            lambda y: np.array(["a", "b"] * 36),
            "the response 'y' is numeric, the new one categorical",
        ),
        (lambda y: None, "a column must be an array"),
    ],
    ids=["rows", "missing", "constant", "kind", "nothing"],
)
def test_bad_responses(change, message):
    with pytest.raises(FormulaDataError, match=message):
        first("crossed", False).refit(change(frame()["y"]))


@pytest.mark.parametrize(
    "masked",
    [
        lambda y, is_hidden: np.ma.array(y, mask=is_hidden),
        lambda y, is_hidden: np.ma.array(y.astype(bool), mask=is_hidden),
        lambda y, is_hidden: np.ma.array(y.astype(str), mask=is_hidden),
    ],
    ids=["numbers", "truth values", "text"],
)
def test_what_is_masked_is_missing(masked):
    data = frame()
    yes = (data["y"] > np.median(data["y"])).astype(int)
    given = masked(yes, False)
    fit = lf.fit("yes ~ x + (1 | g)", {**data, "yes": np.asarray(given)}, "bernoulli")
    assert fit.refit(given).loglik.value == pytest.approx(fit.loglik.value)
    with pytest.raises(FormulaDataError, match=r"missing (or infinite )?in 3 of the rows used"):
        fit.refit(masked(yes, np.arange(len(yes)) < 3))


@pytest.mark.parametrize("factor", [1e200, 1e-300])
def test_numbers_that_no_exact_fit_takes(factor):
    with pytest.raises(FormulaDataError, match="the squares of such numbers"):
        first("crossed", False).refit(factor * frame()["y"])


def test_a_family_refuses_what_it_does_not_take():
    rng, data = np.random.default_rng(3), frame()
    data["y"] = rng.poisson(3, size=72)
    fit = lf.fit("y ~ x + (1 | g)", data, "poisson", method="laplace")
    with pytest.raises(ModelError):
        fit.refit(-data["y"])


@pytest.mark.parametrize("kind", ["numbers", "ordered"])
def test_a_category_without_rows_is_refused(kind):
    rng, data = np.random.default_rng(3), frame()
    codes = rng.integers(0, 3, 72)
    data["y"] = (
        codes + 1
        if kind == "numbers"
        else pd.Categorical.from_codes(codes, ["1", "2", "3"], ordered=True)
    )
    fit = lf.fit("y ~ x + (1 | g)", data, "cumulative", method="laplace")
    for absent in (1, 2):
        kept = np.where(codes == absent, 0, codes)
        y = (
            kept + 1
            if kind == "numbers"
            else pd.Categorical.from_codes(kept, ["1", "2", "3"], ordered=True)
        )
        with pytest.raises(ModelError, match=r"no row has|the new response has no"):
            fit.refit(y)


def test_successes_alone_keep_their_trials():
    rng, data = np.random.default_rng(3), frame()
    data["k"] = rng.integers(0, 6, 72)
    data["m"] = 5 - data["k"]
    fit = lf.fit("cbind(k, m) ~ x + (1 | g)", data, "binomial", method="laplace")
    k = rng.integers(0, 6, 72)
    both = fit.refit(np.column_stack([k, 5 - k]))
    assert fit.refit(k).loglik.value == both.loglik.value
    with pytest.raises(ModelError):
        fit.refit(k + 3)


def test_an_own_parameter_at_its_limit_is_no_place_to_start_from():
    """Normal responses by student: df is infinite, and another response may have heavy tails."""
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(12), 8)
    data = pd.DataFrame({"g": g, "y": rng.normal(size=12)[g] + rng.normal(size=96)})
    fit = lf.fit("y ~ 1 + (1 | g)", data, family="student", method="laplace")
    assert fit.outcome.name == "BOUNDARY"
    for y in (data["y"], rng.normal(size=12)[g] + rng.standard_t(2.2, size=96)):
        again = fit.refit(np.asarray(y))
        anew = lf.fit("y ~ 1 + (1 | g)", data.assign(y=y), family="student", method="laplace")
        assert again.outcome is anew.outcome
        assert again.loglik.value == pytest.approx(anew.loglik.value, abs=1e-6)
