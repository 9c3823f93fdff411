"""Log densities and their derivatives, ordinary and extreme, against SciPy and against 400-digit arithmetic.

densities.csv was worked out with mpmath 1.4.1 at 400 digits from the textbook densities; derivatives in the
linear predictor by its `diff`. Thresholds of the cumulative family, or its dispersion, shape or precision,
stand under `own`.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.special
import tensorflow as tf
from scipy import stats

from lmeformula.family import FAMILIES, family, log_density
from lmeformula.family.counts import count_arrays
from lmeformula.family.own import Ascending, Positive
from lmeformula.likelihood.laplace.automatic import automatic
from lmeformula.likelihood.laplace.expanded import expanded
from lmeformula.likelihood.laplace.rows import in_free
from tests.simulate import differences

TABLE = pd.read_csv(Path(__file__).parent / "densities.csv", keep_default_na=False)
GROUPS = [key for key, _ in groupby(zip(TABLE["family"], TABLE["own"], strict=True))]


def arrays(name: str, y: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, ...]:
    """The response arrays of a family, as it makes them of a design."""
    y = np.asarray(y, float)
    if name.startswith(("bernoulli", "binomial")):
        return y, np.ones(len(y)), np.zeros(len(y))
    if name.startswith("cumulative"):
        return y, np.eye(len(own) + 1)[y.astype(int)]
    if name == "gamma":
        return y, np.log(y)
    if name == "beta":
        return y, np.log(y), np.log1p(-y)
    if name == "gaussian":
        return y, np.linspace(0.5, 2.0, len(y))
    return count_arrays(y)


def forms(name: str, response):
    """The ways to a family's derivatives: automatic, in series, and written out where they are."""
    record = family(name)
    found = [automatic(record, response)]
    if record.series is not None:
        found.append(expanded(record, response))
    return found if record.closed is None else [*found, record.closed]


@pytest.mark.parametrize(("name", "own"), sorted(set(GROUPS)))
def test_against_400_digits(name, own):
    rows = TABLE[(TABLE["family"] == name) & (TABLE["own"] == own)]
    natural = np.array([float(part) for part in own.split()])
    eta, response = rows["eta"].to_numpy(), arrays(name, rows["response"], natural)
    record = family(name)
    values = log_density(record, eta[:, None], response, tuple(tf.constant(natural)))
    # The value is a difference of terms of the size of eta; of a gamma density, of shape times its logarithm.
    largest = natural[0] * np.log(natural[0]) if name == "gamma" else 0.0
    rounding = 1e-15 * (1.0 + np.abs(eta) + np.abs(largest))
    assert_near(np.ravel(values), rows["value"], 1e-12, rounding)
    for form in forms(name, response):
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            slopes = form.slopes(eta, response, natural)
            third = np.ravel(form.depths(eta, response, natural).third)
        assert slopes.value == pytest.approx(rows["value"].sum(), rel=1e-12, abs=rounding.max())
        # Far out, higher derivatives are what powers of the first one leave of each other, and that is the
        # exponential of a difference of large logarithms.
        power = np.maximum(np.abs(rows["first"]), 1.0)
        assert_near(slopes.first, rows["first"], 1e-10, 1e-15)
        assert_near(slopes.second, rows["second"], 1e-10, 1e-13 * power**3)
        assert_near(third, rows["third"], 1e-9, 1e-13 * power**4)


def assert_near(found, expected, relative, absolute):
    wrong = ~(np.abs(found - expected) <= absolute + relative * np.abs(expected))
    assert not wrong.any(), (np.asarray(found)[wrong], np.asarray(expected)[wrong])


