"""Laplace with the families of a single predictor: gradients by differences, and hard starts."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from tests.likelihood.laplace.gradients import check_gradient


def simulated(seed: int, n: int = 240) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    g, h, x = rng.integers(12, size=n), rng.integers(5, size=n), rng.normal(size=n)
    eta = 0.5 + 0.5 * x + 0.6 * rng.normal(size=12)[g] + 0.3 * rng.normal(size=12)[g] * x
    eta += 0.4 * rng.normal(size=5)[h]
    wins = rng.binomial(9, rng.beta(5 / (1 + np.exp(-eta)), 5 / (1 + np.exp(eta))))
    counts = rng.poisson(np.exp(eta) * rng.gamma(2.0, 0.5, size=n))
    return {
        "g": g,
        "h": h,
        "x": x,
        "wins": wins,
        "losses": 9 - wins,
        "yes": (rng.uniform(size=n) < 0.5 + np.arctan(eta) / np.pi).astype(float),
        "count": counts,
        "scarce": counts * (rng.uniform(size=n) < 0.7),
        "number": eta + 0.6 * rng.standard_t(4, size=n),
        "size": rng.wald(np.exp(eta), 3.0),
    }


CASES = [
    ("number ~ x + (x | g) + (1 | h)", "student"),
    ("size ~ x + (x | g)", "lognormal"),
    ("size ~ x + (1 | g) + (1 | h)", "inverse_gaussian"),
    ("cbind(wins, losses) ~ x + (1 | g) + (1 | h)", "beta_binomial"),
    ("yes ~ x + (1 | g)", "bernoulli(cauchit)"),
    ("count ~ x + (1 | g) + (1 | h)", "generalized_poisson"),
    ("scarce ~ x + (x | g)", "zero_inflated_poisson"),
    ("scarce ~ x + (1 | g)", "hurdle_nbinom2"),
]


@pytest.mark.parametrize(("formula", "family"), CASES)
def test_gradient_is_that_of_the_approximation(formula, family):
    check_gradient(lf.compile(lf.design(formula, simulated(1)), family))


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e5])
def test_the_unit_of_a_response_does_not_matter(unit):
    """Of numbers whose sds start on the scale of the response; a few of them are far out."""
    data = simulated(4)
    data["number"][:4] += [300.0, -40.0, 1000.0, 7.0]
    first = lf.fit("number ~ x + (1 | g)", data, "student", method="laplace")
    data["number"] = unit * (data["number"] + 5.0)
    found = lf.fit("number ~ x + (1 | g)", data, "student", method="laplace")
    assert found.converged
    assert found.loglik.value == pytest.approx(first.loglik.value - 240 * np.log(unit), abs=1e-5)
    assert found.family_params["scale"] == pytest.approx(unit * first.family_params["scale"], 1e-3)
    assert found.family_params["df"] == pytest.approx(first.family_params["df"], rel=1e-3)


def test_without_heavy_tails_the_degrees_of_freedom_are_many():
    """The likelihood rises to that of the normal distribution, and the fit says that it stopped there."""
    rng = np.random.default_rng(8)
    g, x = np.arange(200) % 10, rng.uniform(-1.0, 1.0, size=200)
    y = x + rng.normal(size=10)[g] + rng.uniform(-1.0, 1.0, size=200)
    data = {"g": g, "x": x, "y": y}
    student = lf.fit("y ~ x + (1 | g)", data, "student", method="laplace")
    gaussian = lf.fit("y ~ x + (1 | g)", data)
    assert student.family_params["df"] > 1e3
    assert student.loglik.value == pytest.approx(float(gaussian.loglik), abs=0.05)
    assert student.loglik.value <= float(gaussian.loglik)
    np.testing.assert_allclose(student.fixef, gaussian.fixef, atol=0.01)


def test_without_extra_zeros_their_chance_goes_to_none():
    rng = np.random.default_rng(9)
    g, x = np.arange(300) % 15, rng.normal(size=300)
    mean = np.exp(0.2 + 0.4 * x + 0.5 * rng.normal(size=15)[g])
    data = {"g": g, "x": x, "y": rng.poisson(mean).astype(float)}
    # Fewer zeros than a Poisson distribution has.
    data["y"][np.flatnonzero(data["y"] == 0)[::2]] = 1.0
    inflated = lf.fit("y ~ x + (1 | g)", data, "zero_inflated_poisson", method="laplace")
    poisson = lf.fit("y ~ x + (1 | g)", data, "poisson", method="laplace")
    assert inflated.family_params["zero_probability"] < 1e-3
    assert inflated.loglik.value == pytest.approx(poisson.loglik.value, abs=0.01)


def test_a_hurdle_is_a_share_of_zeros_and_a_fit_of_the_rest():
    data = simulated(3)
    fit = lf.fit("scarce ~ x + (1 | g)", data, "hurdle_poisson", method="laplace")
    share = (data["scarce"] == 0).mean()
    assert fit.family_params["zero_probability"] == pytest.approx(share, abs=1e-6)
    error = fit.param_stderr[-1]
    assert error == pytest.approx(np.sqrt(share * (1 - share) / 240), rel=1e-4)
    # Means are of all rows, zeros included.
    assert fit.predict().mean() == pytest.approx(data["scarce"].mean(), rel=0.1)
