"""Probes' estimates against the dense factor: within their errors, and these errors right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.algebra.eliminated import eliminate
from lmeformula.algebra.factor import factorize
from lmeformula.algebra.probes import estimate_blocks, probe, signs_of, solve_sides
from lmeformula.algebra.sparseproducts import find_meetings, sparse_products
from tests.algebra.plain import plain_products, random_signs

FORMULAS = {
    "crossed": "y ~ 1 + (1 | g) + (1 | h)",
    "three crossed": "y ~ 1 + (1 | g) + (1 | h) + (1 | c)",
    "a small term": "y ~ 1 + (1 | g) + (1 | h) + (1 | d)",
    "slopes": "y ~ 1 + (x | g) + (x | h)",
    "slopes apart": "y ~ 1 + (1 | g) + (x || h)",
}
EXACT = {
    "nested": "y ~ 1 + (1 | h / g)",
    "one term": "y ~ 1 + (1 | g)",
    "small": "y ~ 1 + (1 | g) + (1 | d)",
}


def both(formula: str):
    """(sparse elimination, dense factor) of 900 rows."""
    rng = np.random.default_rng(7)
    n = 900
    data = {name: rng.integers(0, size, n) for name, size in (("g", 80), ("h", 50), ("c", 40))}
    # The levels of h lie within those of d, but for some rows: a small term with communities.
    data["d"] = np.where(rng.uniform(size=n) < 0.9, data["h"] % 6, rng.integers(0, 6, n))
    data |= {"x": rng.normal(size=n), "y": rng.normal(size=n)}
    design = lf.design(formula, data)
    plan = layout(design.terms)
    weights = rng.uniform(0.5, 2.0, n)
    lambdas = tuple(0.7 * np.eye(k) + 0.2 * np.tril(rng.normal(size=(k, k))) for _, k in plan.sizes)
    products = sparse_products(find_meetings(plan), weights)
    return (
        eliminate(plan, products, lambdas),
        factorize(plan, plain_products(plan, weights), lambdas),
    )


@pytest.mark.parametrize("name", FORMULAS)
def test_errors_are_calibrated(name):
    """Over 40 sets of 12 probes the squared errors scatter as their own variances say."""
    factor, exact = both(FORMULAS[name])
    repetitions, count = 40, 12
    truth = np.concatenate([[exact.log_det], *(np.diag(trace) for trace in exact.inverse_traces())])
    found, variances = [], []
    for seed in range(repetitions):
        probed = probe(factor, random_signs(factor.plan, count, seed))
        assert probed.converged
        each = np.column_stack(
            [probed.log_det_each, *(np.diagonal(e, axis1=1, axis2=2) for e in probed.each)]
        )
        np.testing.assert_allclose(
            each.mean(axis=0),
            np.concatenate([[probed.log_det], *(np.diag(trace) for trace in probed.traces)]),
        )
        found.append(each.mean(axis=0))
        variances.append(each.var(axis=0, ddof=1) / count)
    errors, variance = np.array(found) - truth, np.mean(variances, axis=0)
    # Where a small term's part is worked out there is no error to calibrate.
    free = variance > 1e-20 * truth**2
    assert free[0]
    np.testing.assert_allclose(errors[:, ~free], 0.0, atol=1e-8)
    statistic = (errors[:, free] ** 2).sum(axis=0) / variance[free]
    low, high = chi2.ppf([5e-5, 1 - 5e-5], repetitions)
    assert (statistic > low).all()
    assert (statistic < high).all()
    # Sharp enough to notice a wrong formula: the scatter is far below what is estimated.
    assert (np.sqrt(variance) < 0.01 * np.abs(truth)).all()


@pytest.mark.parametrize("name", EXACT)
def test_nested_and_small_terms_leave_no_error(name):
    factor, exact = both(EXACT[name])
    probed = probe(factor, random_signs(factor.plan, 2, 0))
    assert probed.log_det == pytest.approx(exact.log_det, rel=1e-9)
    assert np.ptp(probed.log_det_each) < 1e-8
    for found, expected in zip(probed.traces, exact.inverse_traces(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_more_probes_begin_with_the_same():
    plan = both(FORMULAS["crossed"])[0].plan
    few, many = random_signs(plan, 3, seed=5), random_signs(plan, 7, seed=5)
    np.testing.assert_array_equal(many[:, :3], few)
    assert set(np.unique(many)) == {-1.0, 1.0}
    assert (random_signs(plan, 3, seed=6) != few).any()


def test_probes_of_a_column_are_the_same_beside_others():
    """In whatever order, and whichever term is the lead term."""
    rng = np.random.default_rng(0)
    data = {name: rng.integers(0, size, 600) for name, size in (("g", 90), ("h", 40), ("c", 30))}
    data |= {"y": rng.normal(size=600), "x": rng.normal(size=600)}

    def of_h(formula):
        design = lf.design(formula, data)
        plan = layout(design.terms)
        signs = signs_of(plan, design.terms).draw(2, seed=1)
        term = next(j for j, term in enumerate(design.terms) if term.group == "h")
        levels, k = plan.sizes[term]
        return signs[plan.in_rest(term)].reshape(levels, k, 2)

    alone, beside = of_h("y ~ x + (1 | g) + (1 | h)"), of_h("y ~ x + (1 | c) + (x | h) + (x | g)")
    np.testing.assert_array_equal(beside[:, 0], alone[:, 0])
    assert (beside[:, 1] != alone[:, 0]).any()


@pytest.mark.parametrize("name", FORMULAS)
def test_blocks_are_near_the_exact_ones(name):
    factor, exact = both(FORMULAS[name])
    signs = random_signs(factor.plan, 200, 0)
    blocks = estimate_blocks(factor, solve_sides(factor, signs), 200)
    coarse = factor.base_blocks()
    for found, rough, expected in zip(blocks, coarse, exact.inverse_blocks(), strict=True):
        off = np.abs(found - expected).max() / np.abs(expected).max()
        # Noise of 200 probes; without the estimated part the blocks are further off.
        assert off < 0.03
        assert off < 0.5 * np.abs(rough - expected).max() / np.abs(expected).max() + 1e-7


def test_the_score_of_a_vanishing_variance_vanishes_with_it():
    """Probes of each term apart: no noise of the others is left where a factor goes to zero."""
    rng = np.random.default_rng(3)
    n = 900
    data = {name: rng.integers(0, size, n) for name, size in (("g", 80), ("h", 50), ("c", 40))}
    design = lf.design("y ~ 1 + (1 | g) + (1 | h) + (1 | c)", data | {"y": rng.normal(size=n)})
    plan = layout(design.terms)
    products = sparse_products(find_meetings(plan), None)
    missing = []
    for sd in (1e-3, 1e-4):
        lambdas = tuple(np.array([[value]]) for value in (0.7, 0.5, sd))
        factor = eliminate(plan, products, lambdas)
        probed = probe(factor, random_signs(factor.plan, 4, 0))
        # d log|M| / d Lambda, over Lambda: it has a limit.
        missing.append((plan.sizes[2][0] - probed.each[2][:, 0, 0]) / sd**2)
    np.testing.assert_allclose(missing[0], missing[1], rtol=1e-4)
