"""Marginal means on the scale of the response: R's numbers, intervals of predictions, and their names."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.inference.back_transform import back_transform
from tests.prediction.test_mean_intervals import CASES, CODED, MEANS, drawn, salamanders

SCALES = json.loads((Path(__file__).parents[1] / "reference" / "scales.json").read_text("utf-8"))


@cache
def baked(response: str) -> lf.Fit:
    formula = f"{response} ~ recipe + temp + (1 | recipe:replicate)"
    return lf.fit(formula, lf.datasets.load("cake"), reml=True)


def agree(ours: pd.DataFrame, theirs: dict, estimate: str, rtol: float = 3e-5) -> None:
    low = "lower.CL" if "lower.CL" in theirs else "asymp.LCL"
    high = low.replace("lower", "upper").replace("LCL", "UCL")
    columns = {"estimate": estimate, "std_error": "SE", "conf_low": low, "conf_high": high}
    for column, name in columns.items():
        np.testing.assert_allclose(ours[column], np.array(theirs[name], float), rtol=rtol)


WRITTEN = {"1/angle": "I(1/angle)"}


@pytest.mark.parametrize("way", SCALES["transformed"])
def test_transformed_responses_are_brought_back_to_medians(way):
    right = SCALES["transformed"][way]
    means = baked(WRITTEN.get(way, way)).emmeans("recipe", kind="response")
    agree(means.to_frame(), right["means"], "response")
    assert means.scale.startswith("median of angle, from means of ")
    assert "median of angle" in repr(means)
    pairs = means.contrasts(adjust="none")
    if right["pairs"]:
        agree(pairs.to_frame(), right["pairs"], "ratio")
        assert pairs.scale == "ratio of medians"
    else:
        assert pairs.scale.startswith("difference of ")
        assert not pairs.is_response


def test_means_of_a_transformed_response_say_so():
    means = baked("sqrt(angle)").emmeans("recipe")
    assert means.scale == "mean of sqrt(angle)"
    assert means.contrasts().scale == "difference of sqrt(angle)"
    assert means.to_frame()["estimate"][0] == pytest.approx(5.7, abs=0.1)
    assert baked("angle").emmeans("recipe").scale == "mean"
    slope = baked("log(angle)").emmeans("recipe", var="temp")
    assert slope.scale == "slope of log(angle)"


def test_linear_transforms_bring_means_to_means():
    plain = baked("angle").emmeans("recipe").to_frame()
    for written in ("I(angle / 100 - 2)", "I(-(3 - angle))"):
        means = baked(written).emmeans("recipe", kind="response")
        pd.testing.assert_frame_equal(means.to_frame(), plain, rtol=1e-6)
        assert means.scale == "mean of angle"


@pytest.mark.parametrize("written", ["scale(angle)", "I(angle^2)", "I(angle - temp)", "sin(angle)"])
def test_what_cannot_be_brought_back_is_refused(written):
    fit = baked(written)
    with pytest.raises(ModelError, match="cannot be brought back"):
        fit.emmeans("recipe", kind="response")
    assert np.isfinite(fit.emmeans("recipe").to_frame()["estimate"]).all()


def test_a_way_back_undoes_what_was_done():
    y = np.array([0.3, 0.5, 0.9])
    ways = {
        "log(3 * y + 1)": np.log(3 * y + 1),
        "-sqrt(1 / y)": -np.sqrt(1 / y),
        "I((y - 2)^3 / 4)": (y - 2) ** 3 / 4,
        "exp(y)": np.exp(y),
        "I(2^y)": 2**y,
        "expm1(-y)": np.expm1(-y),
        "tanh(atan(sinh(y)))": np.tanh(np.arctan(np.sinh(y))),
        "I(y^-0.5)": y**-0.5,
        "log1p(y)": np.log1p(y),
        "I(1 - y)": 1 - y,
    }
    for text, values in ways.items():
        back = back_transform(lf.parse(f"{text} ~ 1").response.expression, values)
        np.testing.assert_allclose(back.inverse(values), y, rtol=1e-12, err_msg=text)
        assert back.is_linear == (text == "I(1 - y)")
        assert back.log_unit is None
    assert back_transform(lf.parse("I(5 / y) ~ 1").response.expression, np.array([-1.0, 2])) is None


@pytest.mark.parametrize("link", SCALES["ordered"])
def test_ordered_categories_agree_with_clmm(link):
    right = SCALES["ordered"][link]
    wine = lf.datasets.load("wine")
    formula = "rating ~ temp + contact + (1 | judge)"
    fit = lf.fit(formula, wine, f"cumulative({link})", method="laplace")
    latent, mean = fit.emmeans("temp"), fit.emmeans("temp", kind="response")
    # clmm's optimiser stops at a gradient of 1e-4 or so, and its curvature is by differences.
    agree(latent.to_frame(), right["latent"], "emmean", 2e-3)
    agree(latent.contrasts().to_frame(), right["latent_pairs"], "estimate", 2e-3)
    agree(mean.to_frame(), right["class"], "mean.class", 2e-3)
    agree(mean.contrasts().to_frame(), right["class_pairs"], "estimate", 2e-3)
    assert mean.scale == "mean category"
    assert mean.contrasts().scale == "difference of mean categories"
    assert "from the mean of the thresholds" in latent.scale


# Those in whose means own parameters take part, and two in whose they do not; the rest are slow.
FAST = ("zero_inflated_poisson", "hurdle_poisson", "lognormal", "nbinom2", "gamma")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow])
        for name, (formula, _) in CASES.items()
        if isinstance(formula, str)
    ],
)
def test_errors_of_means_are_those_of_glmmtmb_and_of_predictions(name):
    """One model has one interval: that of marginal means is that of predictions of the population."""
    formula, family = CASES[name]
    fit = lf.fit(formula, salamanders(), family, method="laplace")
    means = fit.emmeans("mined", kind="response")
    frame, right = means.to_frame(), MEANS[name]
    np.testing.assert_allclose(frame["estimate"], right["estimate"], rtol=2e-3)
    np.testing.assert_allclose(frame["std_error"], right["std_error"], rtol=1e-2)
    new = pd.DataFrame({"mined": ["no", "yes"]})
    predicted = fit.predict(new, re_form="NA", interval="confidence")
    np.testing.assert_allclose(
        frame[["estimate", "conf_low", "conf_high"]], predicted.to_numpy(), rtol=1e-5
    )
    pairs = means.contrasts()
    if name == "beta":
        assert pairs.scale == "odds ratio"
        return
    # What is called a ratio of means is one.
    assert pairs.scale == "ratio of means"
    ratio = frame["estimate"][0] / frame["estimate"][1]
    assert pairs.to_frame()["estimate"][0] == pytest.approx(ratio, rel=1e-9)


def test_ratios_of_means_with_zeros_of_their_own():
    right = SCALES["ratios"]
    for name in right:
        fit = lf.fit("count ~ mined + (1 | site)", salamanders(), name, method="laplace")
        pairs = fit.emmeans("mined", kind="response").contrasts().to_frame().iloc[0]
        if name == "hurdle_poisson":
            assert np.log(pairs["estimate"]) == pytest.approx(right[name]["log_ratio"], abs=2e-3)
            error = pairs["std_error"] / pairs["estimate"]
            assert error == pytest.approx(right[name]["std_error"], rel=1e-2)
        else:
            assert pairs["estimate"] == pytest.approx(right[name]["ratio"], rel=5e-3)
            assert pairs["std_error"] == pytest.approx(right[name]["SE"], rel=1e-2)


@pytest.mark.parametrize("family", ["cumulative", "acat", "lognormal"])
def test_means_do_not_depend_on_how_the_model_is_written(family):
    """Estimates and errors of categories, too, where a covariate is shifted."""
    response, frame = CODED[family], drawn()
    moved = frame.assign(x=100.0 + frame["x"])
    formulas = f"{response} ~ x + a + (1 | g)", f"{response} ~ x + C(a, Sum) + (1 | g)"
    made = [
        lf.fit(formula, data, family, method="laplace")
        for formula, data in zip(formulas, (frame, moved), strict=True)
    ]
    for kind in ("link", "response"):
        one, two = (fit.emmeans("a", kind=kind) for fit in made)
        for method in (None, "pairwise"):
            left, right = (m if method is None else m.contrasts(method) for m in (one, two))
            columns = ["estimate", "std_error"]
            np.testing.assert_allclose(
                left.to_frame()[columns], right.to_frame()[columns], rtol=2e-3, atol=1e-4
            )


def test_cells_that_are_not_there_have_no_mean_on_any_scale():
    frame = drawn().assign(b=np.array(["s", "t"])[(np.arange(400) // 3) % 2])
    frame = frame[~((frame["a"] == "q") & (frame["b"] == "t"))]
    for family in ("cumulative", "hurdle_poisson"):
        with pytest.warns(UserWarning, match="rank"):
            fit = lf.fit(
                f"{CODED.get(family, 'count')} ~ a * b + (1 | g)", frame, family, method="laplace"
            )
        means = fit.emmeans(["a", "b"], kind="response")
        lost = means.to_frame()["estimate"].isna()
        assert lost.sum() == 1
        pairs = means.contrasts(adjust="none").to_frame()
        assert pairs["estimate"].isna().sum() == 5
        averaged = fit.emmeans("a", kind="response").to_frame()
        assert averaged["estimate"].isna().tolist() == [False, True, False]


def test_a_loaded_fit_brings_back_too(tmp_path):
    fit = lf.load(baked("log(angle)").save(tmp_path / "fit.zip"))
    pd.testing.assert_frame_equal(
        fit.emmeans("recipe", kind="response", ddf="none").to_frame(),
        baked("log(angle)").emmeans("recipe", kind="response", ddf="none").to_frame(),
    )
