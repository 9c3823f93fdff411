"""The joint distribution, the equation and the graph of models with several linear predictors."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.likelihood.laplace.modes import arrays_of, place
from tests.likelihood.laplace.test_several import CASES, simulated

NAMES = ("gaussian", "zero_inflated_poisson", "categorical", "cumulative(probit)")


@pytest.mark.parametrize("family", NAMES)
def test_density_is_that_of_effects_and_rows(family):
    model = lf.compile(lf.design(CASES[family], simulated(3)), family)
    parts = model.tfp_joint
    drawn = {name: value[1] for name, value in model.joint.sample(2, seed=1).items()}
    drawn[parts.response] = parts.observed
    plan = layout(model.stack.terms)
    effects = [
        np.asarray(drawn[name]).reshape(size)
        for name, size in zip(parts.names.values(), plan.sizes, strict=True)
    ]
    problem = arrays_of(model, plan)
    eta = problem.offset + problem.X @ model.start.beta
    eta += plan.spread(plan.join(tuple(effects)))
    at = place(model.space, model.space.to_free(model.start))
    expected = problem.rows.slopes(eta, at.own).value
    for effect, covariance in zip(effects, model.start.covariances, strict=True):
        of_levels = stats.multivariate_normal(np.zeros(len(covariance)), covariance)
        expected += of_levels.logpdf(effect).sum()
    assert float(model.joint.log_prob(drawn)) == pytest.approx(expected, rel=1e-10)
    with tf.GradientTape() as tape:
        value = model.joint.log_prob(drawn)
    gradients = tape.gradient(value, model.trainable_variables)
    assert all(np.abs(np.asarray(gradient)).max() > 0 for gradient in gradients)


def test_several_draws_at_once_are_draws_of_each():
    model = lf.compile(lf.design(CASES["gaussian"], simulated(3)))
    drawn = model.joint.sample(3, seed=2)
    each = [
        float(model.joint.log_prob({name: value[i] for name, value in drawn.items()}))
        for i in range(3)
    ]
    np.testing.assert_allclose(model.joint.log_prob(drawn), each)


def test_equations_have_a_line_for_each_predictor():
    shown = {
        family: repr(lf.compile(lf.design(CASES[family], simulated(3)), family).equation())
        for family in NAMES
    }
    assert "y_i ~ Normal(mu_i, sigma_i²)    i = 1 … 112" in shown["gaussian"]
    assert "log(sigma_i) = effect_sigma_Intercept + effect_sigma_x · x_i" in shown["gaussian"]
    assert "(g.Intercept_j, g.sigma_Intercept_j) ~ Normal(0, Σ_g)" in shown["gaussian"]
    assert "logit(zero_probability_i) = effect_zi_Intercept" in shown["zero_inflated_poisson"]
    assert "kind_i ~ Softmax(0, eta[b]_i, eta[c]_i)" in shown["categorical"]
    assert (
        "probit(P(rating_i ≤ k)) = disc_i · (thresholds_k - eta_i)" in shown["cumulative(probit)"]
    )


def test_graphs_have_a_line_for_each_predictor():
    model = lf.compile(lf.design(CASES["gaussian"], simulated(3)))
    text = repr(model.graph())
    assert "y ~ Normal(mu, sigma), 112 rows" in text
    assert "mu = intercept + effect_x · x + g[0] + h" in text
    assert "log(sigma) = effect_sigma_Intercept + effect_sigma_x · x + g[1]" in text
    assert "log(sigma)" in model.graph().dot()
