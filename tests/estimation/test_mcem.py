"""Monte Carlo EM against adaptive quadrature: estimates, standard errors, likelihood, calibration."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import gammaln, logsumexp

import lmeformula as lf


class Case(NamedTuple):
    """One random intercept: groups of `rows` rows, effects of standard deviation `sd`."""

    family: str
    groups: int
    rows: int
    sd: float


CASES = {
    "binary": Case("bernoulli", 80, 3, 1.7),
    "pairs": Case("bernoulli", 150, 2, 2.0),
    "counts": Case("poisson", 40, 3, 1.0),
}


class Truth(NamedTuple):
    """The maximum (beta, log sd) by 25-node adaptive quadrature, with its covariance and likelihood."""

    psi: np.ndarray
    covariance: np.ndarray
    loglik: float


def data_of(case: Case) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    n = case.groups * case.rows
    g, x = np.repeat(np.arange(case.groups), case.rows), rng.normal(size=n)
    eta = 0.4 + 0.7 * x + case.sd * rng.normal(size=case.groups)[g]
    if case.family == "poisson":
        return {"g": g, "x": x, "y": rng.poisson(np.exp(eta - 0.3)).astype(float)}
    return {"g": g, "x": x, "y": (rng.uniform(size=n) < 1 / (1 + np.exp(-eta))).astype(float)}


def quadrature(case: Case, psi: np.ndarray, num_nodes: int = 25) -> float:
    """The log-likelihood, each group's nodes around its mode and as wide as its curvature says."""
    data = data_of(case)
    g, y = data["g"], data["y"][:, None]
    base = (psi[0] + psi[1] * data["x"])[:, None]
    nodes, weights = np.polynomial.hermite_e.hermegauss(num_nodes)

    def log_joint(u: np.ndarray) -> np.ndarray:
        eta = base + np.exp(psi[2]) * u[g]
        rows = y * eta - np.logaddexp(0, eta)
        if case.family == "poisson":
            rows = y * eta - np.exp(eta) - gammaln(y + 1)
        total = np.zeros_like(u)
        np.add.at(total, g, rows)
        return total - 0.5 * u**2 - 0.5 * np.log(2 * np.pi)

    u, h = np.zeros((case.groups, 1)), 1e-3
    for _ in range(30):
        above, here, below = log_joint(u + h), log_joint(u), log_joint(u - h)
        curvature = np.minimum((above - 2 * here + below) / h**2, -1.0)
        u = u - np.clip((above - below) / (2 * h) / curvature, -1, 1)
    spread = 1 / np.sqrt(-curvature)
    value = log_joint(u + spread * nodes) + np.log(weights) + 0.5 * nodes**2
    return float((logsumexp(value, axis=1) + np.log(spread[:, 0])).sum())


@cache
def truth(name: str) -> Truth:
    case = CASES[name]

    def negative(psi: np.ndarray) -> float:
        return -quadrature(case, psi)

    start = optimize.minimize(negative, [0.4, 0.7, np.log(case.sd)], method="BFGS").x
    units, h = np.eye(3), 5e-3
    for _ in range(3):
        slope = np.array([negative(start + h * e) - negative(start - h * e) for e in units])
        second = np.array(
            [
                [
                    negative(start + h * (a + b))
                    - negative(start + h * (a - b))
                    - negative(start - h * (a - b))
                    + negative(start - h * (a + b))
                    for a in units
                ]
                for b in units
            ]
        ) / (4 * h**2)
        start = start - np.linalg.solve(second, slope / (2 * h))
    return Truth(start, np.linalg.inv(second), -negative(start))


@cache
def model(name: str) -> lf.Model:
    case = CASES[name]
    return lf.compile(lf.design("y ~ x + (1 | g)", data_of(case)), case.family)


