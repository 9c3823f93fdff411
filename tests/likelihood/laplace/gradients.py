"""The gradient of a Laplace approximation, held to differences of its value."""

from __future__ import annotations

import numpy as np

import lmeformula as lf
from lmeformula.likelihood.laplace.fit import fit_laplace
from lmeformula.likelihood.laplace.likelihood import approximate
from lmeformula.likelihood.laplace.modes import gradient, place
from tests.simulate import differences


def check_gradient(model: lf.Model) -> None:
    """Near the start, where no derivative is small."""
    problem = fit_laplace(model).problem
    rng = np.random.default_rng(2)
    psi = model.space.to_free(model.start) + 0.2 * rng.normal(size=model.space.size)
    start = np.zeros(problem.plan.num_effects)

    def value(at: np.ndarray) -> float:
        return approximate(problem, place(model.space, at), start).value

    found = gradient(model.space, psi, approximate(problem, place(model.space, psi), start))
    # The mode is found to 1e-11 in log density: differences of 2e-4 are good to 1e-6.
    expected = differences(value, psi, 1e-4)
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1.0, np.abs(expected).max()))
