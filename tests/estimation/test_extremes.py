"""Exact fits where numbers are extreme: other units, large means, tiny residuals and none at all."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf

GROUPS, ROWS = 12, 6
SOLVERS = ("small", "direct", "iterative")
UNITS = (1e-120, 1e-100, 1e-30, 1e30, 1e100, 1e130)


def rows(seed: int = 5):
    """A response of intercepts and slopes by group, and crossed intercepts."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(GROUPS), ROWS)
    h = np.tile(np.arange(ROWS), GROUPS)
    x = np.tile(np.arange(ROWS) - 1.0, GROUPS)
    b = rng.normal(size=(GROUPS, 2)) * [3.0, 1.0]
    y = 20.0 + 2.0 * x + b[g, 0] + b[g, 1] * x + rng.normal(size=len(g))
    return {"y": y, "x": x, "g": [f"g{i:02d}" for i in g], "h": [f"h{i}" for i in h]}


@pytest.fixture(params=SOLVERS)
def solver(request, monkeypatch):
    """Fits by the dense products, by the blocks, and by conjugate gradients."""
    if request.param == "direct":
        monkeypatch.setattr(
            "lmeformula.likelihood.gaussian.sums.dense_products", lambda plan, products: None
        )
    return {"solver": "iterative" if request.param == "iterative" else "direct"}


@pytest.mark.parametrize("reml", [False, True], ids=["ML", "REML"])
def test_the_unit_of_the_response_is_a_factor(solver, reml):
    data = rows()
    plain = lf.fit("y ~ x + (x | g)", data, reml=reml, **solver)
    assert plain.converged
    unit_of = np.array([not name.startswith("cor") for name in plain.param_names])
    freedom = plain.nobs - 2 * reml
    for unit in UNITS:
        fit = lf.fit("y ~ x + (x | g)", {**data, "y": unit * data["y"]}, reml=reml, **solver)
        assert fit.outcome is plain.outcome
        back = np.where(unit_of, unit, 1.0)
        for found, expected in (
            (fit.param_values / back, plain.param_values),
            (fit.param_stderr / back, plain.param_stderr),
        ):
            np.testing.assert_allclose(
                found, expected, rtol=2e-3 if solver["solver"] == "iterative" else 1e-6
            )
        expected = plain.loglik.value - freedom * np.log(unit)
        assert fit.loglik.value == pytest.approx(expected, rel=1e-9)


def test_a_large_mean_of_the_response_is_the_intercept(solver):
    data = rows()
    plain = lf.fit("y ~ x + (x | g)", data, **solver)
    fit = lf.fit("y ~ x + (x | g)", {**data, "y": data["y"] + 1e8}, **solver)
    assert fit.converged
    np.testing.assert_allclose(fit.param_values[1:], plain.param_values[1:], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(fit.param_stderr, plain.param_stderr, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y": 1e200}, "the response 'y' is as large as"),
        ({"y": 1e-200}, "multiply it by a power of ten"),
        ({"x": 1e200}, "the column 'x'"),
    ],
    ids=["large", "small", "a large column"],
)
def test_squares_that_are_no_numbers_are_refused(solver, changes, words):
    data = rows()
    data |= {name: unit * data[name] for name, unit in changes.items()}
    with pytest.raises(lf.FormulaDataError, match="squares") as caught:
        lf.fit("y ~ x + (x | g)", data, **solver)
    assert words in str(caught.value)


def test_a_slope_far_from_zero_is_refused_in_words(solver):
    data = rows()
    with pytest.raises(lf.FormulaDataError, match="hardly to be told apart") as caught:
        lf.fit("y ~ x + (x | g)", {**data, "x": data["x"] + 1e7}, **solver)
    assert "Take a column's mean off" in str(caught.value)


EXACT = {
    "a line": ("y ~ x + (1 | g)", lambda x, g, h: 2.0 + 3.0 * x),
    "groups": ("y ~ 1 + (1 | g)", lambda x, g, h: 2.0 + np.sin(1.0 + g)),
    "groups, no intercept": ("y ~ 0 + (1 | g)", lambda x, g, h: 2.0 + np.sin(1.0 + g)),
    "crossed": ("y ~ x + (1 | g) + (1 | h)", lambda x, g, h: x + np.sin(1.0 + g) + np.cos(h)),
    "a line in each group": ("y ~ x + (x | g)", lambda x, g, h: np.sin(1.0 + g) + np.cos(g) * x),
    "apart": ("y ~ x + (x || g)", lambda x, g, h: np.sin(1.0 + g) + np.cos(g) * x),
}


@pytest.mark.parametrize("reml", [False, True], ids=["ML", "REML"])
@pytest.mark.parametrize("name", EXACT)
def test_a_perfect_fit_is_said_to_be_one(solver, name, reml):
    formula, response = EXACT[name]
    data = rows()
    g, h = (np.array([int(label[1:]) for label in data[column]]) for column in "gh")
    fit = lf.fit(formula, {**data, "y": response(data["x"], g, h)}, reml=reml, **solver)
    assert fit.outcome is lf.Outcome.PERFECT_FIT
    assert not fit.converged
    assert np.isnan(fit.param_stderr).all()
    assert "meets the responses exactly" in fit.certificate["residuals"].words


@pytest.mark.parametrize("size", [1e-4, 1e-6])
@pytest.mark.parametrize(
    "formula", ["y ~ x + (1 | g)", "y ~ x + (1 | g) + (1 | h)", "y ~ x + (x | g)"]
)
def test_a_nearly_perfect_fit_is_a_fit(monkeypatch, formula, size):
    """sigma and its error scale with the noise; both factorisations agree."""
    data = rows()
    rng = np.random.default_rng(8)
    g, h = (np.array([int(label[1:]) for label in data[column]]) for column in "gh")
    smooth = data["x"] * (1.0 + np.cos(g) * ("(x" in formula)) + np.sin(1.0 + g)
    smooth = smooth + np.cos(h) * ("(1 | h)" in formula)
    noisy = {**data, "y": smooth + size * rng.normal(size=len(g))}
    fit = lf.fit(formula, noisy)
    assert fit.converged
    assert fit.sigma == pytest.approx(size, rel=0.3)
    # Half of what the degrees of freedom leave to chance.
    error = fit.param_stderr[-1] / fit.sigma
    left = fit.nobs - 2 - (GROUPS - 1 if "(x" not in formula else 2 * GROUPS - 2)
    assert error == pytest.approx(1 / np.sqrt(2 * left), rel=0.15)


def test_nearly_perfect_fits_by_blocks_are_those_by_dense_products(monkeypatch):
    data = rows()
    rng = np.random.default_rng(8)
    g = np.array([int(label[1:]) for label in data["g"]])
    noisy = {**data, "y": data["x"] + np.sin(1.0 + g) + 1e-5 * rng.normal(size=len(g))}
    fit = lf.fit("y ~ x + (1 | g)", noisy)
    monkeypatch.setattr("lmeformula.likelihood.gaussian.sums.dense_products", lambda *given: None)
    other = lf.fit("y ~ x + (1 | g)", noisy)
    assert other.converged
    assert other.loglik.value == pytest.approx(fit.loglik.value, abs=1e-6)
    np.testing.assert_allclose(other.param_values, fit.param_values, rtol=1e-5)
    # Of the blocks' observed information the differences keep a third of the digits.
    np.testing.assert_allclose(other.param_stderr, fit.param_stderr, rtol=1e-3)
