"""Models in orthogonal columns: the same likelihood, and reports of the columns that were written."""

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.model.orthogonal import TurnedSpace, at_rest, orthogonal_model, terms_kept_far
from tests.shifted import far, moved, moved_errors, years

# Formula, family, and whether the term of two columns, and the fixed effects, are turned.
CASES = {
    "vector": ("yes ~ x + (x | g)", "bernoulli", True, True),
    "alone": ("yes ~ x + (1 | g)", "bernoulli", False, True),
    "cell means": ("yes ~ 0 + h + x + (x | g)", "bernoulli", True, True),
    "thresholds": ("grade ~ x + (x | g)", "cumulative", True, True),
    "even thresholds": ("grade ~ x + (x | g)", "cumulative(thresholds=equidistant)", True, True),
    "no slope": ("yes ~ 1 + (x | g)", "bernoulli", True, False),
    "diagonal": ("yes ~ 1 + diag(x | g)", "bernoulli", False, False),
    "two of a structure": ("yes ~ x + cs(x | g)", "bernoulli", True, True),
    "three of a structure": ("yes ~ 1 + cs(x + I(x^2) | g)", "bernoulli", False, False),
    "homogeneous": ("yes ~ 1 + cs(x | g, hom = TRUE)", "bernoulli", False, False),
    "apart": ("yes ~ 1 + (x || g)", "bernoulli", False, False),
    "heavy": ('y ~ x + (x | gr(g, dist = "student"))', "gaussian", True, True),
    "residual": ("y ~ x + (x | g)", "gaussian", True, True),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_turned(name):
    formula, family, has_term, has_fixed = CASES[name]
    data = years()
    assert orthogonal_model(lf.compile(lf.design(formula, data), family)) is None
    model = lf.compile(lf.design(formula, far(data)), family)
    turned = orthogonal_model(model)
    is_kept = name in ("three of a structure", "homogeneous", "diagonal")
    assert terms_kept_far(model) == (("g",) if is_kept else ())
    if not (has_term or has_fixed):
        assert turned is None
        return
    assert isinstance(turned.space, TurnedSpace)
    turn = turned.space.turn
    assert np.any(turn.terms[0] != np.eye(len(turn.terms[0]))) == has_term
    assert (np.any(turn.fixed != np.eye(len(turn.fixed))) or turn.center.any()) == has_fixed
    # No column is far from the others any more, and each is what it was.
    for columns in (turned.design.X, *(term.values for term in turned.design.terms)):
        assert np.linalg.cond(columns) < 10.0
    for old, new, back in zip(
        (model.design.X - turn.center, *(term.values for term in model.design.terms)),
        (turned.design.X, *(term.values for term in turned.design.terms)),
        (turn.fixed, *turn.terms),
        strict=True,
    ):
        np.testing.assert_allclose(new @ np.linalg.inv(back), old, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "name", ["vector", "alone", "thresholds", "even thresholds", "heavy", "residual"]
)
def test_the_derivative_of_what_is_reported(name):
    formula, family, *_ = CASES[name]
    turned = orthogonal_model(lf.compile(lf.design(formula, far(years(), 100.0)), family))
    space = turned.space
    psi = np.random.default_rng(2).normal(size=space.size)
    found = space.report_jacobian(psi)
    for number in range(space.size):
        step = 1e-5 * np.eye(space.size)[number]
        ends = space.to_report(psi + step) - space.to_report(psi - step)
        np.testing.assert_allclose(found[:, number], ends / 2e-5, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["vector", "alone", "two of a structure", "thresholds"])
def test_the_fit_is_that_of_the_column_about_zero(name):
    formula, family, *_ = CASES[name]
    near = lf.fit(formula, years(), family=family, method="laplace")
    turned = orthogonal_model(lf.compile(lf.design(formula, far(years())), family))
    fit = lf.estimate(turned, method="laplace")
    assert near.converged
    assert fit.converged
    assert fit.param_names == near.param_names
    assert fit.loglik.value == pytest.approx(near.loglik.value, abs=1e-7)
    gap = fit.param_values - moved(near.param_values, near.param_names)
    assert (np.abs(gap) < 1e-3 * fit.param_stderr).all()
    np.testing.assert_allclose(fit.param_stderr, moved_errors(near), rtol=1e-4)
    natural = turned.space.natural(fit.params)
    again = lf.compile(lf.design(formula, far(years())), family).space
    np.testing.assert_allclose(again.to_report(again.to_free(natural)), fit.param_values, rtol=1e-6)


def test_a_variance_of_zero_is_reported_as_one_whatever_stands_for_it():
    """The slope of no variance: the intercept's is that at the middle, far from its origin or not."""
    turned = orthogonal_model(lf.compile(lf.design("yes ~ x + (x | g)", far(years())), "bernoulli"))
    psi = np.array([0.1, 0.2, np.log(0.5), np.log(1e-3), 0.3])
    limit = np.array([0.1, 0.2, np.log(0.5), -np.inf, 0.0])
    space = at_rest(turned, psi, limit).space
    np.testing.assert_allclose(space.to_report(psi)[2:], [0.5, 0.0, 0.0], atol=1e-12)
    expected = np.zeros((3, 3))
    expected[0, 0] = 0.5
    np.testing.assert_allclose(space.report_jacobian(psi)[2:, 2:], expected, atol=1e-12)
    assert turned.space.to_report(psi)[2] > 0.55
