"""Derivatives a block of rows after the other are those of all rows."""

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.likelihood.laplace import in_blocks
from lmeformula.likelihood.laplace.fit import fit_laplace
from lmeformula.likelihood.laplace.rows import row_derivatives

RESPONSES = {
    "bernoulli": "yes",
    "poisson": "count",
    "gamma": "size",
    "cumulative": "grade",
    "nbinom2": "count",
    "binomial": "yes | trials(3)",
}


def model_of(family, **how):
    rng = np.random.default_rng(0)
    n = 200
    g, x = rng.integers(0, 10, n), rng.normal(size=n)
    data = {
        "g": g,
        "x": x,
        "yes": rng.integers(0, 2, n),
        "count": rng.poisson(2.0, n),
        "size": rng.gamma(2.0, size=n),
        "grade": rng.integers(1, 4, n),
        "times": rng.integers(1, 3, n),
    }
    return lf.compile(lf.design(f"{RESPONSES[family]} ~ x + (1 | g)", data, **how), family)


@pytest.mark.parametrize("how", [{}, {"frequency": "times"}])
@pytest.mark.parametrize("family", RESPONSES)
def test_they_are_those_of_all_rows(family, how, monkeypatch):
    model = model_of(family, **how)
    rng = np.random.default_rng(1)
    eta, free = rng.normal(size=200) - (3.0 if family == "gamma" else 0.0), model.space.own.size
    own = 0.1 * np.arange(free)
    rows, names = row_derivatives(model), ("slopes", "depths", "scores")
    whole = [getattr(rows, name)(eta, own) for name in names]
    monkeypatch.setattr(in_blocks, "AT_ONCE", 64)
    for name, expected in zip(names, whole, strict=True):
        for one, other in zip(getattr(rows, name)(eta, own), expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_fit_is_the_same(monkeypatch):
    model = model_of("poisson")
    whole = fit_laplace(model)
    monkeypatch.setattr(in_blocks, "AT_ONCE", 64)
    np.testing.assert_array_equal(fit_laplace(model).coordinates, whole.coordinates)
