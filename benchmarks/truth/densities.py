"""Row densities of the families, from the textbooks, in NumPy; and their derivatives in the predictor."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import betaln, expit, gammaln, log_expit, log_ndtr, xlogy

LOG_2PI = float(np.log(2.0 * np.pi))
# Central differences of eighth order for the first and second derivative.
PLACES = np.arange(-4, 5)
ONCE = np.array([1 / 280, -4 / 105, 1 / 5, -4 / 5, 0, 4 / 5, -1 / 5, 4 / 105, -1 / 280])
TWICE = np.array([-1 / 560, 8 / 315, -1 / 5, 8 / 5, -205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560])

Density = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Family(NamedTuple):
    """A family's log density and the scale of its own parameters.

    Attributes:
      log_density: (y, trials, eta, own) -> log densities, broadcast.
      own: a kind for each own parameter: "positive", "chance", "above one", or "threshold" for all there are.
      step: of differences in the predictor, given the own parameters.
    """

    log_density: Density
    own: tuple[str, ...] = ()
    step: Callable[[np.ndarray], float] = lambda own: 0.05


def derivatives(
    family: Family, y: np.ndarray, trials: np.ndarray, eta: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n,) log densities and their first two derivatives in the predictor."""
    step = family.step(own)
    moved = eta[:, None] + step * PLACES
    values = family.log_density(y[:, None], trials[:, None], moved, own)
    return values[:, 4], values @ ONCE / step, values @ TWICE / step**2


def _chances(link: str, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of the chance and of its complement."""
    if link == "probit":
        return log_ndtr(eta), log_ndtr(-eta)
    if link == "cloglog":
        rate = np.exp(eta)
        return np.log(-np.expm1(-rate)), -rate
    return log_expit(eta), log_expit(-eta)


def _binomial(link: str) -> Density:
    def log_density(y, trials, eta, own):
        yes, no = _chances(link, eta)
        return y * yes + (trials - y) * no + _ways(y, trials)

    return log_density


def _ways(y: np.ndarray, trials: np.ndarray) -> np.ndarray:
    return gammaln(trials + 1) - gammaln(y + 1) - gammaln(trials - y + 1)


def _beta_binomial(y, trials, eta, own):
    a, b = expit(eta) * own[0], expit(-eta) * own[0]
    return betaln(y + a, trials - y + b) - betaln(a, b) + _ways(y, trials)


def _poisson(y, trials, eta, own):
    return y * eta - np.exp(eta) - gammaln(y + 1)


def _nbinom(y, mu, size):
    """Negative binomial with variance mu + mu^2 / size."""
    return (
        gammaln(y + size) - gammaln(size) - gammaln(y + 1)
        - size * np.log1p(mu / size) + xlogy(y, mu) - y * np.log(size + mu)
    )  # fmt: skip


def _gamma(y, trials, eta, own):
    shape = own[0]
    return (
        shape * np.log(shape)
        - gammaln(shape)
        - shape * eta
        + (shape - 1) * np.log(y)
        - shape * y * np.exp(-eta)
    )


def _beta(y, trials, eta, own):
    a, b = expit(eta) * own[0], expit(-eta) * own[0]
    return (a - 1) * np.log(y) + (b - 1) * np.log1p(-y) - betaln(a, b)


def _lognormal(y, trials, eta, own):
    return -0.5 * LOG_2PI - np.log(own[0]) - 0.5 * ((np.log(y) - eta) / own[0]) ** 2 - np.log(y)


def _student(y, trials, eta, own):
    scale, df = own
    z = (y - eta) / scale
    constant = gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * np.log(df * np.pi) - np.log(scale)
    return constant - 0.5 * (df + 1) * np.log1p(z**2 / df)


def _inverse_gaussian(y, trials, eta, own):
    mu = np.exp(eta)
    return 0.5 * (np.log(own[0]) - LOG_2PI - 3 * np.log(y)) - own[0] * (y - mu) ** 2 / (
        2 * mu**2 * y
    )


def _zero_inflated(y, trials, eta, own):
    counted = _poisson(y, trials, eta, own) + np.log1p(-own[0])
    return np.where(y == 0, np.logaddexp(np.log(own[0]), counted), counted)


def _hurdle(y, trials, eta, own):
    rate = np.exp(eta)
    above = np.log1p(-own[0]) + _poisson(y, trials, eta, own) - np.log(-np.expm1(-rate))
    return np.where(y == 0, np.log(own[0]), above)


def _cumulative(link: str) -> Density:
    def log_density(y, trials, eta, own):
        ends = np.concatenate([[-np.inf], own, [np.inf]])
        k = y.astype(int)
        low, high = ends[k - 1] - eta, ends[k] - eta
        if link == "probit":
            # The tail that is the smaller one keeps its digits.
            flip = low > 0
            low, high = np.where(flip, -high, low), np.where(flip, -low, high)
            above, below = log_ndtr(high), log_ndtr(low)
            return above + np.log1p(-np.exp(below - above))
        with np.errstate(invalid="ignore"):
            between = np.where(
                np.isfinite(low) & np.isfinite(high), np.log(-np.expm1(low - high)), 0.0
            )
        return log_expit(high) + log_expit(-low) + between

    return log_density


FAMILIES: dict[str, Family] = {
    "bernoulli": Family(_binomial("logit")),
    "bernoulli(probit)": Family(_binomial("probit")),
    "bernoulli(cloglog)": Family(_binomial("cloglog")),
    "binomial": Family(_binomial("logit")),
    "beta_binomial": Family(_beta_binomial, ("positive",)),
    "poisson": Family(_poisson),
    "nbinom2": Family(
        lambda y, trials, eta, own: _nbinom(y, np.exp(eta), own[0]), ("positive",)
    ),
    "nbinom1": Family(
        lambda y, trials, eta, own: _nbinom(y, np.exp(eta), np.exp(eta) / own[0]), ("positive",)
    ),
    "gamma": Family(_gamma, ("positive",)),
    "beta": Family(_beta, ("positive",)),
    "lognormal": Family(_lognormal, ("positive",), lambda own: 0.05 * own[0]),
    "student": Family(_student, ("positive", "above one"), lambda own: 0.05 * own[0]),
    "inverse_gaussian": Family(_inverse_gaussian, ("positive",)),
    "zero_inflated_poisson": Family(_zero_inflated, ("chance",)),
    "hurdle_poisson": Family(_hurdle, ("chance",)),
    "cumulative": Family(_cumulative("logit"), ("threshold",)),
    "cumulative(probit)": Family(_cumulative("probit"), ("threshold",)),
    "gaussian": Family(
        lambda y, trials, eta, own: -0.5 * LOG_2PI - np.log(own[0]) - 0.5 * ((y - eta) / own[0]) ** 2,
        ("positive",),
        lambda own: 0.05 * own[0],
    ),
}  # fmt: skip


def kinds(family: Family, size: int) -> tuple[str, ...]:
    """The kind of each of the own parameters."""
    return ("threshold",) * size if family.own == ("threshold",) else family.own


def to_free(kind: str, value: float) -> float:
    """An own parameter without bounds."""
    if kind == "positive":
        return float(np.log(value))
    if kind == "chance":
        return float(np.log(value) - np.log1p(-value))
    return float(np.log(value - 1.0)) if kind == "above one" else float(value)


def from_free(kind: str, value: float) -> float:
    """Back."""
    if kind == "positive":
        return float(np.exp(value))
    if kind == "chance":
        return float(expit(value))
    return 1.0 + float(np.exp(value)) if kind == "above one" else float(value)
