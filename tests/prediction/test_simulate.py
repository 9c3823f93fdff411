"""Simulated responses: their moments, their kinds, whose effects they have, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.errors import FormulaDataError, ModelError
from lmeformula.prediction.predictor import linear_predictor, mean_response
from lmeformula.prediction.residuals import observed_mean
from lmeformula.prediction.simulate import responses, sampler_of, simulate, with_drawn
from tests.prediction.families import CASES, LEVELS, ROWS, table, true_fit
from tests.simulate import FORMULAS, frame, marginal_covariance
from tests.store.fits import fitted, new_rows


@pytest.mark.parametrize("name", ["weights", "two columns lead"])
def test_gaussian_responses_have_the_mean_and_covariance_of_the_model(name):
    """5,000 draws: sample moments within 5 standard errors, over 2,700 of them."""
    fit = lf.fit(FORMULAS[name], frame())
    design = fit.model.design
    draws = np.array(list(responses(sampler_of(fit), 5_000, 5)))
    mean = design.X @ fit.params.beta + design.offset
    covariance = marginal_covariance(design, fit.params)
    spread = np.sqrt(np.diag(covariance))
    assert (np.abs(draws.mean(0) - mean) < 5 * spread / np.sqrt(5_000)).all()
    # The variance of a sample covariance: (V_ij^2 + V_ii V_jj) / m.
    error = np.sqrt((covariance**2 + np.outer(spread, spread) ** 2) / 5_000)
    assert (np.abs(np.cov(draws.T) - covariance) < 5 * error).all()


@pytest.mark.parametrize("name", CASES)
def test_at_the_modes_responses_have_the_family_s_mean(name):
    """40 draws of 2,000 rows, summed over rows and over a covariate: within 5 of their own standard errors."""
    fit = true_fit(name)
    design = fit.model.design
    sampler = sampler_of(fit)._replace(kept=(True,))
    found = []
    for drawn in responses(sampler, 40, 3):
        observed, _ = observed_mean(fit.model.family, with_drawn(fit, drawn))
        found.append(observed)
    apart = np.array(found) - mean_response(fit, linear_predictor(fit, design))
    for weights in (np.ones(ROWS), design.X[:, -1]):
        sums = apart @ weights
        error = np.sqrt((apart.var(axis=0) * weights**2).sum() / len(sums))
        assert abs(sums.mean()) < 5 * error


@pytest.mark.parametrize("name", CASES)
def test_responses_are_of_the_kind_of_the_data_and_can_be_refitted(name):
    fit = true_fit(name)
    column = fit.simulate(2, seed=4)["sim_2"]
    formula, _ = CASES[name]
    given = table()[formula.replace("cbind(", "").split()[0].strip(",")]
    if isinstance(column.dtype, pd.CategoricalDtype):
        assert set(column.cat.categories) == {str(value) for value in given}
        assert column.cat.ordered == (name in ("cumulative", "sratio", "acat"))
    else:
        assert column.dtype == (bool if given.dtype == bool else float)
    again = fit.refit(column)
    assert again.converged
    stored = again.model.design.response.values
    if stored.ndim == 2:
        np.testing.assert_array_equal(stored.sum(axis=1), table()["size"])
        stored = stored[:, 0]
    if not isinstance(column.dtype, pd.CategoricalDtype):
        np.testing.assert_array_equal(stored, column.astype(float))
    else:
        levels = np.array(again.model.design.response.levels)
        np.testing.assert_array_equal(levels[stored.astype(int)], column.astype(str))
    # Drawn with an sd of 0.7 between 25 levels, whose estimate is off by a seventh; 4 of these and the bias.
    sd = float(np.sqrt(again.params.covariances[0][0, 0]))
    assert 0.25 < sd < 1.2


@pytest.mark.parametrize("kind", [bool, int])
def test_a_binomial_response_may_be_yes_and_no(kind):
    """Without trials or weights each row is one trial: drawn alike, refitted and checked."""
    chances = np.tile([0.2, 0.9, 0.7, 0.4, 0.8, 0.3], 10)
    drawn = np.random.default_rng(1).random(60) < chances
    data = {"b": drawn.astype(kind), "g": list("abcdef") * 10}
    fit = lf.fit("b ~ 1 + (1 | g)", data, "binomial", method="laplace")
    column = fit.simulate(1)["sim_1"]
    assert column.dtype == (bool if kind is bool else float)
    assert set(column) <= {0, 1}
    assert fit.refit(column).nobs == 60
    assert not fit.check().findings


def test_first_draws_do_not_depend_on_their_number():
    fit = fitted("poisson")
    few, many = fit.simulate(2, seed=8), fit.simulate(5, seed=8)
    pd.testing.assert_frame_equal(many[["sim_1", "sim_2"]], few)
    assert not fit.simulate(2, seed=9).equals(few)
    assert not few["sim_1"].equals(few["sim_2"])


def spread_between(fit: lf.Fit, group: str, **options: object) -> float:
    """Variance over draws of the mean of the first level's rows."""
    draws = fit.simulate(400, seed=2, **options).to_numpy()
    rows = np.flatnonzero(fit.model.design.terms[0 if group == "g" else 1].index == 0)
    return float(draws[rows].mean(axis=0).var())


