"""Models written by hand as log joint densities, each with its marginal log-likelihood known otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize as so
import tensorflow as tf
from scipy.special import expit, gammaln, logsumexp

Floats = np.ndarray
GRID = np.linspace(-8.0, 8.0, 401)
LOG_NORMAL = -0.5 * GRID**2 - 0.5 * np.log(2 * np.pi) + np.log(GRID[1] - GRID[0])


class Model(NamedTuple):
    """A model.

    Attributes:
      log_joint: (params, latents) -> log density.
      params, latents: where to start.
      loglik: params -> marginal log-likelihood up to a constant, by other means.
    """

    log_joint: Callable[[Any, Any], Any]
    params: Floats
    latents: Any
    loglik: Callable[[Floats], float]


def constant(values: Any) -> Any:
    return tf.constant(np.asarray(values, float))


def total(values: Any) -> Any:
    return tf.reduce_sum(values)


def integrated(rows: Callable[[Floats], Floats]) -> float:
    """Sum over units of log of the mean over N(0, 1); rows: nodes (m,) -> (units, m)."""
    return float(logsumexp(rows(GRID) + LOG_NORMAL, axis=1).sum())


# Weights of a central difference of sixth order, by steps to each side.
SIXTH = ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60))


def maximum(model: Model, start: Floats) -> tuple[Floats, Floats]:
    """The maximum of the marginal likelihood, and its information, by differences."""
    found = so.minimize(lambda p: -model.loglik(p), start, method="BFGS", options={"gtol": 1e-6})
    at, d, h = found.x, len(found.x), 2e-3
    unit = h * np.eye(d)
    information = np.empty((d, d))
    for i in range(d):
        for j in range(d):
            corners = [
                a * b * model.loglik(at + a * unit[i] + b * unit[j])
                for a in (1, -1)
                for b in (1, -1)
            ]
            information[i, j] = -sum(corners) / (4 * h * h)
    # What BFGS left, by a step of Newton; differences of second order are 3e-5 standard errors off.
    gradient = np.array(
        [
            sum(c * (model.loglik(at + k * e) - model.loglik(at - k * e)) for k, c in SIXTH) / h
            for e in unit
        ]
    )
    return at + np.linalg.solve(information, gradient), information


def eight_schools() -> tuple[Floats, Floats]:
    """Effects and their standard errors; Rubin (1981), J. Educ. Stat. 6, 377-400."""
    return (
        np.array([28.0, 8, -3, 7, -1, 1, 18, 12]),
        np.array([15.0, 10, 16, 11, 9, 11, 10, 18]),
    )


def item_response() -> Model:
    rng = np.random.default_rng(1)
    persons, items = 150, 4
    slopes, difficulty = np.exp(rng.normal(0, 0.3, items)), rng.normal(0, 0.8, items)
    chance = expit(slopes * (rng.normal(size=(persons, 1)) - difficulty))
    y = (rng.random((persons, items)) < chance).astype(float)
    rows = constant(y)

    def log_joint(p, u):
        eta = tf.exp(p[:items]) * (u[:, None] - p[items:])
        return total(rows * eta - tf.math.softplus(eta)) - 0.5 * total(u**2)

    def loglik(p):
        eta = np.exp(p[:items]) * (GRID[:, None] - p[items:])
        return integrated(lambda _: y @ eta.T - np.logaddexp(0, eta).sum(axis=1))

    return Model(log_joint, np.zeros(2 * items), np.zeros(persons), loglik)


def poisson_gamma() -> Model:
    """Counts with gamma effects: negative binomial, with a latent that is not normal."""
    rng = np.random.default_rng(2)
    n, m, r = 80, 3, 1.2
    x = rng.normal(size=(n, m))
    y = rng.poisson(np.exp(0.5 + 0.4 * x) * rng.gamma(r, 1 / r, (n, 1))).astype(float)
    rows, columns = constant(y), constant(x)

    def log_joint(p, u):  # u is the logarithm of the gamma variable
        r, eta = tf.exp(p[2]), p[0] + p[1] * columns + u[:, None]
        prior = r * tf.math.log(r) - tf.math.lgamma(r) + r * u - r * tf.exp(u)
        return total(rows * eta - tf.exp(eta)) + total(prior)

    def loglik(p):
        r, mu = np.exp(p[2]), np.exp(p[0] + p[1] * x)
        ys, ms = y.sum(axis=1), mu.sum(axis=1)
        of_unit = r * np.log(r) - gammaln(r) + gammaln(r + ys) - (r + ys) * np.log(r + ms)
        return float((y * np.log(mu)).sum() + of_unit.sum())

    return Model(log_joint, np.zeros(3), np.zeros(n), loglik)


def pairs() -> Model:
    """Pairs of binary rows, where Laplace's approximation is a standard error off."""
    rng = np.random.default_rng(3)
    n, x = 200, np.array([0.0, 1.0])
    y = (rng.random((n, 2)) < expit(0.3 + 0.8 * x + 1.5 * rng.normal(size=(n, 1)))).astype(float)
    rows, columns = constant(y), constant(x)

    def log_joint(p, u):
        eta = p[0] + p[1] * columns + u[:, None]
        prior = -0.5 * total((u * tf.exp(-p[2])) ** 2) - n * p[2]
        return total(rows * eta - tf.math.softplus(eta)) + prior

    def loglik(p):
        eta = p[0] + p[1] * x + np.exp(p[2]) * GRID[:, None]
        return integrated(lambda _: y @ eta.T - np.logaddexp(0, eta).sum(axis=1))

    return Model(log_joint, np.zeros(3), np.zeros(n), loglik)


