"""Monte Carlo EM with parameters of the family's own, against 25-node adaptive quadrature."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize, special, stats

import lmeformula as lf
from lmeformula.em.loop import run
from lmeformula.likelihood.laplace.fit import fit_laplace
from lmeformula.model import Model
from lmeformula.sampling.laplace import laplace_problem
from tests.simulate import differences


class Case(NamedTuple):
    formula: str
    family: str
    log_rows: object  # (response, eta (n, m), own) -> (n, m)


def ordinal(y: np.ndarray, eta: np.ndarray, own: np.ndarray) -> np.ndarray:
    edges = np.concatenate([[-np.inf], own, [np.inf]])
    code = y.astype(int)
    upper, lower = edges[code + 1][:, None] - eta, edges[code][:, None] - eta
    return np.log(special.expit(upper) - special.expit(lower))


def negative_binomial(y: np.ndarray, eta: np.ndarray, own: np.ndarray) -> np.ndarray:
    return stats.nbinom(own[0], own[0] / (own[0] + np.exp(eta))).logpmf(y[:, None])


CASES = {
    "wine": Case("rating ~ temp + contact + (1 | judge)", "cumulative", ordinal),
    "counts": Case("y ~ x + (1 | g)", "nbinom2", negative_binomial),
}


def data_of(name: str):
    if name == "wine":
        return lf.datasets.load("wine")
    rng = np.random.default_rng(20240612)
    g, x = np.repeat(np.arange(25), 6), rng.normal(size=150)
    mean = np.exp(0.2 + 0.5 * x + 0.7 * rng.normal(size=25)[g])
    return {"x": x, "g": g, "y": rng.poisson(mean * rng.gamma(1.5, 1 / 1.5, size=150))}


@cache
def model_of(name: str) -> Model:
    case = CASES[name]
    return lf.compile(lf.design(case.formula, data_of(name)), case.family)


@cache
def fit_of(name: str) -> lf.Fit:
    return lf.estimate(model_of(name), method="mcem", progress=False, seed=4)


def quadrature(name: str, psi: np.ndarray, modes: np.ndarray, sds: np.ndarray) -> float:
    """The log-likelihood at psi, of one scalar grouping factor, by 25 nodes around each level's mode."""
    model = model_of(name)
    design, params = model.design, model.space.to_natural(psi)
    (term,), (covariance,) = design.terms, params.covariances
    y = model.family.response(design)[0]
    nodes, weights = np.polynomial.hermite_e.hermegauss(25)
    b = modes[:, None] + sds[:, None] * nodes
    eta = (design.X @ params.beta + design.offset)[:, None] + b[term.index]
    rows = CASES[name].log_rows(y, eta, params.own)
    total = np.zeros_like(b)
    np.add.at(total, term.index, rows)
    total += stats.norm(0.0, np.sqrt(covariance[0, 0])).logpdf(b)
    total += np.log(weights) + 0.5 * nodes**2 + 0.5 * np.log(2 * np.pi) + np.log(sds)[:, None]
    return float((special.logsumexp(total, axis=1) - 0.5 * np.log(2 * np.pi)).sum())


@cache
def quadrature_maximum(name: str) -> tuple[np.ndarray, float]:
    model, fit = model_of(name), fit_of(name)
    modes, sds = fit.modes[0][:, 0], np.sqrt(fit.mode_cov[0][:, 0, 0])
    found = optimize.minimize(
        lambda psi: -quadrature(name, psi, modes, sds),
        model.space.to_free(fit.params),
        method="BFGS",
        options={"gtol": 1e-5},
    )
    return model.space.to_report(found.x), -found.fun


@pytest.mark.parametrize("name", CASES)
def test_estimates_are_those_of_quadrature(name):
    fit, (expected, _) = fit_of(name), quadrature_maximum(name)
    assert fit.converged
    assert (fit.param_mc_error < 0.012 * fit.param_stderr).all()
    # The optimiser's gradient by differences leaves some 1e-3 standard errors.
    allowed = 4.0 * fit.param_mc_error + 2e-3 * fit.param_stderr
    assert (np.abs(fit.param_values - expected) < allowed).all()


@pytest.mark.parametrize("name", CASES)
def test_the_log_likelihood_is_that_of_quadrature(name):
    fit, (_, maximum) = fit_of(name), quadrature_maximum(name)
    # Half the square of the distance from the maximum, in standard errors of each parameter, is lost at most.
    assert abs(fit.loglik.value - maximum) < 4.0 * fit.loglik.mc_error + 1e-3
    assert fit.loglik.mc_error < 0.05


