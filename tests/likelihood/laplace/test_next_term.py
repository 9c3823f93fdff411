"""The next term of Laplace's series: its formula for one effect a level, quadrature, and what is claimed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

import lmeformula as lf
from lmeformula.estimation.dispatch import estimate
from lmeformula.likelihood.laplace.fit import fit_laplace
from lmeformula.likelihood.laplace.next_term import next_term

# Draws are off by so many of their errors at most, once in 16,000.
FOUR = 4.0
FORMULA = "y ~ 1 + (1 | g)"


def binary(seed: int, sd: float, rows: int, levels: int = 60) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(levels), rows)
    chance = expit(sd * rng.normal(size=levels))[g]
    return {"y": (rng.random(len(g)) < chance).astype(float), "g": g}


@pytest.mark.parametrize(("sd", "rows"), [(0.7, 3), (1.0, 10), (2.0, 5), (1.0, 100)])
def test_it_is_the_formula_of_one_effect(sd, rows):
    """Of each level f4 / (8 H^2) + 5 f3^2 / (24 H^3), with the derivatives of its log joint density."""
    found = fit_laplace(lf.compile(lf.design(FORMULA, binary(1, sd, rows)), "bernoulli"))
    mode = found.approximation.mode
    scale, p = float(mode.at.lambdas[0][0, 0]), expit(mode.eta)
    variance = p * (1.0 - p)
    level = found.problem.plan.matrices[0].indices
    second, third, fourth = (
        np.bincount(level, values)
        for values in (
            -(scale**2) * variance,
            -(scale**3) * variance * (1.0 - 2.0 * p),
            -(scale**4) * variance * (1.0 - 6.0 * variance),
        )
    )
    H = 1.0 - second
    right = float((fourth / (8.0 * H**2) + 5.0 * third**2 / (24.0 * H**3)).sum())
    term = next_term(found.problem, mode)
    # Terms of higher order are in the draws as well.
    assert abs(term.value - right) < FOUR * term.error + 0.1 * abs(right)


@pytest.mark.parametrize(("sd", "rows"), [(0.7, 3), (1.0, 10)])
def test_it_is_what_quadrature_finds(sd, rows):
    data = binary(2, sd, rows)
    fit = lf.fit(FORMULA, data, "bernoulli", method="laplace")
    beta, scale = fit.fixef.item(), float(np.sqrt(fit.params.covariances[0].item()))
    nodes = np.linspace(-9.0, 9.0, 4001)
    weights = np.exp(-0.5 * nodes**2) / np.exp(-0.5 * nodes**2).sum()
    ones = np.bincount(data["g"], data["y"])[:, None]
    eta = beta + scale * nodes
    logs = -ones * np.logaddexp(0.0, -eta) - (rows - ones) * np.logaddexp(0.0, eta)
    exact = float(np.log(np.exp(logs) @ weights).sum())
    found = fit_laplace(fit.model)
    term = next_term(found.problem, found.approximation.mode)
    assert abs(fit.loglik.value + term.value - exact) < FOUR * term.error + 0.1


def test_one_beyond_all_numbers_is_infinite():
    """Where half a density away from the mode is none, its square has no number."""
    found = fit_laplace(lf.compile(lf.design(FORMULA, binary(1, 0.7, 3)), "bernoulli"))
    problem, mode = found.problem, found.approximation.mode

    def lopsided(eta, own):
        slopes = problem.rows.slopes(eta, own)
        return slopes._replace(values=slopes.values + 1e200 * (eta - mode.eta))

    rows = problem.rows._replace(slopes=lopsided)
    assert next_term(problem._replace(rows=rows), mode) == (np.inf, np.inf)


def test_a_gaussian_density_has_none():
    rng = np.random.default_rng(0)
    data = {"y": np.exp(rng.normal(size=40)), "g": np.repeat(np.arange(8), 5)}
    fit = lf.fit(FORMULA, data, "lognormal", method="laplace")
    assert fit.certificate["approximation"].figure == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("family", ["hurdle_poisson", {"mu": "y ~ 1 + (1 | g)", "sigma": "~ g"}])
def test_several_predictors_have_it_too(family):
    rng = np.random.default_rng(3)
    data = {"g": np.repeat(list("abcdefgh"), 12)}
    if isinstance(family, dict):
        data["y"] = rng.normal(size=96)
        fit = lf.fit(family, data, "student", method="laplace")
    else:
        data["y"] = rng.poisson(2.0, size=96)
        fit = lf.fit(FORMULA, data, family, method="laplace")
    assert np.isfinite(fit.certificate["approximation"].figure)


def test_what_is_claimed():
    near = lf.fit(FORMULA, binary(1, 0.5, 20, 12), "bernoulli", method="laplace")
    assert near.certificate["approximation"].holds
    assert "approximation" in str(near.diagnostics)
    away = lf.fit(FORMULA, binary(1, 2.0, 5), "bernoulli", method="laplace")
    claim = away.certificate["approximation"]
    assert claim.holds is None
    assert "method='mcem'" in claim.words
    assert "approximation is open" in str(away.diagnostics)
    # An open claim is no failure.
    assert away.converged
    assert away.certificate.holds


def test_an_approximation_without_sense_is_said_in_the_first_line():
    """Five ones in forty groups of two: the likelihood has no maximum, Laplace's approximation has one."""
    g = np.tile(np.arange(40), 2)
    y = np.zeros(80)
    y[:5] = 1.0
    fit = lf.fit(FORMULA, {"y": y, "g": g}, "bernoulli", method="laplace")
    assert fit.certificate["approximation"].figure > 8.0
    assert "far from the likelihood" in str(fit).splitlines()[0]


def all_alike(num_groups: int) -> dict[str, np.ndarray]:
    """Two responses of each group, which are the same: the likelihood rises with the sd for ever."""
    rng = np.random.default_rng(1)
    y, x = np.repeat(rng.permutation(num_groups) % 2, 2), rng.normal(size=2 * num_groups)
    return {"y": y, "x": x, "g": np.repeat(np.arange(num_groups), 2)}


@pytest.mark.parametrize("link", ["probit", "cloglog"])
def test_much_for_each_effect_is_said_in_the_first_line(link):
    fit = lf.fit(FORMULA, all_alike(60), f"bernoulli({link})", method="laplace")
    assert "far from the likelihood" in str(fit).splitlines()[0]


def test_slopes_of_groups_that_are_alike_are_said_to_be_far():
    """Laplace's maximum is at an sd of fifty, the likelihood's at none."""
    data = all_alike(200) | {"y": np.repeat(np.arange(200) % 9 < 3, 2).astype(int)}
    fit = lf.fit("y ~ x + (x | g)", data, "bernoulli", method="laplace")
    assert "far from the likelihood" in " ".join(str(fit).split())
    assert fit.certificate["approximation"].holds is None


def test_fits_of_folds_do_not_ask():
    """Nobody reads it of one of many fits; what they end with is the same."""
    model = lf.compile(lf.design(FORMULA, binary(2, 1.0, 5)), "bernoulli")
    alone = estimate(model, method="laplace")
    among_many = estimate(model, method="laplace", is_near=True)
    names = [claim.name for claim in alone.certificate.claims]
    assert names[-1] == "approximation"
    assert [claim.name for claim in among_many.certificate.claims] == names[:-1]
    assert np.array_equal(alone.param_values, among_many.param_values)
