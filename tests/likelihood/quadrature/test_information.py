"""The information that is written out at the nodes, against differences of the gradient there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.likelihood.laplace.modes import arrays_of, gradient, mode_at
from lmeformula.likelihood.laplace.observed import observed_information
from lmeformula.likelihood.quadrature.marginal import Quadrature

# Step of the differences, and how well they are known: by its square, and by the rounding of slopes over it.
STEP, KNOWN = 1e-4, 2e-6
TWO = {"mu": "share ~ x + (1 | g)", "phi": "~ x + (1 | g)"}
CASES = [
    ("yes ~ x + (1 | g)", "bernoulli"),
    ("count ~ x + (x | g)", "poisson"),
    ("count ~ x + (x || g)", "nbinom2"),
    ("count ~ x + cs(x | g)", "poisson"),
    ("count ~ x + (1 | g / h)", "poisson"),
    ("yes ~ x + (1 | g / h)", "bernoulli"),
    ("count ~ x + (1 | g / h)", "nbinom2"),
    ("grade ~ x + (1 | g)", "cumulative"),
    ("share ~ x + (1 | g)", "beta"),
    (TWO, "beta"),
]


def data_of() -> dict[str, Any]:
    rng = np.random.default_rng(11)
    n = 96
    g, h, x = np.repeat(np.arange(12), 8), np.repeat(np.arange(48), 2), rng.normal(size=n)
    eta = 0.4 + 0.5 * x + 0.8 * rng.normal(size=12)[g] + 0.4 * rng.normal(size=48)[h]
    return {
        "g": g,
        "h": h,
        "x": x,
        "yes": (rng.logistic(size=n) < eta) * 1,
        "count": rng.negative_binomial(3, 3 / (3 + np.exp(eta))),
        "grade": 1 + np.searchsorted([-0.5, 1.0], eta + rng.logistic(size=n)),
        "share": np.clip(rng.beta(2.0 + 2.0 * (eta > 0), 3.0), 0.01, 0.99),
    }


@pytest.mark.parametrize(("formula", "family"), CASES, ids=str)
def test_it_is_the_slope_of_the_gradient(formula, family):
    model = lf.compile(lf.design(formula, data_of()), family)
    space, plan = model.space, layout(model.stack.terms)
    arrays = arrays_of(model, plan, marginal=Quadrature)
    # Not at the maximum: what vanishes there has to be right as well.
    psi = space.to_free(model.start) + 0.1 * np.cos(np.arange(space.size))
    mode = mode_at(model, arrays, psi, np.zeros(plan.num_effects))
    found = observed_information(model, arrays, psi, np.ones(space.size, bool), mode.u)

    def slope(there: np.ndarray) -> np.ndarray:
        at = mode_at(model, arrays, there, mode.u)
        return gradient(space, there, arrays.marginal.integral(arrays, at))

    right = np.array(
        [(slope(psi - STEP * e) - slope(psi + STEP * e)) / (2.0 * STEP) for e in np.eye(len(psi))]
    )
    scale = np.sqrt(np.abs(np.diag(right)))
    apart = (found.matrix - right) / np.outer(scale, scale)
    assert np.abs(apart).max() < KNOWN
    assert found.noise < KNOWN


def test_no_large_terms_cancel():
    """Counts of 1e10 tell the effects: what is left is the information of as many normal numbers."""
    rng = np.random.default_rng(3)
    effects = rng.normal(size=20)
    g = np.repeat(np.arange(20), 3)
    data = {"g": g, "y": np.round(np.exp(23.0 + effects[g]))}
    model = lf.compile(lf.design("y ~ 1 + (1 | g)", data), "poisson")
    plan = layout(model.stack.terms)
    arrays = arrays_of(model, plan, marginal=Quadrature)
    start = model.start._replace(beta=np.array([23.0]), covariances=(np.eye(1),))
    psi = model.space.to_free(start)
    mode = mode_at(model, arrays, psi, effects)
    found = observed_information(model, arrays, psi, np.ones(2, bool), mode.u).matrix
    square = float((effects**2).sum())
    right = np.array([[20.0, 2.0 * effects.sum()], [2.0 * effects.sum(), 2.0 * square]])
    # The modes themselves are known to rounding of such counts; by differences a tenth is lost.
    np.testing.assert_allclose(found, right, rtol=1e-4)


def test_ascents_are_newtons():
    """With the information itself a few steps from near the maximum are enough."""
    fit = lf.fit("yes ~ x + (1 | g)", data_of(), family="bernoulli", method="quadrature")
    assert fit.ascent.num_evaluations <= 12
    assert fit.converged
