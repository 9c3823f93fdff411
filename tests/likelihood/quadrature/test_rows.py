"""Densities of rows at nodes whose responses are columns, against the same rows repeated."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.family.built_in import FAMILIES
from lmeformula.likelihood.quadrature import rows
from lmeformula.likelihood.quadrature.rows import at_nodes

RESPONSES = {
    "bernoulli": (np.array([0.0, 1.0, 1.0]), np.ones(3), np.zeros(3)),
    "binomial": (np.array([0.0, 3.0, 7.0]), np.full(3, 7.0), np.array([0.0, 3.6, 0.0])),
    "poisson": None,
    "nbinom2": None,
    "gamma": (np.array([0.2, 1.0, 30.0]), np.log([0.2, 1.0, 30.0])),
    "inverse_gaussian": (np.array([0.2, 1.0, 30.0]), np.log([0.2, 1.0, 30.0])),
    "lognormal": (np.array([0.2, 1.0, 30.0]), np.log([0.2, 1.0, 30.0])),
}


def test_every_such_family_is_tried():
    of_columns = {n for n, f in FAMILIES.items() if f.closed is not None and f.closed.takes_columns}
    assert of_columns == set(RESPONSES)


@pytest.mark.parametrize("name", RESPONSES)
def test_columns_are_rows_repeated(name):
    from lmeformula.family.counts import count_arrays

    form, N = FAMILIES[name].closed, 4
    response = RESPONSES[name] or count_arrays(np.array([0.0, 2.0, 100.0]))
    own = np.array([1.7]) if name not in ("bernoulli", "binomial", "poisson") else np.zeros(0)
    eta = np.linspace(-3.0, 4.0, 3 * N)
    repeated = tuple(np.repeat(each, N) for each in response)
    found = at_nodes(form, N).scores(eta, tuple(each[:, None] for each in response), own)
    right = form.slopes(eta, repeated, own)
    np.testing.assert_array_equal(found.values, right.values)
    np.testing.assert_array_equal(found.first, right.first)
    np.testing.assert_array_equal(found.second, right.second)
    np.testing.assert_array_equal(found.own_each, form.depths(eta, repeated, own).own_each)


def test_levels_without_rows_may_be_by_themselves(monkeypatch):
    """As those of a fold's: blocks of so many rows that each is looked at alone."""
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(8), 30)
    y = (rng.logistic(size=g.size) < rng.normal(size=8)[g]) * 1
    fit = lf.fit("y ~ 1 + (1 | g)", {"y": y, "g": g}, "bernoulli", method="quadrature")
    expected = fit.cross_validate(by="g")
    monkeypatch.setattr(rows, "CHUNK", 100)
    found = fit.cross_validate(by="g")
    np.testing.assert_allclose(found.log_densities, expected.log_densities, rtol=1e-9)
