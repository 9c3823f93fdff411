"""Errors of mean responses and chances: R's numbers, one interval for one model, and coverage by simulation."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.special

import lmeformula as lf
from lmeformula.errors import ModelError

MEANS = json.loads((Path(__file__).parents[1] / "reference" / "means.json").read_text("utf-8"))[
    "means"
]
# A narrow interval is not cut off at a bound, and tells the standard error as well.
LEVEL = 0.1
Z = scipy.special.ndtri(0.55)


@cache
def salamanders() -> pd.DataFrame:
    frame = lf.datasets.load("Salamanders")
    count = frame["count"]
    return frame.assign(
        mined=pd.Categorical(frame["mined"], ["no", "yes"]),
        amount=(1 + count) * np.exp(0.3 * frame["DOY"]),
        share=(0.5 + count) / (1 + count.max()),
        weight=count * np.exp(0.3 * frame["DOY"]),
    )


COUNT = "count ~ mined + (1 | site)"
CASES = {
    "zero_inflated_poisson": (COUNT, "zero_inflated_poisson"),
    "zero_inflated_nbinom2": (COUNT, "zero_inflated_nbinom2"),
    "hurdle_poisson": (COUNT, "hurdle_poisson"),
    "hurdle_nbinom2": (COUNT, "hurdle_nbinom2"),
    "zero_inflated_poisson_zi": ({"mu": COUNT, "zi": "~ mined"}, "zero_inflated_poisson"),
    "nbinom2_dispersion": ({"mu": COUNT, "shape": "~ mined"}, "nbinom2"),
    "nbinom2": (COUNT, "nbinom2"),
    "nbinom1": (COUNT, "nbinom1"),
    "gamma": ("amount ~ mined + (1 | site)", "gamma"),
    "beta": ("share ~ mined + (1 | site)", "beta"),
    "tweedie": ("weight ~ mined + (1 | site)", "tweedie"),
    "lognormal": ("amount ~ mined + (1 | site)", "lognormal"),
}
NEW = pd.DataFrame({"mined": ["no", "yes"]})


@pytest.mark.parametrize("name", CASES)
def test_errors_of_means_are_those_of_glmmtmb(name):
    formula, family = CASES[name]
    fit = lf.fit(formula, salamanders(), family, method="laplace")
    found = fit.predict(NEW, re_form="NA", interval="confidence", level=LEVEL)
    mean = found["estimate"].to_numpy()
    ends = found[["lower", "upper"]].to_numpy()
    if name == "beta":
        errors = np.diff(scipy.special.logit(ends))[:, 0] * mean * (1 - mean) / (2 * Z)
    else:
        errors = np.diff(np.log(ends))[:, 0] * mean / (2 * Z)
    # Optimisers of both; glmmTMB's curvature is exact, its estimates end at a gradient of about 1e-3.
    np.testing.assert_allclose(mean, MEANS[name]["estimate"], rtol=2e-3)
    np.testing.assert_allclose(errors, MEANS[name]["std_error"], rtol=1e-2)


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_errors_of_chances_and_mean_categories_are_those_of_emmeans(link):
    right = MEANS[f"cumulative_{link}"]
    wine = lf.datasets.load("wine")
    fit = lf.fit(
        "rating ~ temp + contact + (1 | judge)", wine, f"cumulative({link})", method="laplace"
    )
    new = pd.DataFrame({"temp": ["cold", "warm"], "contact": "no"})
    given = {"newdata": new, "re_form": "NA", "interval": "confidence", "level": LEVEL}
    found = fit.predict(**given)
    errors = (found["upper"] - found["lower"]) / (2 * Z)
    np.testing.assert_allclose(found["estimate"], right["estimate"], rtol=1e-3)
    np.testing.assert_allclose(errors, right["std_error"], rtol=1e-2)
    each = fit.predict(kind="prob", **given)
    assert list(each.columns.get_level_values(0).unique()) == ["1", "2", "3", "4", "5"]
    order = np.array(right["chances"]["estimate"]).reshape(5, 2).T
    np.testing.assert_allclose(each.xs("estimate", axis=1, level=1), order, rtol=2e-2, atol=1e-4)
    width = each.xs("upper", axis=1, level=1) - each.xs("lower", axis=1, level=1)
    order = np.array(right["chances"]["std_error"]).reshape(5, 2).T
    np.testing.assert_allclose(width / (2 * Z), order, rtol=2e-2)


def test_errors_of_chances_by_stopping_ratios_are_those_of_their_steps():
    wine = lf.datasets.load("wine")
    fit = lf.fit("rating ~ temp + (1 | judge)", wine, "sratio", method="laplace")
    for temp, right in zip(("cold", "warm"), MEANS["sratio"], strict=True):
        # In glmmTMB's steps the effect of the temperature makes stopping likelier, and here passing.
        new = pd.DataFrame({"temp": [temp]})
        given = {"newdata": new, "re_form": "NA", "interval": "confidence", "level": LEVEL}
        each = fit.predict(kind="prob", **given).to_numpy().reshape(5, 3)
        np.testing.assert_allclose(each[:, 0], right["chances"]["estimate"], rtol=2e-3)
        np.testing.assert_allclose(
            (each[:, 2] - each[:, 1]) / (2 * Z), right["chances"]["std_error"], rtol=1e-2
        )
        mean = fit.predict(**given).to_numpy()[0]
        assert (mean[2] - mean[1]) / (2 * Z) == pytest.approx(right["mean"]["std_error"], rel=1e-2)


@cache
def drawn() -> pd.DataFrame:
    """400 rows of 20 levels, and a response for each kind of family."""
    r = np.random.default_rng(21)
    g, x = np.repeat(np.arange(20), 20), r.normal(size=400)
    a = np.array(["p", "q", "r"])[np.arange(400) % 3]
    eta = 0.6 * x + r.normal(0, 0.7, 20)[g] + 0.4 * (a == "q")
    codes = np.digitize(eta + r.logistic(size=400), [-1.0, 0.3, 1.5])
    count = r.poisson(np.exp(0.8 + 0.5 * eta)) * (r.random(400) > 0.25)
    kind = np.array(["u", "v", "w"])[
        np.argmax(np.column_stack([np.zeros(400), eta, 0.5 * eta]) + r.gumbel(size=(400, 3)), 1)
    ]
    size = r.integers(3, 9, 400)
    return pd.DataFrame(
        {
            "g": [f"g{i}" for i in g],
            "x": x,
            "a": a,
            "rating": pd.Categorical.from_codes(codes, ["l", "m", "n", "o"], ordered=True),
            "count": count,
            "kind": pd.Categorical(kind),
            "size": size,
            "k": r.binomial(size, scipy.special.expit(eta * r.normal(1, 0.1, 400))),
            "time": np.exp(eta + 0.5 * r.normal(size=400)),
            "y": eta + r.standard_t(4, size=400),
        }
    )


CODED = {
    "cumulative": "rating",
    "cumulative(probit, thresholds=equidistant)": "rating",
    "cumulative(cloglog, thresholds=symmetric)": "rating",
    "sratio": "rating",
    "cratio(cloglog)": "rating",
    "acat": "rating",
    "categorical": "kind",
    "zero_inflated_poisson": "count",
    "hurdle_nbinom2": "count",
    "lognormal": "time",
    "student": "y",
    "tweedie": "time",
    "beta_binomial": "k | trials(size)",
    "poisson": "count",
}


SLOW = ("tweedie", "beta_binomial", "student", "cumulative(cloglog, thresholds=symmetric)")


@pytest.mark.parametrize(
    "family",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in CODED],
)
def test_one_model_has_one_interval_however_it_is_written(family):
    """A covariate shifted and in other units, other contrasts, cells in place of an interaction."""
    response, frame = CODED[family], drawn()
    base = lf.fit(f"{response} ~ x + a + (1 | g)", frame, family, method="laplace")
    moved = frame.assign(x=100.0 + frame["x"], z=0.001 * frame["x"])
    others = [
        (lf.fit(f"{response} ~ x + a + (1 | g)", moved, family, method="laplace"), moved),
        (lf.fit(f"{response} ~ z + C(a, Sum) + (1 | g)", moved, family, method="laplace"), moved),
    ]
    kinds = ["prob"] if family == "categorical" else ["response"]
    kinds += ["prob"] if response == "rating" else []
    for fit, data in others:
        for kind in kinds:
            for re_form in (None, "NA"):
                given = {"interval": "confidence", "kind": kind, "re_form": re_form}
                right = base.predict(frame.iloc[:40], **given).to_numpy()
                found = fit.predict(data.iloc[:40], **given).to_numpy()
                # What two ascents of one likelihood leave, in standard errors.
                width = np.maximum(np.ptp(right.reshape(40, -1, 3)[:, :, 1:], axis=2), 1e-12)
                off = np.abs(found - right).reshape(40, -1, 3).max(axis=2) / width
                assert off.max() < 5e-3, (kind, re_form)


@pytest.mark.parametrize("family", ["cumulative", "zero_inflated_poisson", "poisson"])
def test_cells_and_an_interaction_have_the_same_intervals(family):
    frame = drawn().assign(b=np.array(["s", "t"])[(np.arange(400) // 3) % 2])
    response = CODED[family]
    # Thresholds take the place of an intercept: cells are told from the first one.
    cells = "0 + a:b" if family != "cumulative" else "a:b"
    one = lf.fit(f"{response} ~ a*b + (1 | g)", frame, family, method="laplace")
    two = lf.fit(f"{response} ~ {cells} + (1 | g)", frame, family, method="laplace")
    assert two.loglik.value == pytest.approx(one.loglik.value, abs=1e-5)
    right, found = (
        fit.predict(frame.iloc[:12], interval="confidence", re_form="NA") for fit in (one, two)
    )
    np.testing.assert_allclose(found, right, rtol=1e-4)


@pytest.mark.parametrize("family", ["cumulative", "acat"])
def test_the_error_of_thresholds_is_not_that_of_their_origin(family):
    """Prediction intervals and averages, too, do not depend on where a covariate has its zero."""
    frame = drawn()
    moved = frame.assign(x=frame["x"] + 100.0)
    fits = [
        (lf.fit("rating ~ x + (1 | g)", data, family, method="laplace"), data)
        for data in (frame, moved)
    ]
    averages = [fit.predict(data.iloc[:50], averaged=True, kind="prob") for fit, data in fits]
    np.testing.assert_allclose(averages[1], averages[0], atol=2e-4)
    link = [fit.predict(data.iloc[:50], interval="confidence", kind="link") for fit, data in fits]
    widths = [(found["upper"] - found["lower"]).to_numpy() for found in link]
    np.testing.assert_allclose(widths[1], widths[0], rtol=2e-3)
    ends = [fit.predict(data.iloc[:50], interval="prediction", seed=3) for fit, data in fits]
    # Quantiles of draws are categories: few are on an edge.
    assert (np.abs(ends[1] - ends[0])[["lower", "upper"]].to_numpy() > 1e-9).mean() < 0.05


def test_a_parameter_at_its_boundary_adds_nothing():
    """Where a parameter has no standard error the interval is that with the parameter known."""
    from dataclasses import replace

    fit = lf.fit("count ~ x + (1 | g)", drawn(), "zero_inflated_poisson", method="laplace")
    vcov = np.array(fit.param_vcov)
    vcov[-1], vcov[:, -1] = np.nan, np.nan
    held = replace(fit, param_vcov=vcov).predict(interval="confidence", re_form="NA")
    free = fit.predict(interval="confidence", re_form="NA")
    assert np.isfinite(held.to_numpy()).all()
    eta_sd = fit.predict(interval="confidence", re_form="NA", kind="link")
    ratio = np.log(held["upper"] / held["estimate"])
    X, C = fit.model.design.X, fit.fixed_vcov
    right = 1.959964 * np.sqrt(np.einsum("ni,ij,nj->n", X, C, X))
    np.testing.assert_allclose(ratio, right, rtol=1e-6)
    assert not np.allclose(held, free)
    assert len(eta_sd) == len(held)


def test_chances_have_no_prediction_intervals():
    fit = lf.fit("rating ~ x + (1 | g)", drawn(), "cumulative", method="laplace")
    with pytest.raises(ModelError, match="no chance of its own"):
        fit.predict(kind="prob", interval="prediction")
    with pytest.raises(ModelError, match="kind is 'prob'"):
        lf.fit("count ~ x + (1 | g)", drawn(), "poisson", method="laplace").predict(
            kind="prob", interval="confidence"
        )


def test_an_average_over_new_levels_is_the_same_with_an_interval():
    fit = lf.fit("count ~ x + (1 | g)", drawn(), "poisson", method="laplace")
    new = pd.DataFrame({"x": [0.0, 1.0, np.nan], "g": ["new", "g1", "g1"]})
    plain = fit.predict(new, new_levels="sample")
    frame = fit.predict(new, new_levels="sample", interval="confidence")
    np.testing.assert_allclose(frame["estimate"], plain)


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", ["cumulative", "sratio", "categorical", "zero_inflated_poisson", "lognormal"]
)
def test_population_intervals_cover_by_simulation(family):
    """Means and chances without effects at the truth's parameters, 300 data sets of 40 levels of 10 rows."""
    r = np.random.default_rng(77)
    response = CODED[family]
    g, n = np.repeat(np.arange(40), 10), 400
    new = pd.DataFrame({"x": [-1.0, 0.0, 1.5]})
    kind = "response" if family in ("zero_inflated_poisson", "lognormal") else "prob"
    covered = []
    for _ in range(300):
        x, b = r.normal(size=n), r.normal(0, 0.6, 40)[g]
        eta, at = 0.5 * x + b, 0.5 * new["x"].to_numpy()
        truth, values = _truth(family, eta, at, r)
        frame = pd.DataFrame({"x": x, "g": [f"g{i}" for i in g], response: values})
        fit = lf.fit(f"{response} ~ x + (1 | g)", frame, family, method="laplace")
        found = fit.predict(new, re_form="NA", interval="confidence", kind=kind)
        each = found.to_numpy().reshape(3, -1, 3)
        covered.append(((each[:, :, 1] <= truth) & (truth <= each[:, :, 2])).mean())
    error = np.std(covered, ddof=1) / np.sqrt(len(covered))
    # Normal quantiles and a variance of 40 levels: a point or so below.
    assert abs(np.mean(covered) - 0.95) < 4 * error + 0.01


