"""The information that is a metric of steps: of many rows it is nearly the whole one."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.likelihood.laplace import observed
from lmeformula.likelihood.laplace.fit import fit_laplace
from lmeformula.likelihood.laplace.observed import observed_information


@pytest.mark.parametrize("family", ["bernoulli", "cumulative"])
def test_it_has_the_standard_errors_without_the_second_derivatives_in_coefficients(
    family, monkeypatch
):
    rng, n = np.random.default_rng(2), 6000
    g, h, x = rng.integers(200, size=n), rng.integers(40, size=n), rng.normal(size=n)
    eta = 0.3 * x + 0.8 * rng.normal(size=200)[g] + 0.5 * rng.normal(size=40)[h]
    cuts = [0.0] if family == "bernoulli" else [-1.0, 0.5]
    y = np.searchsorted(cuts, eta + rng.logistic(size=n)) + (family == "cumulative")
    data = {"y": y, "g": g, "h": h, "x": x}
    model = lf.compile(lf.design("y ~ x + (1 | g) + (1 | h)", data), family)
    found = fit_laplace(model)
    psi = model.space.to_free(found.params)
    given = (model, found.problem, psi, np.ones(len(psi), bool), found.approximation.mode.u)
    whole = observed_information(*given)
    # Of few rows nothing is left out.
    np.testing.assert_array_equal(observed_information(*given, is_metric=True).matrix, whole.matrix)
    monkeypatch.setattr(observed, "MANY_ROWS", n - 1)
    metric = observed_information(*given, is_metric=True)
    assert not np.array_equal(metric.matrix, whole.matrix)
    # The determinant says as much as the effects are many, beside the rows.
    share = found.problem.plan.num_effects / n
    errors = [np.sqrt(np.diag(np.linalg.inv(one.matrix))) for one in (metric, whole)]
    np.testing.assert_allclose(*errors, rtol=share)
    np.testing.assert_array_equal(metric.matrix, metric.matrix.T)
