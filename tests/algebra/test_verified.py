"""A factor held to its matrix by products: right ones give its determinant, wrong ones are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.algebra.factor import Factor
from lmeformula.algebra.verified import log_det_by_products
from lmeformula.likelihood.gaussian.likelihood import solve
from lmeformula.likelihood.gaussian.second_opinion import witness_at
from lmeformula.likelihood.gaussian.sums import Sums, sums
from lmeformula.model.params import Params

FORMULAS = ("y ~ 1 + (1 | g)", "y ~ 1 + (1 | g) + (1 | h)", "y ~ x + (x | g) + (x | h) + (1 | k)")


def prepared(formula: str) -> tuple[Sums, tuple[np.ndarray, ...]]:
    r = np.random.default_rng(5)
    n = 900
    data = pd.DataFrame({"y": r.normal(size=n), "x": r.normal(size=n)})
    for name, levels in (("g", 70), ("h", 60), ("k", 9)):
        data[name] = r.integers(0, levels, n)
    design = lf.design(formula, data)
    factors = [np.tril(0.3 + r.uniform(size=(term.values.shape[1],) * 2)) for term in design.terms]
    return sums(design), tuple(factors)


def made(formula: str) -> tuple[Sums, Factor]:
    data, lambdas = prepared(formula)
    factor = solve(data, lambdas).factor
    assert isinstance(factor, Factor)
    assert len(factor.rest_inverse_below) == data.plan.num_effects - data.plan.lead_size
    return data, factor


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_right_factor_gives_the_determinant(formula):
    data, factor = made(formula)
    scaled = np.zeros((data.plan.num_effects,) * 2)
    for j, relative in enumerate(factor.lambdas):
        place, levels = data.plan.place(j), data.plan.sizes[j][0]
        scaled[place, place] = np.kron(np.eye(levels), relative)
    gram = data.products.times(np.eye(len(scaled)))
    expected = np.linalg.slogdet(np.eye(len(scaled)) + scaled.T @ gram @ scaled)[1]
    assert log_det_by_products(factor) == pytest.approx(expected, rel=1e-12)


def wrong_lead(factor: Factor) -> Factor:
    inverse = factor.lead_inverse.copy()
    inverse[3] *= 1.0 + 1e-6
    return replace(factor, lead_inverse=inverse)


def wrong_rest(factor: Factor) -> Factor:
    rest = factor.rest.copy()
    rest[5, 2] += 1e-6
    return replace(factor, rest=rest)


def wrong_inverse(factor: Factor) -> Factor:
    found = replace(factor)
    below = factor.rest_inverse_below.copy()
    below[7, 7] *= 1.0 + 1e-5
    found.__dict__["rest_inverse_below"] = below
    return found


def of_other_factors(factor: Factor) -> Factor:
    return replace(factor, lambdas=tuple(1.0001 * relative for relative in factor.lambdas))


def not_a_number(factor: Factor) -> Factor:
    return replace(factor, rest=np.full_like(factor.rest, np.nan))


@pytest.mark.parametrize(
    "spoil", [wrong_lead, wrong_rest, wrong_inverse, of_other_factors, not_a_number]
)
@pytest.mark.parametrize("formula", FORMULAS[1:])
def test_a_wrong_one_is_found(formula, spoil):
    _, factor = made(formula)
    assert log_det_by_products(spoil(factor)) is None


@pytest.mark.parametrize("reml", [False, True], ids=["ml", "reml"])
@pytest.mark.parametrize("formula", FORMULAS[1:])
def test_the_second_opinion_is_the_same_with_a_factor_and_without(formula, reml):
    data, lambdas = prepared(formula)
    data = data._replace(dense=None)
    ended = solve(data, lambdas)
    params = Params(data.ols + np.linalg.solve(data.R, ended.gamma), (), np.array([1.3]))
    anew = witness_at(data, params, lambdas, reml)
    by_products = witness_at(data, params, lambdas, reml, ended=ended)
    assert (anew.way, by_products.way) == (
        "a factorisation that is made anew",
        "products with the matrix itself",
    )
    assert by_products.value == pytest.approx(anew.value, rel=1e-13)
    assert by_products.in_log_sigma == pytest.approx(anew.in_log_sigma, rel=1e-9)
    for one, other in zip(anew.in_relative, by_products.in_relative, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9)
    spoiled = ended._replace(factor=wrong_rest(ended.factor))
    assert witness_at(data, params, lambdas, reml, ended=spoiled).way == anew.way
    elsewhere = tuple(1.5 * factor for factor in lambdas)
    assert witness_at(data, params, elsewhere, reml, ended=ended).way == anew.way