EXACT = {
    "bernoulli": lambda y, eta, own: stats.bernoulli(scipy.special.expit(eta)).logpmf(y),
    "poisson": lambda y, eta, own: stats.poisson(np.exp(eta)).logpmf(y),
    "nbinom2": lambda y, eta, own: stats.nbinom(own, own / (own + np.exp(eta))).logpmf(y),
    "nbinom1": lambda y, eta, own: stats.nbinom(np.exp(eta) / own, 1 / (1 + own)).logpmf(y),
    "gamma": lambda y, eta, own: stats.gamma(own, scale=np.exp(eta) / own).logpdf(y),
    "beta": lambda y, eta, own: stats.beta(
        own * scipy.special.expit(eta), own * scipy.special.expit(-eta)
    ).logpdf(y),
}
RESPONSES = {
    "bernoulli": [0, 1, 1],
    "poisson": [0, 3, 11],
    "nbinom2": [0, 3, 11],
    "nbinom1": [0, 3, 11],
    "gamma": [0.2, 1.0, 5.0],
    "beta": [0.1, 0.5, 0.97],
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("own", [0.4, 3.0])
def test_against_scipy(name, own):
    y, eta = np.array(RESPONSES[name], float), np.array([-0.7, 0.6, 1.4])
    has_own = name not in ("bernoulli", "poisson")
    natural = np.array([own] if has_own else [])
    response = arrays(name, y, natural)
    for form in forms(name, response):
        value = form.slopes(eta, response, natural).value
        assert value == pytest.approx(EXACT[name](y, eta, own).sum(), rel=1e-12)


OWN = {
    "gaussian": ([0.7], [-1.0, 0.3, 2.0]),
    "cumulative": ([-1.2, 0.4, 1.9], [0, 2, 1, 3, 2]),
    "cumulative(probit)": ([-3.2, -1.4, 0.9], [0, 2, 1, 3, 2]),
    "cumulative(cloglog)": ([-3.2, -1.4, 0.9], [0, 2, 1, 3, 2]),
    "nbinom2": ([1.7], [0, 3, 40]),
    "nbinom1": ([1.7], [0, 3, 40]),
    "gamma": ([1.7], [0.2, 1.0, 5.0]),
    "beta": ([1.7], [0.1, 0.5, 0.97]),
}


@pytest.mark.parametrize("name", OWN)
def test_derivatives_in_unconstrained_own_parameters_by_differences(name):
    natural, y = OWN[name]
    scale = Ascending() if len(natural) > 1 else Positive()
    free = scale.to_free(np.array(natural))
    response = arrays(name, y, free)
    eta = np.linspace(-0.8, 1.1, len(y))
    for form in forms(name, response):

        def slopes(at, form=form):
            return form.slopes(eta, response, scale.to_natural(at))

        def depths(at, form=form):
            return in_free(form.depths(eta, response, scale.to_natural(at)), scale, at)

        found = depths(free)
        close = {"rtol": 1e-6, "atol": 1e-7}
        expected = differences(lambda at, f=slopes: f(at).value, free)
        np.testing.assert_allclose(found.own, expected, **close)
        np.testing.assert_allclose(
            found.own_own, differences(lambda at: depths(at).own, free), **close
        )
        np.testing.assert_allclose(
            found.own_first, differences(lambda at: slopes(at).first, free), **close
        )
        np.testing.assert_allclose(
            found.own_second, differences(lambda at: slopes(at).second, free), **close
        )
        np.testing.assert_allclose(found.own_own, found.own_own.T, rtol=1e-10)


@pytest.mark.parametrize("scale", [Positive(), Ascending()])
def test_scales_go_there_and_back_with_their_derivatives(scale):
    free = np.array([0.3]) if isinstance(scale, Positive) else np.array([-0.5, 0.2, -1.1, 0.7])
    natural = scale.to_natural(free)
    np.testing.assert_allclose(scale.to_free(natural), free, rtol=1e-12)
    np.testing.assert_allclose(
        scale.jacobian(free), differences(scale.to_natural, free).T, rtol=1e-8
    )
    slope = np.arange(1.0, len(free) + 1.0)
    bend = differences(lambda at: scale.jacobian(at).T @ slope, free)
    np.testing.assert_allclose(scale.bend(free, slope), bend, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(tf.stack(scale.tensors(tf.unstack(tf.constant(free)))), natural)
    np.testing.assert_allclose(scale.bijector().forward(free), natural, rtol=1e-12)


def test_a_poisson_is_the_limit_of_a_negative_binomial():
    """Where the dispersion goes to infinity its derivative goes to zero without a jump."""
    y, eta = np.array([0.0, 3.0, 40.0]), np.array([0.1, 1.2, 3.0])
    response = arrays("nbinom2", y, eta)
    form = FAMILIES["nbinom2"].closed
    poisson = stats.poisson(np.exp(eta)).logpmf(y).sum()
    for size in (1e6, 1e9, 1e12):
        natural = np.array([size])
        # To first order in 1 / size the two differ by ((y - mean)^2 - y) / (2 size).
        order = ((y - np.exp(eta)) ** 2 - y).sum() / 2
        assert form.slopes(eta, response, natural).value == pytest.approx(
            poisson + order / size, abs=1e-12 + 10 * abs(order / size) * 100 / size
        )
        own = form.depths(eta, response, natural).own[0]
        assert own * size == pytest.approx(-order / size, rel=100 / size + 1e-6)


STRIPPED = {
    **{name: case for name, case in OWN.items() if "(" not in name},
    "cumulative(cloglog)": OWN["cumulative(cloglog)"],
    "poisson": ([], [0, 3, 40]),
    "bernoulli(probit)": ([], [0, 1, 1]),
}


@pytest.mark.parametrize("name", STRIPPED)
def test_a_distribution_is_enough(name):
    """Without a density and derivatives of its own a family has those of its TFP distribution."""
    natural, y = np.array(STRIPPED[name][0]), STRIPPED[name][1]
    record = family(name)
    bare = record._replace(log_density=None, slope=None, closed=None)
    response = arrays(name, y, natural)
    eta = np.linspace(-0.8, 1.1, len(y))
    full = automatic(record, response) if record.closed is None else record.closed
    for found, expected in (
        (
            automatic(bare, response).slopes(eta, response, natural),
            full.slopes(eta, response, natural),
        ),
        (
            automatic(bare, response).depths(eta, response, natural),
            full.depths(eta, response, natural),
        ),
    ):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9)
    # Chains side by side, each with own parameters of its own.
    several = tuple(value * tf.constant([1.0, 1.1], tf.float64) for value in natural)
    both = log_density(bare, np.column_stack([eta, eta + 0.1]), response, several)
    again = log_density(record, np.column_stack([eta, eta + 0.1]), response, several)
    np.testing.assert_allclose(both, again, rtol=1e-10)