@pytest.mark.parametrize("name", CASES)
def test_one_trace_and_scores_with_less_variance(name):
    model = model_of(name)
    found = fit_laplace(model)
    psi = model.space.to_free(found.params)
    problem = laplace_problem(model, found.problem, psi, np.eye(len(psi)))
    assert problem.geometry is not None
    information = problem.geometry(psi).complete
    solution = run(problem._replace(geometry=lambda at: at_information(problem, at, information)))
    assert solution.num_traces == 1
    assert solution.info is not None
    own = model.space.own_slice
    assert (solution.info.reduction[own] > 20.0).all()


def at_information(problem, psi, information):
    """The geometry with a metric that ascends from anywhere: the complete information."""
    return problem.geometry(psi)._replace(observed=information)


@pytest.mark.parametrize(
    ("family", "response"),
    [
        ("cumulative", "grade"),
        ("cumulative(probit)", "grade"),
        ("nbinom2", "count"),
        ("nbinom1", "count"),
        ("gamma", "time"),
        ("beta", "share"),
    ],
)
def test_scores_are_the_gradient_of_the_density_and_their_mean_stays(family, response):
    """Raw scores by differences of the log joint density; controlled ones have the same mean under it."""
    rng = np.random.default_rng(9)
    n = 60
    g = np.arange(n) % 6
    data = {
        "g": g,
        "x": rng.normal(size=n),
        "grade": 1 + rng.permutation(np.arange(n) % 4),
        "count": rng.poisson(3.0, size=n),
        "time": rng.gamma(2.0, size=n),
        "share": rng.beta(2.0, 3.0, size=n),
    }
    model = lf.compile(lf.design(f"{response} ~ x + (1 | g)", data), family)
    space = model.space
    found = fit_laplace(model)
    psi = space.to_free(model.start)
    problem = laplace_problem(model, found.problem, psi, np.eye(len(psi)))
    assert problem.geometry is not None
    white = tf.nest.map_structure(tf.constant, problem.geometry(psi).arrays)
    z = rng.normal(size=(6, 3))
    _, slope = problem.density(tf.constant(psi), tf.constant(z), white, problem.data)
    scores = problem.score(tf.constant(psi), tf.constant(z), slope, white, problem.data)
    effects = problem.to_latents(tf.constant(z), white, problem.data).numpy()
    joint = model.tfp_joint

    def log_joint(at: np.ndarray, b: np.ndarray) -> float:
        params = space.to_natural(at)
        names = [v for v in joint.variables if v == "intercept" or v.startswith("effect_")]
        for variable, value in zip(names, params.beta, strict=True):
            joint.variables[variable].assign(value)
        joint.variables["stddev_g"].assign(np.sqrt(params.covariances[0][0, 0]))
        own = joint.variables[space.own.variable]
        own.assign(params.own if own.shape.rank else params.own[0])
        return float(joint.distribution.log_prob({"g": b, joint.response: joint.observed}))

    for c in range(3):
        expected = differences(lambda at, b=effects[:, c]: log_joint(at, b), psi)
        np.testing.assert_allclose(np.asarray(scores.raw)[:, c], expected, rtol=1e-6, atol=1e-5)
    # Where the posterior is N(0, I) the correction has mean zero; here that is nearly so: the mean over
    # importance-weighted draws of that normal distribution differs by noise alone.
    many = rng.normal(size=(6, 20_000))
    values, raw, controlled = [], [], []
    # A few at a time: what is worked out on the way to one draw is some hundred numbers for each row.
    for some in np.split(many, 20, axis=1):
        value, slope = problem.density(tf.constant(psi), tf.constant(some), white, problem.data)
        scores = problem.score(tf.constant(psi), tf.constant(some), slope, white, problem.data)
        values.append(value.numpy())
        raw.append(scores.raw.numpy())
        controlled.append(scores.controlled.numpy())
    raw, controlled = np.hstack(raw), np.hstack(controlled)
    log_weight = np.hstack(values) + 0.5 * (many**2).sum(axis=0)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.mean()
    difference = weight * (controlled - raw)
    error = difference.std(axis=1) / np.sqrt(many.shape[1])
    assert (np.abs(difference.mean(axis=1)) < 4.5 * error).all()
    coefficients = [*range(space.num_fixed), *range(space.own_slice.start, space.size)]
    ratio = np.var(raw, axis=1) / np.var(controlled, axis=1)
    assert (ratio[coefficients] > 10.0).all(), ratio
