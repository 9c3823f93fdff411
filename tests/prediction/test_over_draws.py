"""What comes after a fit by draws: averages and quantiles over them, or a refusal in words."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import lmeformula as lf
from tests.drawn import SCHOOLS
from tests.drawn import few_schools as schools

NEW = {"school": ["A", "Z"], "w": [0.01, 0.01]}


def theta() -> np.ndarray:
    """(400, 8) the schools' means at each draw."""
    draws = schools().draws
    return (draws.values[:, :, :1] + draws.effects[0][:, :, :, 0]).swapaxes(0, 1).reshape(-1, 8)


def test_predictions_are_means_over_draws():
    fit = schools()
    assert fit.fitted().to_numpy() == pytest.approx(theta().mean(axis=0))
    assert fit.residuals().to_numpy() == pytest.approx(SCHOOLS["y"] - theta().mean(axis=0))
    alone = fit.predict(NEW, re_form="NA")
    assert alone.to_numpy() == pytest.approx(np.full(2, fit.fixef["Intercept"]))
    assert fit.predict(NEW, new_levels="population")[1] == pytest.approx(fit.fixef["Intercept"])


def test_intervals_are_quantiles_of_draws():
    fit = schools()
    found = fit.predict(interval="confidence", level=0.9).to_numpy()
    ends = np.quantile(theta(), [0.05, 0.95], axis=0)
    assert found[:, 1:] == pytest.approx(ends.T)
    # A level that is unseen has the spread of the levels besides.
    new = fit.predict(NEW, interval="confidence", new_levels="sample")
    values = fit.draws.values.reshape(-1, 2)
    spread = np.sqrt(values[:, 0].var() + (values[:, 1] ** 2).mean())
    random = np.random.default_rng(0)
    drawn = values[:, 0] + values[:, 1] * random.normal(size=(200, len(values)))
    low, high = np.quantile(drawn, [0.025, 0.975])
    error = 4.5 * 3.0 * spread / np.sqrt(len(values))
    assert new["lower"][1] == pytest.approx(low, abs=error)
    assert new["upper"][1] == pytest.approx(high, abs=error)


def test_responses_have_the_residual_besides():
    fit = schools()
    found = fit.predict(interval="prediction", level=0.5)
    narrow = fit.predict(interval="confidence", level=0.5)
    assert (found["upper"] - found["lower"] > narrow["upper"] - narrow["lower"]).all()
    drawn = fit.simulate(400, seed=3, re_form=None).to_numpy()
    spread = np.sqrt(theta().var(axis=0) + 1.0 / SCHOOLS["w"])
    mean = theta().mean(axis=0)
    assert (np.abs(drawn.mean(axis=1) - mean) < 4.5 * spread / np.sqrt(400)).all()
    few, many = fit.simulate(2, seed=3), fit.simulate(3, seed=3)
    assert np.array_equal(few, many.iloc[:, :2])


def test_draws_are_handed_on():
    frame = schools().predict(kind="draws", num_draws=50)
    assert frame.shape == (8, 50)
    assert list(schools().ranef()["level"]) == list("ABCDEFGH")


@pytest.mark.parametrize("kind", ["pearson", "quantile"])
def test_residuals_are_means_over_draws(kind):
    found = schools().residuals(kind)
    assert np.isfinite(found).all()
    assert np.corrcoef(found, schools().residuals())[0, 1] > 0.9


def test_summaries_are_those_of_a_posterior():
    fit = schools()
    text = " ".join(str(fit.summary()).split())
    assert "posterior distribution, by the no-U-turn sampler, 4 chains of 100 draws" in text
    assert "Intercept ~ normal(0, 5); sd(school) ~ half_cauchy(0, 5)" in text
    assert "R-hat" in text
    assert " p " not in text
    table = fit.tidy(level=0.9)
    assert {"median", "rhat", "ess_bulk", "ess_tail"} <= set(table.columns)
    assert "p_value" not in table
    values = fit.draws.values.reshape(-1, 2)
    assert table["conf_low"].to_numpy() == pytest.approx(np.quantile(values, 0.05, axis=0))
    assert fit.confint(level=0.9)["lower"].to_numpy() == pytest.approx(table["conf_low"])
    assert fit.glance()["divergences"].item() == 0
    assert "posterior distribution" in repr(fit)
    assert "R-hat" in str(fit.diagnostics.certificate)
    assert "Hoffman" in str(fit.references())


REFUSED = {
    "aic": lambda fit: fit.aic,
    "logLik": lambda fit: lf.logLik(fit),
    "anova": lambda fit: fit.anova(),
    "profile": lambda fit: fit.profile(),
    "drop1": lambda fit: fit.drop1(),
    "joint_tests": lambda fit: fit.joint_tests(),
    "refit": lambda fit: fit.refit(SCHOOLS["y"]),
    "check": lambda fit: fit.check(),
    "cross_validate": lambda fit: fit.cross_validate(),
    "compare": lambda fit: lf.compare(fit, fit),
    "table": lambda fit: lf.table(fit),
    "boot": lambda fit: fit.confint("boot"),
    "ddf": lambda fit: fit.tidy(ddf="satterthwaite"),
    "trace": lambda fit: fit.plot.trace(),
    "include": lambda fit: fit.predict(interval="confidence", include=["parameters"]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_of_single_estimates_is_refused_in_words(what):
    with pytest.raises(lf.ModelError, match=r"draws|nuts"):
        REFUSED[what](schools())


def test_a_fit_by_draws_is_saved_and_pickled(tmp_path):
    fit = schools()
    path = fit.save(tmp_path / "schools.zip", data=True)
    for again in (lf.load(path), pickle.loads(pickle.dumps(fit))):
        assert np.array_equal(again.draws.psi, fit.draws.psi)
        assert again.draws.stats.diverging.shape == (4, 100)
        assert str(again.summary()) == str(fit.summary())
        assert again.predict({"school": ["B"]})[0] == fit.predict({"school": ["B"]})[0]


def test_arviz_gets_draws_warm_up_and_statistics():
    fit = schools()
    data = fit.to_arviz(num_draws=100)
    assert data["posterior"]["sd(school)"].shape == (4, 100)
    assert data["posterior"]["Intercept|school"].shape == (4, 100, 8)
    assert data["warmup_posterior"]["Intercept"].shape == (4, 100)
    assert not data["sample_stats"]["diverging"].any()
    assert data["sample_stats"]["tree_depth"].min() >= 1
    found = data["log_likelihood"]["y"].to_numpy()
    means = fit.draws.values[:, :, :1] + fit.draws.effects[0][:, :, :, 0]
    sd = 1.0 / np.sqrt(SCHOOLS["w"].to_numpy())
    expected = -0.5 * ((SCHOOLS["y"].to_numpy() - means) / sd) ** 2
    expected -= np.log(sd) + 0.5 * np.log(2.0 * np.pi)
    assert found == pytest.approx(expected)
    assert data["posterior_predictive"]["y"].shape == (4, 25, 8)
    assert data["observed_data"]["y"].to_numpy() == pytest.approx(SCHOOLS["y"])
