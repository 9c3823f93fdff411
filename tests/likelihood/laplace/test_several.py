"""Laplace with several linear predictors: gradients by differences, published fits, and units."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.likelihood.laplace.likelihood import approximate
from lmeformula.likelihood.laplace.modes import arrays_of, gradient, place
from tests.likelihood.laplace.gradients import check_gradient

REFERENCES = {
    entry["id"]: entry
    for entry in json.loads(
        (Path(__file__).parents[2] / "reference" / "predictors.json").read_text(encoding="utf-8")
    )
}


def simulated(seed: int, groups: int = 14, rows: int = 8) -> dict[str, np.ndarray]:
    """Rows whose location and log scale vary with x and between the levels of g; h is crossed with it."""
    rng = np.random.default_rng(seed)
    n = groups * rows
    g, h, x = np.repeat(np.arange(groups), rows), rng.integers(5, size=n), rng.normal(size=n)
    first, second = (rng.normal(size=(groups, 2)) @ np.array([[0.8, 0.2], [0.0, 0.4]]))[g].T
    y = 1.0 + 0.5 * x + first + 0.4 * rng.normal(size=5)[h]
    y += np.exp(-0.3 + 0.3 * x + second) * rng.normal(size=n)
    counts = rng.poisson(np.exp(0.5 * y))
    return {
        "g": g,
        "h": h,
        "x": x,
        "y": y,
        "positive": np.exp(0.4 * y),
        "share": 1.0 / (1.0 + np.exp(-y)),
        "count": counts * (rng.uniform(size=n) < 0.8),
        "rating": np.clip(np.round(y), -1, 3) + 2.0,
        "kind": np.array(["a", "b", "c"], dtype=object)[
            np.digitize(y + rng.normal(size=n), [0, 2])
        ],
    }


LINKED = "~ x + (1 | p | g)"
CASES = {
    "gaussian": {"mu": "y ~ x + (1 | p | g) + (1 | h)", "sigma": LINKED},
    "student": {"mu": "y ~ x + (1 | p | g)", "sigma": LINKED, "nu": "~ 1"},
    "cumulative(probit)": {"mu": "rating ~ x + (1 | p | g) + (1 | h)", "disc": LINKED},
    "gamma": {"mu": "positive ~ x + (1 | g)", "shape": "~ x + (1 | h)"},
    "beta": {"mu": "share ~ x + (1 | p | g)", "phi": LINKED},
    "hurdle_nbinom2": {
        "mu": "count ~ x + (1 | p | g)",
        "dispersion": "~ x",
        "hu": "~ 1 + (1 | p | g)",
    },
    "zero_inflated_poisson": {"mu": "count ~ x + (1 | g) + (1 | h)", "zi": "~ x + (1 | h)"},
    "categorical": {"mu": "kind ~ x + (1 | p | g) + (1 | h)"},
}


# What one of these shows, the others do: they take seconds.
SLOW = ("student", "cumulative(probit)", "beta", "hurdle_nbinom2")
SLOW += ("wine-betabinomial", "salamanders-nbinom1")
SLOW += ("salamanders-hurdle-poisson", "salamanders-hurdle-nbinom2")


def some(ids):
    return [pytest.param(id, marks=[pytest.mark.slow] if id in SLOW else []) for id in ids]


@pytest.mark.parametrize("family", some(CASES))
def test_gradient_is_that_of_the_approximation(family):
    check_gradient(lf.compile(lf.design(CASES[family], simulated(3)), family))


@pytest.mark.parametrize("id", some(id for id in REFERENCES if id != "wine-disc"))
def test_fits_are_those_of_glmmtmb(id):
    """Which was asked for a relative change of 1e-13: some six digits of the estimates."""
    reference = REFERENCES[id]
    data = lf.datasets.load(reference["data"])
    fit = lf.fit(reference["formulas"], data, reference["family"], method="laplace")
    assert fit.converged
    assert fit.loglik.df == reference["df"]
    assert float(fit.loglik) == pytest.approx(reference["logLik"], abs=1e-6)
    distance = (fit.fixef.to_numpy() - reference["fixed"]) / reference["fixed_se"]
    np.testing.assert_allclose(distance, 0.0, atol=1e-3)
    np.testing.assert_allclose(fit.stderr, reference["fixed_se"], rtol=2e-4)
    found = np.concatenate([np.sqrt(np.diag(matrix)) for matrix in fit.params.covariances])
    np.testing.assert_allclose(found, reference["sd"], rtol=2e-4)
    np.testing.assert_allclose(fit.family_params, reference["own"], rtol=2e-4)


def test_a_latent_scale_is_that_of_clm():
    """Where the random effects do not vary the approximation is the likelihood, and clm's maximum its own."""
    reference = REFERENCES["wine-disc"]
    formulas = {**reference["formulas"], "mu": "rating ~ temp + (1 | judge)"}
    model = lf.compile(lf.design(formulas, lf.datasets.load("wine")), "cumulative")
    assert model.design.names == ("temp[T.warm]", "disc_contact[T.yes]")
    beta, own = np.array(reference["fixed"]), np.array(reference["own"])
    params = model.start._replace(beta=beta, own=own, covariances=(np.array([[1e-16]]),))
    psi = model.space.to_free(params)
    problem = arrays_of(model, layout(model.stack.terms))
    found = approximate(problem, place(model.space, psi), np.zeros(9))
    assert found.value == pytest.approx(reference["logLik"], abs=1e-8)
    slopes = gradient(model.space, psi, found)
    np.testing.assert_allclose(np.delete(slopes, 2), 0.0, atol=1e-4)


def test_a_constant_predictor_is_the_parameter():
    """Of the family as it is with one predictor; the predictor is its logarithm."""
    data = simulated(5)
    one = lf.fit("y ~ x + (1 | g)", data)
    two = lf.fit({"mu": "y ~ x + (1 | g)", "sigma": "~ 1"}, data, method="laplace")
    assert float(two.loglik) == pytest.approx(float(one.loglik), abs=1e-8)
    assert np.exp(two.fixef["sigma_Intercept"]) == pytest.approx(one.sigma, rel=1e-5)
    np.testing.assert_allclose(two.fixef[:2], one.fixef, rtol=1e-5)
    counts = lf.fit("count ~ x + (1 | g)", data, "zero_inflated_poisson", method="laplace")
    formulas = {"mu": "count ~ x + (1 | g)", "zi": "~ 1"}
    again = lf.fit(formulas, data, "zero_inflated_poisson", method="laplace")
    assert float(again.loglik) == pytest.approx(float(counts.loglik), abs=1e-6)
    chance = 1.0 / (1.0 + np.exp(-again.fixef["zi_Intercept"]))
    assert chance == pytest.approx(counts.family_params["zero_probability"], rel=1e-3)


@pytest.mark.parametrize("unit", [1e-5, 1e5])
def test_the_unit_of_a_response_does_not_matter(unit):
    data, formulas = simulated(7), {"mu": "y ~ x + (1 | p | g)", "sigma": LINKED}
    first = lf.fit(formulas, data, method="laplace")
    found = lf.fit(formulas, {**data, "y": unit * data["y"]}, method="laplace")
    assert found.converged
    moved = float(first.loglik) - len(data["y"]) * np.log(unit)
    assert float(found.loglik) == pytest.approx(moved, abs=1e-6)
    assert found.fixef["x"] == pytest.approx(unit * first.fixef["x"], rel=1e-4)
    assert found.fixef["sigma_x"] == pytest.approx(first.fixef["sigma_x"], rel=1e-4)
    np.testing.assert_allclose(found.param_values[-1], first.param_values[-1], rtol=1e-3)
