"""The likelihoods of many responses against the density of the multivariate normal, written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import lmeformula as lf
from lmeformula.inference.refit import carrier_of
from lmeformula.likelihood.factors import factor_space
from lmeformula.likelihood.replicates.gaussian import GaussianReplicates, levels_of
from tests.simulate import frame

FORMULAS = (
    "y ~ x + (1 | g)",
    "y ~ x + (x + z | g)",
    "y | weights(w) ~ x + (x || g)",
    "y ~ 0 + (0 + x | g)",
)


def hill(formula: str, Y, reml: bool = False) -> tuple[GaussianReplicates, lf.Model]:
    model = lf.compile(lf.design(formula, frame()))
    carrier = carrier_of(model)
    charts = factor_space(model.space, carrier.none.column_roots(model.space))
    levels = levels_of(model.design, carrier)
    assert levels is not None
    return GaussianReplicates(levels, carrier, charts, Y, reml, None), model


def by_density(found: GaussianReplicates, model: lf.Model, y, elements) -> float:
    """The likelihood at the elements, and the fixed effects and sigma that are best there."""
    (factor,) = found.factors(elements[None])
    design = model.design
    Z = np.hstack([term.values for term in design.terms])
    g = design.terms[0].index
    same = (g[:, None] == g).astype(float)
    weights = np.ones(design.n) if design.weights is None else design.weights
    V = same * (Z @ factor @ factor.T @ Z.T) + np.diag(1.0 / weights)
    inverse = np.linalg.inv(V)
    beta = np.linalg.pinv(design.X.T @ inverse @ design.X) @ design.X.T @ inverse @ y
    left = y - design.X @ beta
    variance = left @ inverse @ left / design.n
    return float(multivariate_normal(design.X @ beta, variance * V).logpdf(y))


@pytest.mark.parametrize("formula", FORMULAS)
def test_values_and_scores(formula):
    r = np.random.default_rng(1)
    Y = frame()["y"] + r.normal(size=(3, 72))
    found, model = hill(formula, Y)
    elements = r.uniform(0.3, 1.2, size=(3, found.num_elements))
    heights = found.look(elements, np.arange(3))
    for y, where, value, score in zip(Y, elements, *heights, strict=True):
        assert value == pytest.approx(by_density(found, model, y, where), abs=1e-9)
        for place, slope in enumerate(score):
            moves = np.zeros_like(where)
            moves[place] = 1e-5
            ends = [by_density(found, model, y, where + sign * moves) for sign in (1, -1)]
            # Differences of values near 100, rounded at 1e-13 of that, by 2e-5: some 1e-6.
            assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-5)


def test_some_replicates_are_looked_at_alone():
    Y = frame()["y"] + np.random.default_rng(1).normal(size=(4, 72))
    found, _ = hill("y ~ x + (x + z | g)", Y)
    elements = np.full((4, found.num_elements), 0.7)
    whole, some = found.look(elements, np.arange(4)), found.look(elements[:2], np.array([3, 1]))
    np.testing.assert_allclose(some.values, whole.values[[3, 1]], rtol=1e-13)


def test_effects_of_several_factors_are_not_of_one():
    model = lf.compile(lf.design("y ~ x + (1 | g) + (1 | h)", frame()))
    assert levels_of(model.design, carrier_of(model)) is None


def test_levels_of_one_kind_are_summed_once():
    data = lf.datasets.load("sleepstudy")
    model = lf.compile(lf.design("Reaction ~ Days + (Days | Subject)", data))
    found = levels_of(model.design, carrier_of(model))
    assert found is not None
    assert found.counts.tolist() == [18]
