"""Responses of every family with known truth, drawn by NumPy from its definition, not by the library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import scipy.special
import scipy.stats

CUTS = np.array([-1.2, 0.2, 1.4])
# What stands on the left of the formula, and the share of the predictor that keeps the response ordinary.
RESPONSES = {
    "gaussian": "y",
    "bernoulli": "y",
    "bernoulli(cloglog)": "y",
    "binomial": "y | trials(size)",
    "beta_binomial": "y | trials(size)",
    "cumulative": "y",
    "cumulative(probit)": "y",
    "sratio": "y",
    "cratio": "y",
    "acat": "y",
    "poisson": "y",
    "nbinom2": "y",
    "nbinom1": "y",
    "generalized_poisson": "y",
    "zero_inflated_poisson": "y",
    "zero_inflated_nbinom2": "y",
    "hurdle_poisson": "y",
    "hurdle_nbinom2": "y",
    "student": "y",
    "lognormal": "y",
    "gamma": "y",
    "inverse_gaussian": "y",
    "beta": "y",
    "tweedie": "y",
    "ordered_beta": "y",
}


def responses(family: str, eta: np.ndarray, size: np.ndarray, r: np.random.Generator) -> Any:
    """(n,) responses at linear predictors (n,), out of `size` trials where the family counts them."""
    n, p = len(eta), scipy.special.expit(eta)
    mean = np.exp(0.7 + eta)
    if family.startswith("bernoulli"):
        chance = -np.expm1(-np.exp(eta - 0.4)) if "cloglog" in family else p
        return (r.random(n) < chance).astype(float)
    if family in ("binomial", "beta_binomial"):
        chance = p if family == "binomial" else r.beta(6.0 * p, 6.0 * (1.0 - p))
        return r.binomial(size, chance)
    if family in ("cumulative", "cumulative(probit)", "sratio", "cratio", "acat"):
        return pd.Categorical.from_codes(_codes(family, eta, r), ["a", "b", "c", "d"], ordered=True)
    return {
        "gaussian": lambda: eta + r.normal(size=n),
        "poisson": lambda: r.poisson(mean),
        "nbinom2": lambda: r.poisson(mean * r.gamma(2.0, 0.5, n)),
        "nbinom1": lambda: r.poisson(r.gamma(mean / 1.5, 1.5)),
        "generalized_poisson": lambda: _generations(mean / 1.5, 1.0 - 1.0 / 1.5, r),
        "zero_inflated_poisson": lambda: r.poisson(mean) * (r.random(n) > 0.3),
        "zero_inflated_nbinom2": lambda: (
            r.poisson(mean * r.gamma(3.0, 1 / 3, n)) * (r.random(n) > 0.3)
        ),
        "hurdle_poisson": lambda: _positive(lambda m: r.poisson(m), mean) * (r.random(n) > 0.3),
        "hurdle_nbinom2": lambda: (
            _positive(lambda m: r.poisson(m * r.gamma(3.0, 1 / 3, len(m))), mean)
            * (r.random(n) > 0.3)
        ),
        "student": lambda: eta + r.standard_t(5.0, n),
        "lognormal": lambda: np.exp(eta + 0.6 * r.normal(size=n)),
        "gamma": lambda: r.gamma(3.0, mean / 3.0),
        "inverse_gaussian": lambda: r.wald(mean, 5.0),
        "beta": lambda: np.clip(r.beta(6.0 * p, 6.0 * (1.0 - p)), 1e-12, 1.0 - 1e-12),
        "tweedie": lambda: _tweedie(mean, 1.5, 1.5, r),
        "ordered_beta": lambda: _ordered_beta(eta, r),
    }[family]()


def _codes(family: str, eta: np.ndarray, r: np.random.Generator) -> np.ndarray:
    n = len(eta)
    if family == "cumulative":
        return np.digitize(eta + r.logistic(size=n), CUTS)
    if family == "cumulative(probit)":
        return np.digitize(eta + r.normal(size=n), CUTS)
    if family == "acat":
        logs = np.cumsum(np.column_stack([np.zeros(n), eta[:, None] - CUTS]), axis=1)
        return np.argmax(logs + r.gumbel(size=logs.shape), axis=1)
    # Stopping and continuation ratios are the same where the link is symmetric.
    stop = r.random((n, 3)) < scipy.special.expit(CUTS - eta[:, None])
    return np.where(stop.any(axis=1), stop.argmax(axis=1), 3)


def _positive(draw: Any, mean: np.ndarray) -> np.ndarray:
    found = draw(mean)
    while (none := found == 0).any():
        found[none] = draw(mean[none])
    return found


def _generations(theta: np.ndarray, rate: float, r: np.random.Generator) -> np.ndarray:
    alive = r.poisson(theta)
    total = alive.copy()
    while alive.any():
        alive = r.poisson(rate * alive)
        total += alive
    return total


def _ordered_beta(eta: np.ndarray, r: np.random.Generator) -> np.ndarray:
    p, part = scipy.special.expit(eta), r.random(len(eta))
    inner = np.clip(r.beta(6.0 * p, 6.0 * (1.0 - p)), 1e-12, 1.0 - 1e-12)
    of_one, above = scipy.special.expit(eta - 1.8), scipy.special.expit(eta + 1.5)
    return np.where(part < of_one, 1.0, np.where(part < above, inner, 0.0))


def _tweedie(mean: np.ndarray, phi: float, power: float, r: np.random.Generator) -> np.ndarray:
    number = r.poisson(mean ** (2.0 - power) / (phi * (2.0 - power)))
    shape, scale = (2.0 - power) / (power - 1.0), phi * (power - 1.0) * mean ** (power - 1.0)
    return np.where(number > 0, r.gamma(np.maximum(number, 1) * shape, scale), 0.0)


def true_data(
    family: str,
    seed: int,
    *,
    levels: int = 30,
    rows: int = 10,
    sd: float = 0.7,
    slope: float = 0.5,
    intercept: float = 0.0,
) -> tuple[str, pd.DataFrame]:
    """A formula, and data of which it is true: y ~ x + (1 | g)."""
    r = np.random.default_rng([seed, 99])
    g, n = np.repeat(np.arange(levels), rows), levels * rows
    x, b = r.normal(size=n), r.normal(0.0, sd, levels)
    size = r.integers(4, 10, n)
    eta = intercept + slope * x + b[g]
    y = responses(family, eta, size, r)
    frame = pd.DataFrame({"x": x, "g": [f"g{i}" for i in g], "size": size, "y": y})
    return f"{RESPONSES[family]} ~ x + (1 | g)", frame
