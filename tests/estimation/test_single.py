"""Monte Carlo EM of the families with a single predictor against adaptive quadrature, densities by SciPy."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import expit, gammaln, logit

import lmeformula as lf
from tests.estimation.quadrature import Truth, climb, integrated


class Case(NamedTuple):
    """A family: what rows are drawn from, and their density as SciPy has it.

    Attributes:
      family: as users write it.
      own: own parameters that rows are drawn with.
      draw: (generator, predictors (n,), own) -> responses (n,).
      density: (responses (n, 1), predictors (n, c), own) -> log densities (n, c).
      free: own parameters -> unconstrained ones, for the optimiser; by default logarithms.
      natural: the way back.
      sd: of the random intercepts.
      groups, rows: how many, and how many rows each.
      response: as the formula has it.
      nodes: of the quadrature; densities with two maxima in the predictor take many.
    """

    family: str
    own: tuple[float, ...]
    draw: Callable
    density: Callable
    free: Callable = np.log
    natural: Callable = np.exp
    sd: float = 0.8
    groups: int = 40
    rows: int = 6
    response: str = "y"
    nodes: int = 41


def with_chance(forward: Callable, chance: Callable) -> Callable:
    """The last parameter is a chance."""
    return lambda own: np.array([*forward(np.asarray(own)[:-1]), chance(own[-1])])


def inflated(density: Callable) -> Callable:
    def found(y, eta, own):
        value = np.log1p(-own[-1]) + density(y, eta, own[:-1])
        return np.where(y == 0, np.logaddexp(np.log(own[-1]), value), value)

    return found


def cleared(density: Callable) -> Callable:
    def found(y, eta, own):
        some = np.log(-np.expm1(density(np.zeros_like(y), eta, own[:-1])))
        value = np.log1p(-own[-1]) + density(y, eta, own[:-1]) - some
        return np.where(y == 0, np.log(own[-1]), value)

    return found


def poisson(y, eta, own):
    return stats.poisson(np.exp(eta)).logpmf(y)


def draw_poisson(rng, eta, own):
    return rng.poisson(np.exp(eta))


def nbinom2(y, eta, own):
    return stats.nbinom(own[0], own[0] / (own[0] + np.exp(eta))).logpmf(y)


def generalized_poisson(y, eta, own):
    spread = np.sqrt(1 + own[0])
    theta, rate = np.exp(eta) / spread, 1 - 1 / spread
    log_factorial = np.cumsum(np.log(np.maximum(np.arange(y.max() + 1), 1)))[y.astype(int)]
    return np.log(theta) + (y - 1) * np.log(theta + rate * y) - theta - rate * y - log_factorial


def branching(rng, eta, own):
    spread = np.sqrt(1 + own[0])
    parents = rng.poisson(np.exp(eta) / spread)
    total = parents.copy()
    while parents.any():
        parents = rng.poisson((1 - 1 / spread) * parents)
        total += parents
    return total


def above_zero(draw: Callable) -> Callable:
    """Draw again until no row is zero."""

    def found(rng, eta, own):
        counts = draw(rng, eta, own)
        while (counts == 0).any():
            counts = np.where(counts == 0, draw(rng, eta, own), counts)
        return counts

    return found


def draw_nbinom2(rng, eta, own):
    return rng.negative_binomial(own[0], own[0] / (own[0] + np.exp(eta)))


def with_zeros(draw: Callable) -> Callable:
    return lambda rng, eta, own: draw(rng, eta, own) * (rng.uniform(size=len(eta)) > own[-1])


def shares(inverse: Callable) -> Callable:
    def density(y, eta, own):
        mean = inverse(eta)
        return stats.betabinom(9, own[0] * mean, own[0] * (1 - mean)).logpmf(y)

    return density


def draw_shares(inverse: Callable) -> Callable:
    def draw(rng, eta, own):
        mean = inverse(eta)
        return rng.binomial(9, rng.beta(own[0] * mean, own[0] * (1 - mean)))

    return draw


def draw_amounts(rng, eta, own):
    number = np.exp((2 - own[1]) * eta) / (own[0] * (2 - own[1]))
    count = rng.poisson(number)
    shape, scale = (2 - own[1]) / (own[1] - 1), own[0] * (own[1] - 1) * np.exp((own[1] - 1) * eta)
    return np.where(count > 0, rng.gamma(np.maximum(count, 1) * shape, scale), 0.0)


def amounts(y, eta, own):
    """A sum over numbers of gamma amounts: the rows have some ten at most."""
    number = np.exp((2 - own[1]) * eta) / (own[0] * (2 - own[1]))
    shape, scale = (2 - own[1]) / (own[1] - 1), own[0] * (own[1] - 1) * np.exp((own[1] - 1) * eta)
    held = np.where(y > 0, y, 1.0)
    total = np.full(np.broadcast(y, eta).shape, -np.inf)
    for j in range(1, 60):
        gamma = (j * shape - 1) * np.log(held / scale) - held / scale - np.log(scale)
        chance = j * np.log(number) - number - gammaln(j + 1)
        total = np.logaddexp(total, chance + gamma - gammaln(j * shape))
    return np.where(y > 0, total, -number)


def draw_ordered(rng, eta, own):
    mean, part = expit(eta), rng.uniform(size=len(eta))
    inner = np.clip(rng.beta(own[0] * mean, own[0] * (1 - mean)), 1e-9, 1 - 1e-9)
    inner = np.where(part < expit(eta - own[1]), inner, 0.0)
    return np.where(part < expit(eta - own[2]), 1.0, inner)


def ordered(y, eta, own):
    inner, mean = np.where((y > 0) & (y < 1), y, 0.5), expit(eta)
    between = np.log(expit(eta - own[1]) - expit(eta - own[2]))
    between = between + stats.beta(own[0] * mean, own[0] * (1 - mean)).logpdf(inner)
    ends = np.where(y > 0, -np.logaddexp(0, own[2] - eta), -np.logaddexp(0, eta - own[1]))
    return np.where((y > 0) & (y < 1), between, ends)


LOGS_AND_CHANCE = {"free": with_chance(np.log, logit), "natural": with_chance(np.exp, expit)}
TRIALS = "cbind(y, 9 - y)"

CASES = {
    case.family: case
    for case in (
        Case(
            "student",
            (0.7, 3.5),
            lambda rng, eta, own: eta + own[0] * rng.standard_t(own[1], size=len(eta)),
            lambda y, eta, own: stats.t(own[1], eta, own[0]).logpdf(y),
            lambda own: np.log([own[0], own[1] - 1]),
            lambda free: np.exp(free) + np.array([0.0, 1.0]),
        ),
        Case(
            "lognormal",
            (0.6,),
            lambda rng, eta, own: np.exp(eta + own[0] * rng.normal(size=len(eta))),
            lambda y, eta, own: stats.lognorm(own[0], scale=np.exp(eta)).logpdf(y),
        ),
        Case(
            "inverse_gaussian",
            (1.5,),
            lambda rng, eta, own: rng.wald(np.exp(eta), own[0]),
            lambda y, eta, own: stats.invgauss(np.exp(eta) / own[0], scale=own[0]).logpdf(y),
            nodes=81,
        ),
        Case("beta_binomial", (4.0,), draw_shares(expit), shares(expit), response=TRIALS),
        Case(
            "beta_binomial(cauchit)",
            (8.0,),
            draw_shares(stats.cauchy.cdf),
            shares(stats.cauchy.cdf),
            response=TRIALS,
        ),
        Case(
            "bernoulli(cauchit)",
            (),
            lambda rng, eta, own: (rng.uniform(size=len(eta)) < stats.cauchy.cdf(eta)).astype(
                float
            ),
            lambda y, eta, own: stats.cauchy.logcdf(np.where(y > 0, eta, -eta)),
            sd=1.5,
            groups=60,
            nodes=81,
        ),
        Case(
            "tweedie",
            (1.3, 1.4),
            draw_amounts,
            amounts,
            with_chance(np.log, lambda power: logit(power - 1)),
            with_chance(np.exp, lambda free: 1 + expit(free)),
        ),
        Case(
            "ordered_beta",
            (5.0, -1.2, 1.5),
            draw_ordered,
            ordered,
            lambda own: np.array([np.log(own[0]), *own[1:]]),
            lambda free: np.array([np.exp(free[0]), *free[1:]]),
        ),
        Case("generalized_poisson", (1.2,), branching, generalized_poisson),
        Case(
            "zero_inflated_poisson",
            (0.3,),
            with_zeros(draw_poisson),
            inflated(poisson),
            **LOGS_AND_CHANCE,
        ),
        Case(
            "zero_inflated_nbinom2",
            (2.0, 0.3),
            with_zeros(draw_nbinom2),
            inflated(nbinom2),
            groups=60,
            **LOGS_AND_CHANCE,
        ),
        Case(
            "hurdle_poisson",
            (0.4,),
            with_zeros(above_zero(draw_poisson)),
            cleared(poisson),
            **LOGS_AND_CHANCE,
        ),
        Case(
            "hurdle_nbinom2",
            (2.0, 0.4),
            with_zeros(above_zero(draw_nbinom2)),
            cleared(nbinom2),
            groups=60,
            **LOGS_AND_CHANCE,
        ),
    )
}


def data_of(case: Case) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(17)
    n = case.groups * case.rows
    g, x = np.repeat(np.arange(case.groups), case.rows), rng.normal(size=n)
    eta = 0.6 + 0.5 * x + case.sd * rng.normal(size=case.groups)[g]
    return {"g": g, "x": x, "y": np.asarray(case.draw(rng, eta, case.own), float)}


def log_likelihood(case: Case, psi: np.ndarray, num_nodes: int = 0) -> float:
    """At (beta, log sd, own unconstrained)."""
    data = data_of(case)
    y, own = data["y"][:, None], case.natural(psi[3:]) if case.own else np.zeros(0)
    base = (psi[0] + psi[1] * data["x"])[:, None]

    def log_density(u: np.ndarray) -> np.ndarray:
        eta = base + np.exp(psi[2]) * np.repeat(u, case.rows, axis=0)
        return case.density(y, eta, own).reshape(case.groups, case.rows, -1).sum(axis=1)

    return integrated(log_density, case.groups, num_nodes or case.nodes)


@cache
def truth(name: str) -> Truth:
    case = CASES[name]

    def negative(psi: np.ndarray) -> float:
        return -log_likelihood(case, psi)

    def report(psi: np.ndarray) -> np.ndarray:
        own = case.natural(psi[3:]) if case.own else np.zeros(0)
        return np.array([*psi[:2], np.exp(psi[2]), *own])

    first = np.array([0.6, 0.5, np.log(case.sd), *(case.free(case.own) if case.own else ())])
    found = optimize.minimize(negative, first, method="BFGS", options={"gtol": 1e-3}).x
    top = climb(lambda psi: -negative(psi), found, 2)
    units = np.eye(len(first))
    ends = [(report(top.values + 1e-6 * e), report(top.values - 1e-6 * e)) for e in units]
    jacobian = np.array([above - below for above, below in ends]).T / 2e-6
    return Truth(report(top.values), jacobian @ top.covariance @ jacobian.T, top.loglik)


def check(name: str) -> None:
    case, expected = CASES[name], truth(name)
    fit = lf.fit(
        f"{case.response} ~ x + (1 | g)", data_of(case), name, method="mcem", seed=1, progress=False
    )
    assert fit.converged
    assert (fit.param_mc_error < 0.0101 * fit.param_stderr).all()
    # Differences with a step of 5e-3 are good to 1e-3 of a standard error; of a lognormal response, and of a
    # hurdle's zero part, there is no Monte Carlo error.
    rounding = 1e-3 * expected.stderr
    distance = np.abs(fit.param_values - expected.values)
    assert (distance < 4.5 * fit.param_mc_error + rounding).all()
    assert abs(fit.loglik.value - expected.loglik) < 4.5 * fit.loglik.mc_error + 1e-6
    allowed = 4.5 * fit.param_stderr_error + rounding
    assert (np.abs(fit.param_stderr - expected.stderr) < allowed).all()


def test_zero_inflated_counts_are_those_of_quadrature():
    check("zero_inflated_poisson")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name != "zero_inflated_poisson"])
def test_estimates_errors_and_likelihood_are_those_of_quadrature(name):
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_nodes_are_enough(name):
    case, values = CASES[name], truth(name).values
    own = case.free(values[3:]) if case.own else ()
    psi = np.array([*values[:2], np.log(values[2]), *own])
    assert log_likelihood(case, psi) == pytest.approx(log_likelihood(case, psi, 121), abs=1e-5)
