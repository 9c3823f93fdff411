"""A coordinate without information is in the way of no other, and a model is the same however it is coded."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf

# lme4 1.1-31, lmer(..., REML = TRUE): what the data determine of models with a factor both fixed and random.
FIXED_AND_RANDOM = (
    # (data set, formula, REML criterion / -2, sd of a coefficient, standard error of a fixed effect)
    ("sleepstudy", "Reaction ~ Days + Subject + (Days | Subject)", -789.19224, ("Days", 1.5457889)),
    ("penicillin", "diameter ~ plate + (1 | plate) + (1 | sample)", -134.25161, None),
    ("orthodont", "distance ~ age*Sex + (age | Subject) + (1 | Sex)", -216.29083, None),
)


@pytest.mark.parametrize(("name", "formula", "loglik", "error"), FIXED_AND_RANDOM)
def test_the_restricted_likelihood_with_a_factor_fixed_and_random(name, formula, loglik, error):
    fit = lf.fit(formula, lf.datasets.load(name), reml=True)
    assert fit.loglik.value == pytest.approx(loglik, abs=1e-4)
    assert fit.certificate["stationarity"].holds
    if error is not None:
        assert fit.stderr[error[0]] == pytest.approx(error[1], rel=1e-4)


def never_meeting(seed: int) -> pd.DataFrame:
    """Groups of either of two kinds: effects of the kinds never meet in a group."""
    r = np.random.default_rng(seed)
    groups = 16
    g, b = np.repeat(np.arange(groups), 8), np.tile(list("ppppqqqq"), groups)
    a = np.where(g % 2 == 0, "u", "v")
    e = r.normal(size=(groups, 2))
    y = np.where(b == "p", e[g, 0], 0.8 * e[g, 0] + 0.6 * e[g, 1]) * np.where(a == "u", 3, 1)
    y = y + r.normal(size=8 * groups)
    return pd.DataFrame({"y": y, "g": g, "a": a, "b": b})[r.random(8 * groups) < 0.85]


@pytest.mark.parametrize("reml", [False, True], ids=["ml", "reml"])
@pytest.mark.parametrize("seed", range(4))
def test_effects_that_never_meet_in_a_level(seed, reml):
    data = never_meeting(seed)
    one = lf.fit("y ~ b + (0 + a:b | g)", data, reml=reml)
    other = lf.fit("y ~ b + (a*b | g)", data, reml=reml)
    # Each kind by itself is a model that determines everything.
    assert one.loglik.value == pytest.approx(other.loglik.value, abs=1e-5)
    assert one.certificate["stationarity"].holds


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("groups", [20, 51], ids=["few effects", "many effects"])
def test_columns_that_sum_to_zero_in_some_levels(groups, seed):
    r = np.random.default_rng(seed)
    n = 4 * groups
    g, x = np.repeat(np.arange(groups), 4), np.tile([-0.5, 0.5], n // 2)
    data = pd.DataFrame(
        {"g": g.astype(str), "x": x, "y": r.normal(size=n) + r.normal(size=groups)[g]}
    )
    data = data.iloc[1:]
    one = lf.fit("y ~ x + (x || g)", data)
    other = lf.fit("y ~ x + diag(x | g)", data)
    assert one.loglik.value == pytest.approx(other.loglik.value, abs=1e-7)
    np.testing.assert_allclose(one.param_values, other.param_values, atol=1e-4)
    np.testing.assert_allclose(one.fixed_vcov, other.fixed_vcov, rtol=1e-4)


def test_a_variance_that_is_better_at_zero_ends_there():
    better = 0
    for seed in range(40):
        r = np.random.default_rng(seed)
        g = np.repeat(np.arange(6), [1, 1, 2, 3, 9, 14])
        data = pd.DataFrame({"y": r.standard_t(2, size=30) + r.normal(size=6)[g] * 0.5, "g": g})
        fit = lf.fit("y ~ 1 + (1 | g)", data)
        plain = np.var(data["y"])
        without = -0.5 * 30 * (np.log(2 * np.pi * plain) + 1)
        assert fit.loglik.value >= without - 1e-9
        better += fit.loglik.value > without + 1e-6
    assert 0 < better < 40