def correlated_slopes() -> Model:
    """Intercepts and slopes through a Cholesky factor, non-centred."""
    rng = np.random.default_rng(4)
    g, m = 25, 6
    t = np.arange(m) - 2.5
    b = rng.normal(size=(g, 2)) @ np.array([[1.0, 0.0], [0.3, 0.5]]).T
    y = 2 + 0.5 * t + b[:, :1] + b[:, 1:] * t + 0.8 * rng.normal(size=(g, m))
    rows, times = constant(y), constant(t)

    def log_joint(p, u):
        b0, b1 = tf.exp(p[2]) * u[:, 0], p[3] * u[:, 0] + tf.exp(p[4]) * u[:, 1]
        residual = rows - p[0] - p[1] * times - b0[:, None] - b1[:, None] * times
        return -0.5 * (total((residual * tf.exp(-p[5])) ** 2) + total(u**2)) - g * m * p[5]

    def loglik(p):
        factor = np.array([[np.exp(p[2]), 0.0], [p[3], np.exp(p[4])]])
        half = np.stack([np.ones(m), t], axis=1) @ factor
        covariance = half @ half.T + np.exp(2 * p[5]) * np.eye(m)
        residual = y - p[0] - p[1] * t
        squares = np.sum(residual * np.linalg.solve(covariance, residual.T).T)
        return float(-0.5 * (g * np.linalg.slogdet(covariance)[1] + squares))

    return Model(log_joint, np.zeros(6), np.zeros((g, 2)), loglik)


def _chain(rng, length, phi, sd):
    x = np.zeros(length)
    x[0] = rng.normal() * sd / np.sqrt(1 - phi**2)
    for t in range(1, length):
        x[t] = phi * x[t - 1] + sd * rng.normal()
    return x


def _autoregressive(u, phi, log_sd):
    sd = tf.exp(log_sd)
    steps, first = (u[1:] - phi * u[:-1]) / sd, u[0] * tf.sqrt(1 - phi**2) / sd
    norm = 0.5 * tf.math.log(1 - phi**2) - u.shape[0] * log_sd
    return norm - 0.5 * (total(steps**2) + first**2)