def test_effects_are_kept_by_formula():
    """The mean of a level's rows varies with its effect where that is drawn, and by 1/rows where it is kept.

    A variance from 400 draws has a relative error of sqrt(2 / 400) = 0.07.
    """
    data = table()
    fit = lf.fit("y ~ x + (1 | g) + (1 | h)", data)
    params = fit.params._replace(
        covariances=(np.array([[4.0]]), np.array([[9.0]])), own=np.array([0.1])
    )
    fit = replace(fit, params=params)
    drawn = {
        re_form: (
            spread_between(fit, "g", re_form=re_form),
            spread_between(fit, "h", re_form=re_form),
        )
        for re_form in ("NA", None, "~ (1 | g)", "~ (1 | h)", "~ 0")
    }
    within = 0.01 / (ROWS / LEVELS)
    assert drawn[None][0] == pytest.approx(within, rel=0.3)
    of_h = np.array([np.mean(data["h"][data["g"] == "g0"] == f"h{i}") for i in range(10)])
    of_g = np.array([np.mean(data["g"][data["h"] == "h0"] == f"g{i}") for i in range(LEVELS)])
    from_h, from_g = 9.0 * (of_h**2).sum(), 4.0 * (of_g**2).sum()
    assert drawn["NA"][0] == pytest.approx(4.0 + from_h, rel=0.3)
    assert drawn["NA"] == drawn["~ 0"]
    assert drawn["~ (1 | g)"][0] == pytest.approx(from_h, rel=0.3)
    assert drawn["~ (1 | h)"][0] == pytest.approx(4.0, rel=0.3)
    assert drawn["~ (1 | h)"][1] == pytest.approx(from_g, rel=0.3)


def test_rows_of_a_new_level_share_its_effect():
    fit = lf.fit("y ~ x + (x | g)", frame())
    covariance = np.array([[4.0, 0.0], [0.0, 1e-12]])
    fit = replace(fit, params=fit.params._replace(covariances=(covariance,), own=np.array([1e-6])))
    new = {"x": np.zeros(5), "g": [1000, 2000, 1000, 3, 2000]}
    draws = fit.simulate(300, newdata=new, seed=3).to_numpy()
    np.testing.assert_allclose(draws[[0, 1]], draws[[2, 4]], atol=1e-4)
    # Variances of 4 from 300 draws, and covariances of 0: within 5 standard errors.
    covariances = np.cov(draws[[0, 1, 3]])
    np.testing.assert_allclose(covariances, 4.0 * np.eye(3), atol=5 * 4.0 * np.sqrt(2 / 300))
    with pytest.raises(FormulaDataError, match="4 new rows have levels that the fit has not seen"):
        fit.simulate(newdata=new, re_form=None)
    population = fit.simulate(3, newdata=new, re_form=None, new_levels="population").to_numpy()
    np.testing.assert_allclose(population[0], fit.params.beta[0], atol=1e-4)
    sampled = fit.simulate(300, newdata=new, re_form=None, new_levels="sample").to_numpy()
    np.testing.assert_allclose(sampled[3], fit.params.beta[0] + fit.modes[0][3, 0], atol=1e-4)
    assert sampled[0].var() == pytest.approx(4.0, rel=5 * np.sqrt(2 / 300))


@pytest.mark.parametrize(
    "name", ["exact", "bernoulli", "poisson", "cumulative", "gamma", "nbinom2"]
)
def test_a_fit_that_never_saw_the_data_simulates_new_rows(name, tmp_path):
    fit = fitted(name)
    loaded = lf.load(fit.save(tmp_path / "fit.zip"))
    new = new_rows(name)
    pd.testing.assert_frame_equal(
        loaded.simulate(4, newdata=new, seed=2), fit.simulate(4, newdata=new, seed=2)
    )
    with pytest.raises(ModelError, match="loaded without the rows"):
        loaded.simulate()


def test_incomplete_new_rows_are_missing():
    new = {"x": [0.0, np.nan, 1.0], "g": ["g0", "g1", None]}
    counts = fitted("poisson").simulate(newdata=new)["sim_1"]
    assert counts.isna().tolist() == [False, True, True]
    words = fitted("cumulative").simulate(newdata=new)["sim_1"]
    assert words.isna().tolist() == [False, True, True]
    truth = fitted("bernoulli").simulate(newdata=new)["sim_1"]
    assert truth.isna().tolist() == [False, True, True]
    assert str(truth.dtype) == "boolean"


def test_trials_come_with_the_new_rows():
    fit = fitted("binomial")
    new = pd.DataFrame({"x": [0.0, 0.0], "g": ["g0", "g1"], "k": [0, 0], "m": [1000, 10]})
    draws = fit.simulate(50, newdata=new).to_numpy()
    assert draws[0].max() > 100
    assert draws[1].max() <= 10
    with pytest.raises(FormulaDataError, match="'k'"):
        fit.simulate(newdata=new[["x", "g"]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n is 0"),
        ({"n": True}, "n is True"),
        ({"new_levels": "guess"}, "new_levels is 'guess'"),
        ({"re_form": "all"}, "re_form is 'all'"),
        ({"re_form": "~ (1 | h)"}, r"no random-effects term \(1 \| h\)\nIt has \(1 \| g\)"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ModelError, match=message):
        simulate(fitted("poisson"), **options)
