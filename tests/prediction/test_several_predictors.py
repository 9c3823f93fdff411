"""What follows fits of several linear predictors: predictions, draws, comparison, files, and refusals."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.inference.comparable import _is_nested
from lmeformula.prediction.posterior import posterior_draws
from lmeformula.prediction.predict_draws import predict_draws
from tests.likelihood.laplace.test_several import simulated

FORMULAS = {"mu": "y ~ x + (1 | p | g) + (1 | h)", "sigma": "~ x + (1 | p | g)"}


@cache
def data() -> pd.DataFrame:
    return pd.DataFrame(simulated(3))


@cache
def scale() -> lf.Fit:
    return lf.fit(FORMULAS, data(), method="laplace")


@cache
def kinds() -> lf.Fit:
    return lf.fit("kind ~ x + (1 | g)", data(), "categorical", method="laplace")


def predictors(fit: lf.Fit) -> np.ndarray:
    """(n, 2) of `scale`, by hand."""
    beta, table = fit.fixef, fit.ranef().set_index(["group", "level", "term"])["value"]
    rows = data()
    of_g = [table.xs(term, level="term").loc["g"] for term in ("Intercept", "sigma_Intercept")]
    of_h = table.xs("Intercept", level="term").loc["h"]
    g, h = rows["g"].astype(str), rows["h"].astype(str)
    mu = beta["Intercept"] + beta["x"] * rows["x"] + of_g[0].loc[g].to_numpy()
    mu += of_h.loc[h].to_numpy()
    sigma = beta["sigma_Intercept"] + beta["sigma_x"] * rows["x"] + of_g[1].loc[g].to_numpy()
    return np.column_stack([mu, sigma])


def test_names_carry_the_predictor():
    fit = scale()
    assert list(fit.fixef.index) == ["Intercept", "x", "sigma_Intercept", "sigma_x"]
    assert fit.param_names[4:7] == (
        "sd(g:Intercept)",
        "sd(g:sigma_Intercept)",
        "cor(g:Intercept,sigma_Intercept)",
    )
    found = fit.varcorr.to_frame()
    assert list(found["term"]) == ["Intercept", "sigma_Intercept", "Intercept", "Intercept"]
    assert "Distributional mixed model (gaussian, identity link; mu, sigma)" in str(fit.summary())
    assert "sigma ~ x + (1 | p | g)" in repr(fit)
    assert fit.sigma is None
    assert fit.coef()["g"]["sigma_Intercept"].std() > 0


def test_predictions_are_those_of_each_predictor():
    fit, expected = scale(), predictors(scale())
    link = fit.predict(kind="link")
    assert list(link.columns) == ["mu", "sigma"]
    np.testing.assert_allclose(link, expected, atol=1e-12)
    np.testing.assert_allclose(fit.fitted(), expected[:, 0], atol=1e-12)
    np.testing.assert_allclose(fit.predict(data(), kind="link"), expected, atol=1e-12)
    alone = fit.predict(data().assign(g="new"), kind="link", new_levels="population", re_form="NA")
    beta = fit.fixef.to_numpy()
    np.testing.assert_allclose(alone["sigma"], beta[2] + beta[3] * data()["x"], atol=1e-12)


def test_intervals_of_a_constant_scale_are_those_of_one_predictor():
    """But for how the errors of the mean and of the scale depend on each other in these data, a little."""
    one = lf.fit("y ~ x + (1 | g)", data())
    two = lf.fit({"mu": "y ~ x + (1 | g)", "sigma": "~ 1"}, data(), method="laplace")
    width = (one.predict(interval="confidence")["upper"] - one.fitted()).to_numpy()[:, None]
    expected = one.predict(interval="confidence")
    link = two.predict(interval="confidence", kind="link")
    np.testing.assert_allclose((link["mu"] - expected) / width, 0.0, atol=0.03)
    assert ((link["sigma", "lower"] < np.log(one.sigma)) & (link["sigma", "upper"] > -9)).all()
    alone = two.predict(interval="confidence", kind="link", re_form="NA")["sigma"]
    half = 1.959964 * two.stderr["sigma_Intercept"]
    np.testing.assert_allclose(alone["upper"] - alone["estimate"], half, rtol=1e-4)
    # Quantiles of 4000 draws have an error of about 3 % of a standard deviation.
    drawn = two.predict(interval="prediction", seed=1)
    normal = one.predict(interval="prediction")
    sd = (normal["upper"] - normal["lower"]).to_numpy()[:, None] / (2 * 1.96)
    assert np.abs((drawn - normal) / sd).to_numpy().max() < 0.2
    assert np.abs((drawn - normal) / sd).to_numpy().mean() < 0.04


def test_prediction_intervals_are_as_wide_as_the_rows_own_scale():
    fit = scale()
    found = fit.predict(interval="prediction", seed=2)
    width = (found["upper"] - found["lower"]) / np.exp(predictors(fit)[:, 1])
    assert ((width > 3.6) & (width < 8.0)).all()
    inside = (data()["y"] > found["lower"]) & (data()["y"] < found["upper"])
    assert inside.mean() > 0.93
    new = data().head(3).assign(g="new")
    wide = fit.predict(new, interval="prediction", new_levels="sample", seed=2)
    assert (wide["upper"] - wide["lower"] > (found["upper"] - found["lower"]).head(3)).all()


def test_residuals_take_the_rows_own_scale():
    fit, eta = scale(), predictors(scale())
    standard = (data()["y"] - eta[:, 0]) / np.exp(eta[:, 1])
    np.testing.assert_allclose(fit.residuals("pearson"), standard, atol=1e-10)
    np.testing.assert_allclose(fit.residuals("quantile"), standard, atol=1e-6)


def test_simulated_responses_scatter_by_the_rows_own_scale():
    fit, eta = scale(), predictors(scale())
    drawn = fit.simulate(400, seed=2, re_form=None).to_numpy()
    z = (drawn - eta[:, :1]) / np.exp(eta[:, 1:])
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    # With effects drawn anew the spread of a row's logarithm is that of the effects.
    wide = fit.simulate(400, seed=2).to_numpy()
    assert wide.var() > drawn.var(axis=1).mean()


def test_posterior_draws_have_the_conditional_covariances():
    fit = scale()
    draws = posterior_draws(fit, 4000, seed=1).effects[0]
    sds = np.sqrt(np.diagonal(fit.mode_cov[0], axis1=1, axis2=2))
    np.testing.assert_allclose(draws.std(axis=0), sds, rtol=5 / np.sqrt(2 * 4000))


def test_draws_of_predictions_are_about_the_predictions():
    fit = scale()
    drawn = predict_draws(fit, num_draws=500)
    error = drawn.std(axis=1) / np.sqrt(500)
    assert (np.abs(drawn.mean(axis=1) - fit.fitted()) < 5 * error).all()


def test_a_constant_scale_is_nested_in_one_that_varies():
    small = lf.fit("y ~ x + (1 | g) + (1 | h)", data())
    table = small.anova(scale()).to_frame()
    assert table["Df"].iloc[1] == 3
    assert table["formula"][0] == "y ~ x + (1 | g) + (1 | h)"
    assert table["formula"][1].startswith("y ~ x + (1 | p | g) + (1 | h); sigma ~ ")


def test_a_mean_without_a_column_of_the_other_fit_is_not_nested():
    small = lf.fit("y ~ x + (1 | g) + (1 | h)", data())
    wide = lf.fit({"mu": "y ~ 1 + (1 | g) + (1 | h)", "sigma": "~ x"}, data(), method="laplace")
    assert not _is_nested(small, wide)
    assert _is_nested(small, scale())


@pytest.mark.parametrize("with_rows", [True, False])
@pytest.mark.parametrize("make", [scale, kinds])
def test_files_hold_all_predictors(make, with_rows, tmp_path):
    fit = make()
    again = lf.load(fit.save(tmp_path / "several.fit", data=with_rows))
    assert again.formula == fit.formula
    assert again.param_names == fit.param_names
    assert again.model.family is fit.model.family
    pd.testing.assert_frame_equal(
        again.predict(data(), kind="link"), fit.predict(data(), kind="link")
    )
    new = {"newdata": data(), "seed": 4}
    pd.testing.assert_frame_equal(again.simulate(2, **new), fit.simulate(2, **new))
    if with_rows:
        np.testing.assert_array_equal(again.residuals("quantile"), fit.residuals("quantile"))
        return
    with pytest.raises(ModelError, match="without the rows"):
        again.residuals("quantile")


def test_references_are_those_of_the_family_behind():
    found = {reference.of for reference in scale().references()}
    assert "predictors of several parameters" in found
    assert "Laplace approximation, for likelihood" in found
    assert "categorical responses" in {reference.of for reference in kinds().references()}


def test_a_refit_is_a_fit_to_the_new_response():
    fit = scale()
    drawn = fit.simulate(1, seed=6)["sim_1"]
    again = fit.refit(drawn)
    anew = lf.fit(FORMULAS, data().assign(y=drawn), method="laplace")
    np.testing.assert_allclose(again.param_values, anew.param_values, rtol=1e-4, atol=1e-5)


def test_categories_have_chances():
    fit = kinds()
    assert list(fit.fixef.index) == ["Intercept[b]", "x[b]", "Intercept[c]", "x[c]"]
    assert list(fit.ranef()["term"].unique()) == ["Intercept[b]", "Intercept[c]"]
    chances, link = fit.predict(kind="prob"), fit.predict(kind="link")
    assert list(chances.columns) == ["a", "b", "c"]
    np.testing.assert_allclose(np.log(chances["b"] / chances["a"]), link["b"], atol=1e-10)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)
    # At the maximum the chances of each category add up to how often it is seen.
    seen = data()["kind"].value_counts()[["a", "b", "c"]].to_numpy()
    np.testing.assert_allclose(chances.sum(), seen, rtol=0.05)
    assert set(fit.simulate(1, seed=1)["sim_1"]) == {"a", "b", "c"}
    assert 0.7 < fit.residuals("quantile", seed=1).std() < 1.3
    for kind in ("response", "pearson"):
        with pytest.raises(ModelError, match="have no mean"):
            fit.residuals(kind)


@pytest.mark.parametrize(
    ("formulas", "family", "message"),
    [
        ({"mu": "y ~ x + (1 | g)", "tau": "~ x"}, "gaussian", "no parameter 'tau'(.|\n)*mu, sigma"),
        ({"mu": "count ~ (1 | g)", "shape": "~ x"}, "poisson", "no parameter 'shape'"),
        (
            {"mu": "count ~ (1 | g)", "zi": "~ x", "zero_probability": "~ x"},
            "zero_inflated_poisson",
            "a parameter has several formulas",
        ),
        ({"mu": "kind ~ x + (1 | g)", "b": "~ x"}, "categorical", "Write one formula"),
        ({"mu": "y ~ x + (1 | p | g)"}, "gaussian", "links nothing"),
        ("count ~ x + (1 | g)", "categorical", "needs categories"),
        (
            {"mu": 'y ~ x + (1 | gr(g, dist = "student"))', "sigma": "~ x"},
            "gaussian",
            "Student's t distribution are of models with one",
        ),
    ],
)
def test_models_that_do_not_exist_are_refused(formulas, family, message):
    with pytest.raises(ModelError, match=message):
        lf.fit(formulas, data(), family, method="laplace")