def autoregression() -> Model:
    """A latent AR(1) seen with noise; its likelihood by the Kalman filter."""
    rng = np.random.default_rng(5)
    length = 120
    y = 1 + _chain(rng, length, 0.8, 0.5) + 0.6 * rng.normal(size=length)
    rows = constant(y)

    def log_joint(p, u):  # mean, atanh phi, log sds of steps and noise
        seen = -0.5 * total(((rows - p[0] - u) * tf.exp(-p[3])) ** 2) - length * p[3]
        return _autoregressive(u, tf.tanh(p[1]), p[2]) + seen

    def loglik(p):
        phi, step, noise = np.tanh(p[1]), np.exp(2 * p[2]), np.exp(2 * p[3])
        mean, variance, found = 0.0, step / (1 - phi**2), 0.0
        for value in y - p[0]:
            seen = variance + noise
            found -= 0.5 * (np.log(seen) + (value - mean) ** 2 / seen)
            gain = variance / seen
            mean = phi * (mean + gain * (value - mean))
            variance = phi**2 * (1 - gain) * variance + step
        return float(found)

    return Model(log_joint, np.array([0, 0.3, 0, 0.0]), np.zeros(length), loglik)


def stochastic_volatility() -> Model:
    """A latent AR(1) in the log variance; its likelihood on a grid, state by state."""
    rng = np.random.default_rng(6)
    length = 150
    y = np.exp((-0.5 + _chain(rng, length, 0.9, 0.35)) / 2) * rng.normal(size=length)
    squares = constant(y**2)

    def log_joint(p, u):
        h = p[0] + u
        seen = -0.5 * total(h + squares * tf.exp(-h))
        return _autoregressive(u, tf.tanh(p[1]), p[2]) + seen

    def loglik(p):
        phi, sd = np.tanh(p[1]), np.exp(p[2])
        spread = sd / np.sqrt(1 - phi**2)
        x = np.linspace(-6, 6, 301) * spread
        width = x[1] - x[0]
        moves = np.exp(-0.5 * ((x - phi * x[:, None]) / sd) ** 2) / sd * width
        state, found = np.exp(-0.5 * (x / spread) ** 2) / spread * width, 0.0
        for t, square in enumerate(y**2):
            state = state @ moves if t else state
            h = p[0] + x
            state = state * np.exp(-0.5 * (h + square * np.exp(-h)))
            found += np.log(state.sum())
            state = state / state.sum()
        return float(found)

    return Model(log_joint, np.array([0, 0.8, -0.5]), np.zeros(length), loglik)


def zero_inflated() -> Model:
    rng = np.random.default_rng(7)
    n, m = 60, 6
    x, u = rng.normal(size=(n, m)), rng.normal(size=(n, 1))
    y = rng.poisson(np.exp(0.8 + 0.3 * x + 0.7 * u)) * (rng.random((n, m)) > 0.3)
    y = y.astype(float)
    rows, columns, factorials = constant(y), constant(x), constant(gammaln(y + 1))

    def log_joint(p, u):  # intercept, slope, logit of the excess zeros, log sd
        eta = p[0] + p[1] * columns + u[:, None]
        count = -tf.math.softplus(p[2]) + rows * eta - tf.exp(eta) - factorials
        excess = -tf.math.softplus(-p[2]) + tf.zeros_like(count)
        either = tf.reduce_logsumexp(tf.stack([count, excess]), axis=0)
        prior = -0.5 * total((u * tf.exp(-p[3])) ** 2) - n * p[3]
        return total(tf.where(rows > 0, count, either)) + prior

    def loglik(p):
        eta = p[0] + p[1] * x[:, None] + np.exp(p[3]) * GRID[None, :, None]
        count = -np.logaddexp(0, p[2]) + y[:, None] * eta - np.exp(eta) - gammaln(y + 1)[:, None]
        either = np.logaddexp(count, -np.logaddexp(0, -p[2]))
        return integrated(lambda _: np.where(y[:, None] > 0, count, either).sum(axis=2))

    return Model(log_joint, np.zeros(4), np.zeros(n), loglik)


MODELS = {
    function.__name__: function
    for function in (
        item_response,
        poisson_gamma,
        pairs,
        correlated_slopes,
        autoregression,
        stochastic_volatility,
        zero_inflated,
    )
}
