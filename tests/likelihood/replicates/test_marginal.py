"""Likelihoods of many responses against those of one, and their slopes: families times structures."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.likelihood.factors import factor_space
from lmeformula.likelihood.laplace.determinant import Determinant
from lmeformula.likelihood.laplace.likelihood import approximate
from lmeformula.likelihood.laplace.modes import arrays_of
from lmeformula.likelihood.laplace.row_sums import At
from lmeformula.likelihood.quadrature.integrand import integrand
from lmeformula.likelihood.quadrature.marginal import Quadrature
from lmeformula.likelihood.replicates.gaussian import one_factor
from lmeformula.likelihood.replicates.laplace import LaplaceReplicates, OneFactor
from lmeformula.likelihood.replicates.quadrature import QuadratureReplicates
from lmeformula.likelihood.replicates.rows import ManyRows
from lmeformula.likelihood.singular import column_roots
from tests.store.fits import data

RESPONSES = {
    "bernoulli": "y",
    "bernoulli(probit)": "y",
    "bernoulli(cloglog)": "y",
    "binomial": "cbind(k, m)",
    "poisson": "k",
    "cumulative": "rating",
    "nbinom2": "c",
    "gamma": "t",
}
TERMS = ("(1 | g)", "(x | g)", "(x || g)", "(0 + x | g)")
WITHOUT_OWN = ("bernoulli", "bernoulli(probit)", "bernoulli(cloglog)", "binomial", "poisson")


def models(family: str, terms: str) -> list[lf.Model]:
    """One model of three responses: the rows' own, shuffled within the table twice."""
    found = []
    for seed in range(3):
        table, response = data().copy(), RESPONSES[family]
        if seed:
            columns = ["y", "k", "m", "rating", "c", "t"]
            order = np.random.default_rng(seed).permutation(len(table))
            table[columns] = table[columns].iloc[order].set_axis(table.index)
        found.append(lf.compile(lf.design(f"{response} ~ x + {terms}", table), family))
    return found


def places(model: lf.Model, size: int) -> np.ndarray:
    """(3, d) coordinates near the start, factors well off zero."""
    r = np.random.default_rng(4)
    start = model.space.to_free(model.start)
    p, f = model.space.num_fixed, model.space.own.size
    before = np.concatenate([model.triangle @ start[:p], start[model.space.own_slice]])
    elements = r.uniform(0.4, 0.9, size=(3, size))
    return np.hstack([before + 0.1 * r.normal(size=(3, p + f)), elements])


def compare(family: str, terms: str, is_exact: bool) -> None:
    found = models(family, terms)
    first = found[0]
    charts = factor_space(first.space, column_roots(first))
    term, x, every = one_factor(first.design.terms), places(first, charts.size), np.arange(3)
    assert term is not None
    arrays = OneFactor.of(first, term)
    rows = ManyRows(first, [one.family.response(one.design) for one in found], arrays.order)
    hill = LaplaceReplicates(first, arrays, charts, rows, 3)
    look = hill.look
    if is_exact:
        of = integrand(first, layout(first.design.terms))
        assert of is not None
        look = QuadratureReplicates(first, of, hill, 3).look
    heights = look(x, every)
    # Another order, and one replicate twice, as differences of scores are taken.
    again = look(x[[2, 0, 2]], np.array([2, 0, 2]))
    np.testing.assert_allclose(again.values, heights.values[[2, 0, 2]], rtol=1e-12)
    p, f = first.space.num_fixed, first.space.own.size
    for model, where, value, score in zip(found, x, *heights, strict=True):
        way = Quadrature if is_exact else Determinant
        problem = arrays_of(model, layout(model.design.terms), None, way)._replace(
            X=model.stack.orthogonal()[0]
        )
        at = At(where[:p], charts.factors(where[p + f :]), where[p : p + f])
        start = np.zeros(problem.plan.num_effects)
        single = approximate(problem, at, start)
        slopes = charts.pull_back(where[p + f :], single.in_factors)
        expected = np.concatenate([single.in_beta, single.in_own, slopes])
        # Modes that are found to a gain of 1e-18 are off by 1e-9 of their standard deviations.
        assert value == pytest.approx(single.value, abs=1e-8)
        np.testing.assert_allclose(score, expected, atol=1e-7 * (1.0 + np.abs(expected).max()))


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("family", RESPONSES)
def test_approximations(family, terms):
    compare(family, terms, is_exact=False)


@pytest.mark.parametrize("terms", ["(1 | g)", "(0 + x | g)"])
@pytest.mark.parametrize("family", WITHOUT_OWN)
def test_quadrature(family, terms):
    compare(family, terms, is_exact=True)


def test_two_effects_a_level_by_quadrature():
    compare("binomial", "(x | g)", is_exact=True)


def test_where_a_density_overflows_there_is_none():
    (model, *_) = models("poisson", "(1 | g)")
    charts = factor_space(model.space, column_roots(model))
    term = one_factor(model.design.terms)
    assert term is not None
    arrays = OneFactor.of(model, term)
    rows = ManyRows(model, [model.family.response(model.design)], arrays.order)
    x = places(model, charts.size)[:1]
    # Rates of exp(1e5) or so.
    x[0, 0] = 1e6 * np.sign(arrays.X[0, 0])
    found = LaplaceReplicates(model, arrays, charts, rows, 1).look(x, np.arange(1))
    assert found.values[0] == -np.inf
