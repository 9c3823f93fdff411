"""The parametric bootstrap: what it draws, its intervals where they are known, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.result.bootstrap import draw_response
from tests.result.fakes import fake_fit
from tests.simulate import FORMULAS, frame, marginal_covariance


@pytest.mark.parametrize("name", ["weights", "two columns lead"])
def test_responses_have_the_mean_and_covariance_of_the_model(name):
    """5,000 draws: sample moments within 5 standard errors, over 2,700 of them."""
    fit = lf.fit(FORMULAS[name], frame())
    design, rng = fit.model.design, np.random.default_rng(5)
    draws = np.array([draw_response(fit, rng) for _ in range(5_000)])
    mean = design.X @ fit.params.beta + design.offset
    covariance = marginal_covariance(design, fit.params)
    spread = np.sqrt(np.diag(covariance))
    assert (np.abs(draws.mean(0) - mean) < 5 * spread / np.sqrt(5_000)).all()
    # The variance of a sample covariance: (V_ij^2 + V_ii V_jj) / m.
    error = np.sqrt((covariance**2 + np.outer(spread, spread) ** 2) / 5_000)
    assert (np.abs(np.cov(draws.T) - covariance) < 5 * error).all()


def test_fixed_effect_of_a_balanced_layout():
    """By hand: the estimate is the mean, normal with the variance of the fit, so quantiles are Wald's ends.

    A quantile at 2.5 % of 300 draws has the standard error sqrt(.025 * .975 / 300) / phi(1.96) = 0.154.
    """
    fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))
    row = fit.confint("boot", parm="Intercept", num_refits=300, seed=3).iloc[0]
    wald = fit.confint(parm="Intercept").iloc[0]
    error = 0.154 * fit.param_stderr[0]
    assert row["lower"] == pytest.approx(wald["lower"], abs=4 * error)
    assert row["upper"] == pytest.approx(wald["upper"], abs=4 * error)
    assert row["note"] == ""


def test_same_seed_same_interval():
    fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))
    one, other, third = (fit.confint("boot", num_refits=100, seed=seed) for seed in (1, 1, 2))
    assert one.equals(other)
    assert not one.equals(third)
    assert one["lower"][1] == 0.0  # six batches: some responses have no variance between them


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"family": "poisson", "method": "laplace"}, {}, "no bootstrap of a poisson model"),
        ({}, {"num_refits": 20}, "num_refits is 20"),
        ({}, {"level": 2.0}, "level is 2"),
        ({}, {"draws": 100}, "no option 'draws'"),
    ],
)
def test_refusals(changes, options, message):
    with pytest.raises(ModelError, match=message):
        fake_fit(**changes).confint("boot", **options)
