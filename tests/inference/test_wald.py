"""Wald intervals: the scales they are taken on, their algebra, and what is said at a boundary."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.inference.tidy import tidy
from lmeformula.inference.wald import wald_interval
from lmeformula.prediction.parameters import Parameter, parameters
from tests.prediction.fakes import STDERR, fake_fit

Q = float(norm.ppf(0.975))
FREE, POSITIVE = (-math.inf, math.inf), (0.0, math.inf)


def parameter(estimate: float, std_error: float, bounds: tuple[float, float]) -> Parameter:
    return Parameter("p", "any", "g", "x", estimate, std_error, 0.0, bounds)


# By hand: estimate -/+ q se; estimate exp(-/+ q se / estimate); tanh(atanh(r) -/+ q se / (1 - r^2)); and for
# correlations above -1/2, with z = log((r + 1/2) / (1 - r)) / 2 and dz/dr = 3/4 / ((r + 1/2)(1 - r)).
CASES = {
    "fixed effect": (0.9, 0.1, FREE, (0.9 - Q * 0.1, 0.9 + Q * 0.1)),
    "sd": (0.3, 0.15, POSITIVE, (0.3 * math.exp(-Q / 2), 0.3 * math.exp(Q / 2))),
    "correlation": (
        -0.6,
        0.3,
        (-1.0, 1.0),
        tuple(math.tanh(math.atanh(-0.6) + s * Q * 0.3 / 0.64) for s in (-1, 1)),
    ),
    "compound symmetry of three": (
        0.25,
        0.1,
        (-0.5, 1.0),
        tuple(
            0.25 + 0.75 * math.tanh(0.5 * math.log(0.75 / 0.75) + s * Q * 0.1 * 0.75 / 0.5625)
            for s in (-1, 1)
        ),
    ),
    "fixed effect of no variance": (0.9, 0.0, FREE, (math.nan, math.nan)),
    "sd at zero": (0.0, math.nan, POSITIVE, (0.0, math.nan)),
    "sd without standard error": (0.3, math.nan, POSITIVE, (math.nan, math.nan)),
    "correlation at one": (1.0, 0.2, (-1.0, 1.0), (math.nan, math.nan)),
    "hopeless sd": (1e-3, 1e3, POSITIVE, (0.0, math.inf)),
}


@pytest.mark.parametrize("case", CASES)
def test_intervals_by_hand(case):
    estimate, std_error, bounds, expected = CASES[case]
    found = wald_interval(parameter(estimate, std_error, bounds), Q)
    if case == "hopeless sd":
        assert found[0] < 1e-100
        assert found[1] > 1e100
    else:
        assert found == pytest.approx(expected, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("std_error", [0.01, 0.3, 5.0, 1e4])
@pytest.mark.parametrize(("estimate", "low"), [(0.98, -1.0), (-0.4, -0.5), (0.0, -1.0)])
def test_correlations_stay_within_their_bounds(estimate, low, std_error):
    lower, upper = wald_interval(parameter(estimate, std_error, (low, 1.0)), Q)
    assert low <= lower < estimate < upper <= 1.0


def test_bounds_follow_the_structure():
    bounds = {p.name: p.bounds for p in parameters(fake_fit())}
    assert bounds["x"] == FREE
    assert bounds["sd(h)"] == bounds["sigma"] == POSITIVE
    assert bounds["cor(g:Intercept,x)"] == (-1.0, 1.0)


def test_confint_is_a_frame_of_all_parameters_or_of_some():
    fit = fake_fit()
    frame = fit.confint(ddf="none")
    assert list(frame) == ["parameter", "estimate", "lower", "upper", "note"]
    assert tuple(frame["parameter"]) == fit.param_names
    some = fit.confint(parm=["sigma", "x"], ddf="none")
    assert list(some["parameter"]) == ["sigma", "x"]
    assert some["lower"][1] == pytest.approx(0.9 - Q * 0.1)
    assert fit.confint(parm="x", level=0.5, ddf="none")["upper"][0] == pytest.approx(
        0.9 + float(norm.ppf(0.75)) * 0.1
    )


def test_tidy_has_the_same_intervals():
    fit = fake_fit()
    for ddf in ("auto", "none", "satterthwaite"):
        assert np.array_equal(tidy(fit, ddf=ddf)["conf_low"], fit.confint(ddf=ddf)["lower"])
        assert np.array_equal(tidy(fit, ddf=ddf)["conf_high"], fit.confint(ddf=ddf)["upper"])


def test_a_word_at_the_boundary():
    stderr = np.where(np.arange(7) == 5, np.nan, STDERR)
    notes = fake_fit(param_stderr=stderr).confint()["note"]
    assert "boundary" in notes[5]
    assert (notes.drop(5) == "").all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "hpd"}, "'wald', 'profile', 'boot'"),
        ({"num_refits": 200}, "intervals by 'wald' have no option 'num_refits'"),
        ({"ddf": "none", "method": "profile"}, "'profile' have no degrees of freedom"),
        ({"level": 95}, "level is 95"),
        ({"parm": "sd(nobody)"}, "no parameter 'sd\\(nobody\\)'"),
        ({"parm": ["x", "z"], "method": "profile"}, "no parameter 'z'"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ModelError, match=message):
        fake_fit().confint(**options)


@pytest.mark.parametrize(
    ("structure", "effects", "least"),
    [
        ("cs(0 + factor(t) | g)", ["sd"] * 3 + ["cor"], -0.5),
        ("cs(0 + factor(t) | g, hom = TRUE)", ["sd", "cor"], -0.5),
        ("ar1(0 + factor(t) | g)", ["sd", "cor"], -1.0),
        ("diag(0 + factor(t) | g, hom = TRUE)", ["sd"], None),
        ("us(0 + factor(t) | g)", ["sd"] * 3 + ["cor"] * 3, -1.0),
    ],
)
def test_every_structure_has_its_parameters_and_bounds(structure, effects, least):
    rng = np.random.default_rng(8)
    data = {"y": rng.normal(size=72), "t": np.arange(72) % 3, "g": np.arange(72) // 6}
    fit = lf.fit(f"y ~ 1 + {structure}", data)
    rows = parameters(fit)
    assert [p.name for p in rows] == list(fit.param_names)
    assert [p.effect for p in rows] == ["fixed", *effects, "residual"]
    assert all(p.bounds == (least, 1.0) for p in rows if p.effect == "cor")
