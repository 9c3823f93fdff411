"""The information of the approximation that is written out, against differences of the gradient."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.likelihood.laplace.determinant import STEP
from lmeformula.likelihood.laplace.likelihood import approximate
from lmeformula.likelihood.laplace.modes import arrays_of, gradient, place
from lmeformula.likelihood.laplace.observed import GOOD, observed_information
from tests.likelihood.laplace.test_several import CASES as SEVERAL
from tests.likelihood.laplace.test_several import simulated

# What is left out of the differences here and of those of the rows' third derivatives is of this order, times
# higher derivatives, which are of order one to ten in units of the predictors.
LENGTH = 1e-3
KNOWN = 10.0 * (LENGTH**4 + STEP**2) + 1e-6
ONE = [
    ("count ~ x + (1 | g) + (1 | h)", "poisson"),
    ("count ~ x + (x | g) + (1 | h)", "nbinom2"),
    ("count ~ x + (x || g) + (1 | h)", "nbinom1"),
    ("count ~ x + cs(x | g)", "poisson"),
    ("count > 1 ~ x + (1 | g / h)", "bernoulli(probit)"),
    ("rating ~ x + (1 | g) + (1 | h)", "cumulative"),
    ("share ~ x + (1 | g)", "beta"),
    ("positive ~ x + (x | g)", "gamma"),
    ("y ~ x + (1 | g) + (1 | h)", "student"),
    ("kind ~ x + (1 | g)", "categorical"),
]


@pytest.mark.parametrize(
    ("formula", "family"),
    [*ONE, *((formula, family) for family, formula in SEVERAL.items())],
    ids=str,
)
def test_it_is_the_slope_of_the_gradient(formula, family, monkeypatch):
    model = lf.compile(lf.design(formula, simulated(3)), family)
    space, problem = model.space, arrays_of(model, layout(model.stack.terms))
    # Not at the maximum: what vanishes there has to be right as well.
    psi = space.to_free(model.start) + 0.1 * np.cos(np.arange(space.size))
    free, nowhere = np.ones(space.size, bool), np.zeros(problem.plan.num_effects)
    there = approximate(problem, place(space, psi), nowhere)
    looks, near = [], problem.marginal.near
    monkeypatch.setattr(problem.marginal, "near", lambda *at: looks.append(at) or near(*at))
    found = observed_information(model, problem, psi, free, there.mode.u)
    # Two looks check what is written out; differences take many more.
    assert len(looks) == 2
    assert found.noise < GOOD
    scale = 1.0 / np.sqrt(np.maximum(np.abs(np.diag(found.matrix)), 1.0))

    def slope(at: np.ndarray) -> np.ndarray:
        return gradient(space, at, approximate(problem, place(space, at), there.mode.u))

    expected = np.empty_like(found.matrix)
    for row, move in zip(expected, LENGTH * np.diag(scale), strict=True):
        ends = [slope(psi + share * move) for share in (1.0, -1.0, 0.5, -0.5)]
        row[:] = (8.0 * (ends[3] - ends[2]) - (ends[1] - ends[0])) / (6.0 * move.max())
    difference = (found.matrix - expected) * np.outer(scale, scale)
    np.testing.assert_allclose(difference, 0.0, atol=KNOWN)
