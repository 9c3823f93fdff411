"""Every family in single precision: its density and gradients at ordinary points, and Monte Carlo fits."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import tensorflow as tf

import lmeformula as lf
from lmeformula.family import FAMILIES, family, log_density
from lmeformula.family.built_in import LINKED

EPS = float(np.finfo(np.float32).eps)
# Roundings that an ordinary density is made of, each in units of its largest part: some tens, and a logarithm
# of the gamma function that is good to a few of them.
ROUNDINGS = 60.0
NAMES = (
    # One with a predictor for each category has no density without them.
    *(name for name, rule in FAMILIES.items() if rule.grow is None),
    *(f"{name}({link})" for name, (_, links) in LINKED.items() for link in links[1:]),
)


@cache
def table() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(8)
    n = 240
    g, x = np.repeat(np.arange(24), 10), rng.normal(size=n)
    eta = 0.3 + 0.5 * x + 0.7 * rng.normal(size=24)[g]
    mean, chance = np.exp(eta), 1 / (1 + np.exp(-eta))
    counts = rng.negative_binomial(3.0, 3.0 / (3.0 + mean)) * (rng.uniform(size=n) > 0.2)
    k = rng.binomial(9, rng.beta(5 * chance, 5 * (1 - chance)))
    return {
        "g": g,
        "x": x,
        "any": eta + 0.8 * rng.normal(size=n),
        "positive": rng.gamma(3.0, mean / 3.0),
        "share": (share := rng.beta(6 * chance, 6 * (1 - chance))),
        "ends": np.clip(1.2 * share - 0.1, 0.0, 1.0),
        "yes": rng.uniform(size=n) < chance,
        "k": k,
        "rest": 9 - k,
        "count": counts,
        "grade": 1 + np.searchsorted([-0.5, 0.6, 1.7], eta + rng.logistic(size=n)),
    }


RESPONSES = {
    "gaussian": "any",
    "student": "any",
    "lognormal": "positive",
    "gamma": "positive",
    "inverse_gaussian": "positive",
    "beta": "share",
    "ordered_beta": "ends",
    "bernoulli": "yes",
    "binomial": "cbind(k, rest)",
    "beta_binomial": "cbind(k, rest)",
    **dict.fromkeys(("cumulative", "sratio", "cratio", "acat"), "grade"),
}


@cache
def design(name: str) -> lf.Design:
    response = RESPONSES.get(name.partition("(")[0], "count")
    return lf.design(f"{response} ~ x + (1 | g)", table())


def evaluated(name: str, dtype: str) -> list[np.ndarray]:
    """Log densities (n, c), and gradients in the predictor and in each own parameter."""
    rule = family(name)
    own = rule.own(design(name)).start
    given = tuple(tf.constant(array, dtype) for array in rule.response(design(name)))
    # In single precision both see the same numbers.
    etas = np.linspace(-2.0, 2.0, 5, dtype=np.float32)
    eta = tf.constant(np.tile(etas, (len(design(name).X), 1)), dtype)
    copies = [tf.fill(eta.shape, tf.constant(np.float32(value), dtype)) for value in own]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([eta, *copies])
        value = log_density(rule, eta, given, tuple(copies))
    found = [value, *(tape.gradient(value, each) for each in (eta, *copies))]
    if rule.slope is not None:
        found.append(rule.slope(eta, given, tuple(copies)))
    assert all(each.dtype == dtype for each in found)
    return [np.asarray(each, float) for each in found]


@pytest.mark.parametrize("name", NAMES)
def test_density_and_gradients_at_ordinary_points(name):
    for single, double in zip(evaluated(name, "float32"), evaluated(name, "float64"), strict=True):
        assert np.isfinite(single).all()
        # A sum is as good as its largest part, which is about as large as the largest of them all.
        scale = np.maximum(np.abs(double), np.median(np.abs(double)) + 1.0)
        assert (np.abs(single - double) < ROUNDINGS * EPS * scale).all(), (
            np.abs((single - double) / scale).max() / EPS
        )


FITTED = ("poisson", "gamma", "cumulative")


@pytest.mark.parametrize(
    "name", [FITTED[0], *(pytest.param(name, marks=pytest.mark.slow) for name in FITTED[1:])]
)
def test_monte_carlo_fits_agree_with_double_precision(name):
    fits = [
        lf.estimate(
            lf.compile(design(name), name, dtype=dtype), method="mcem", seed=1, progress=False
        )
        for dtype in ("float32", "float64")
    ]
    single, double = fits
    assert single.converged
    assert double.converged
    error = np.hypot(single.param_mc_error, double.param_mc_error)
    # Sums of 240 rows are off by their roundings, in units of standard errors next to nothing.
    rounding = 240 * EPS * 10 * double.param_stderr
    assert (np.abs(single.param_values - double.param_values) < 4.5 * error + rounding).all()
    np.testing.assert_allclose(single.param_stderr, double.param_stderr, rtol=0.02)
    gap = np.hypot(single.loglik.mc_error, double.loglik.mc_error)
    assert abs(single.loglik.value - double.loglik.value) < 4.5 * gap + 240 * EPS * 10