def _truth(family, eta, at, r):
    """(3, c) means or chances, and responses."""
    n = len(eta)
    if family == "cumulative":
        cut = np.array([-1.0, 0.3, 1.5])
        below = scipy.special.expit(cut - at[:, None])
        chances = np.diff(np.column_stack([np.zeros(3), below, np.ones(3)]))
        return chances, pd.Categorical(np.digitize(eta + r.logistic(size=n), cut), ordered=True)
    if family == "sratio":
        cut = np.array([-1.0, 0.0, 0.5])
        stops = scipy.special.expit(cut - at[:, None])
        passed = np.cumprod(np.column_stack([np.ones(3), 1 - stops]), axis=1)
        chances = passed * np.column_stack([stops, np.ones(3)])
        stop = r.random((n, 3)) < scipy.special.expit(cut - eta[:, None])
        codes = np.where(stop.any(axis=1), stop.argmax(axis=1), 3)
        return chances, pd.Categorical(codes, ordered=True)
    if family == "categorical":
        logits = np.column_stack([np.zeros(3), 0.3 + at, -at])
        # An effect for each category: the one drawn is the second one's, the third's is its half.
        each = np.column_stack([np.zeros(n), 0.3 + eta, -eta])
        kinds = np.argmax(each + r.gumbel(size=(n, 3)), axis=1)
        return scipy.special.softmax(logits, axis=1), pd.Categorical(np.array(list("uvw"))[kinds])
    if family == "lognormal":
        return np.exp(at + 0.5 * 0.64)[:, None], np.exp(eta + 0.8 * r.normal(size=n))
    count = r.poisson(np.exp(0.8 + eta)) * (r.random(n) > 0.3)
    return (0.7 * np.exp(0.8 + at))[:, None], count