def reported(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The true maximum and standard errors on the reporting scale, whose last element is the sd."""
    found = truth(name)
    scale = np.array([1.0, 1.0, np.exp(found.psi[2])])
    values = np.array([*found.psi[:2], scale[2]])
    return values, scale * np.sqrt(np.diag(found.covariance))


@pytest.mark.parametrize("name", CASES)
def test_estimates_errors_and_likelihood_are_those_of_quadrature(name):
    fit = lf.estimate(model(name), method="mcem", seed=1, progress=False)
    values, stderr = reported(name)
    assert fit.converged
    assert fit.information == "monte carlo"
    assert (fit.param_mc_error < 0.0101 * fit.param_stderr).all()
    assert (np.abs(fit.param_values - values) < 4.5 * fit.param_mc_error).all()
    assert abs(fit.loglik.value - truth(name).loglik) < 4.5 * fit.loglik.mc_error
    # Differences with a step of 5e-3 are good to 1e-4 of a standard error.
    assert (np.abs(fit.param_stderr - stderr) < 4.5 * fit.param_stderr_error + 1e-3 * stderr).all()
    assert (fit.param_stderr_error < 0.02 * stderr).all()


@pytest.mark.parametrize("name", ["binary", "pairs"])
def test_laplace_standard_errors_are_wrong_here(name):
    """By more than what the corrected ones are off: the correction is one."""
    approximate = lf.estimate(model(name), method="laplace")
    _, stderr = reported(name)
    assert np.abs(approximate.param_stderr / stderr - 1).max() > 0.05


def calibrate(name: str, num_seeds: int) -> None:
    values, stderr = reported(name)
    squares = []
    for seed in range(num_seeds):
        fit = lf.estimate(model(name), method="mcem", seed=100 + seed, progress=False)
        of_errors = (fit.param_stderr - stderr) / np.hypot(fit.param_stderr_error, 1e-4 * stderr)
        of_likelihood = (fit.loglik.value - truth(name).loglik) / fit.loglik.mc_error
        of_values = (fit.param_values - values) / fit.param_mc_error
        squares.append(np.array([*of_values, *of_errors, of_likelihood]) ** 2)
    mean = np.mean(squares, axis=0)
    # Errors from some dozens of batch means make squares that vary somewhat more than chi-square: a tenth in
    # their mean, and half again for those of errors, which are ratios of noisy estimates themselves.
    low, high = stats.chi2(num_seeds).ppf([1e-4, 1 - 1e-4]) / num_seeds
    assert (mean > low / 1.1).all()
    assert (mean[[0, 1, 2, 6]] < 1.1 * high).all()
    assert (mean[3:6] < 1.5 * high).all()


def test_reported_errors_are_calibrated():
    calibrate("counts", 12)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_reported_errors_are_calibrated_over_many_seeds(name):
    calibrate(name, 40)


# ---- boundaries


def rows_without(kind: str, seed: int) -> dict[str, np.ndarray]:
    """240 rows in 30 groups that do not differ, or differ in one direction of intercept and slope."""
    rng = np.random.default_rng(seed)
    n = 240
    g, h, x = np.arange(n) % 30, rng.integers(8, size=n), rng.normal(size=n)
    eta = 0.3 + 0.5 * x
    if kind == "one direction":
        b = rng.normal(size=30)
        eta = eta + 0.8 * b[g] + 0.5 * b[g] * x
    if kind == "other factor":
        eta = eta + 0.9 * rng.normal(size=8)[h]
    yes = (rng.uniform(size=n) < 1 / (1 + np.exp(-eta))).astype(float)
    return {"g": g, "h": h, "x": x, "yes": yes, "y": eta + rng.normal(size=n)}


@pytest.mark.parametrize(
    ("kind", "formula", "family", "seed"),
    [
        ("nothing", "yes ~ x + (1 | g)", "bernoulli", 1),
        ("nothing", "y ~ x + (1 | g)", "gaussian", 1),
        ("nothing", "y ~ x + (x | g)", "gaussian", 0),
        ("other factor", "yes ~ x + (1 | g) + (1 | h)", "bernoulli", 0),
        ("other factor", "y ~ x + (1 | g) + (1 | h)", "gaussian", 1),
        ("one direction", "yes ~ x + (x | g)", "bernoulli", 0),
        ("one direction", "y ~ x + (x | g)", "gaussian", 0),
    ],
)
def test_a_singular_covariance_is_found_and_held(kind, formula, family, seed):
    made = lf.compile(lf.design(formula, rows_without(kind, seed)), family)
    known = lf.estimate(made, method="exact" if family == "gaussian" else "laplace")
    found = lf.estimate(made, method="mcem", seed=seed, progress=False)
    assert known.singular
    assert found.singular
    assert found.converged
    assert len(found.iterations) <= 15
    # Laplace is off by a part of a standard error; a Gaussian fit by nothing.
    off = 0.01 if family == "gaussian" else 0.5
    fixed = made.space.num_fixed
    distance = (found.param_values - known.param_values)[:fixed] / found.param_stderr[:fixed]
    assert (np.abs(distance) < off).all()
    np.testing.assert_allclose(
        [np.linalg.det(covariance) for covariance in found.params.covariances if covariance.ndim],
        [np.linalg.det(covariance) for covariance in known.params.covariances],
        atol=1e-5,
        rtol=0.3,
    )
    if family == "gaussian":
        assert found.loglik.value == pytest.approx(known.loglik.value, abs=1e-4)
