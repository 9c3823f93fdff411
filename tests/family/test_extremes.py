"""Log densities of the families with a single predictor against 400-digit arithmetic, and by differences.

extremes.csv was worked out with mpmath 1.4.1 at 400 digits from the textbook densities (of count families as
products, not from gamma functions); derivatives in the linear predictor by its `diff`. Responses of
beta_binomial are out of 7 trials.
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

from lmeformula.family import family, log_density
from lmeformula.family.bounded import ANYTHING, CHANCE, NEAREST, POSITIVE, Bounded
from lmeformula.family.gammas import log_rising
from lmeformula.family.link_distributions import CAUCHY
from lmeformula.family.links import LINKS
from lmeformula.likelihood.laplace.automatic import automatic
from lmeformula.likelihood.laplace.expanded import expanded
from lmeformula.likelihood.laplace.rows import in_free
from tests.family.single import CASES, arrays, tensors
from tests.simulate import differences

TABLE = pd.read_csv(Path(__file__).parent / "extremes.csv", keep_default_na=False)
GROUPS = [key for key, _ in groupby(zip(TABLE["family"], TABLE["own"], strict=True))]


def forms(name, response):
    """The ways to a family's derivatives: automatic, in series, and written out where they are."""
    record = family(name)
    found = [automatic(record, response)]
    if record.series is not None:
        found.append(expanded(record, response))
    return found if record.closed is None else [*found, record.closed]


def assert_near(found, expected, relative, absolute):
    wrong = ~(np.abs(found - expected) <= absolute + relative * np.abs(expected))
    assert not wrong.any(), (np.asarray(found)[wrong], np.asarray(expected)[wrong])


@pytest.mark.parametrize(("name", "own"), sorted(set(GROUPS)))
def test_against_400_digits(name, own):
    rows = TABLE[(TABLE["family"] == name) & (TABLE["own"] == own)]
    natural = np.array([float(part) for part in own.split()])
    eta, response = rows["eta"].to_numpy(), arrays(name, rows["response"].to_numpy())
    record = family(name)
    values = log_density(record, eta[:, None], response, tensors(tuple(natural)))
    # Values are differences of terms of the size of eta, and of seven logarithms of a precision.
    rounding = 1e-15 * (1.0 + np.abs(eta)) + 1e-15 * np.log1p(natural.max(initial=0.0))
    assert_near(np.ravel(values), rows["value"], 1e-12, rounding)
    # One less the share of a large mean in the sum of mean and size is rounded before the size multiplies it.
    cancelled = 2e-16 * natural[0] if "nbinom2" in name else 0.0
    for form in forms(name, response):
        with np.errstate(over="ignore", invalid="ignore"):
            slopes = form.slopes(eta, response, natural)
            third = np.ravel(form.depths(eta, response, natural).third)
        assert slopes.value == pytest.approx(rows["value"].sum(), rel=1e-12, abs=rounding.max())
        power = np.maximum(np.abs(rows["first"]), 1.0)
        assert_near(slopes.first, rows["first"], 1e-10, 1e-15 + cancelled)
        assert_near(slopes.second, rows["second"], 1e-10, 1e-13 * power**3 + cancelled)
        assert_near(third, rows["third"], 1e-9, 1e-13 * power**4 + cancelled)
    if record.slope is not None:
        slope = record.slope(tf.constant(eta[:, None]), response, tensors(tuple(natural)))
        assert_near(np.ravel(slope), rows["first"], 1e-10, 1e-15)


EXACT = {
    "student": lambda y, eta, own: stats.t(own[1], eta, own[0]).logpdf(y),
    "lognormal": lambda y, eta, own: stats.lognorm(own[0], scale=np.exp(eta)).logpdf(y),
    "inverse_gaussian": lambda y, eta, own: stats.invgauss(
        np.exp(eta) / own[0], scale=own[0]
    ).logpdf(y),
    "beta_binomial(logit)": lambda y, eta, own: stats.betabinom(
        7, own[0] * scipy.special.expit(eta), own[0] * scipy.special.expit(-eta)
    ).logpmf(y),
    "binomial(cauchit)": lambda y, eta, own: stats.binom(7, stats.cauchy.cdf(eta)).logpmf(y),
}


@pytest.mark.parametrize("name", EXACT)
def test_constants_are_those_of_scipy(name):
    own, y = CASES[name].own, np.array(CASES[name].responses)
    eta = np.linspace(-0.8, 1.1, len(y))
    response = arrays(name, y)
    for form in forms(name, response):
        value = form.slopes(eta, response, np.array(own)).value
        assert value == pytest.approx(EXACT[name](y, eta, own).sum(), rel=1e-12)


# The same at parameters where terms cancel: nearly normal, nearly binomial, nearly Poisson.
FAR = {
    "student": (0.02, 1e5),
    "beta_binomial(logit)": (1e5,),
    "generalized_poisson": (1e-5,),
    "zero_inflated_nbinom2": (1e5, 1e-4),
    "hurdle_nbinom2": (30.0, 1.0 - 1e-4),
}
POINTS = [
    # What one link leaves of own parameters, the others do.
    *(
        (n, case.own)
        for n, case in CASES.items()
        if case.own and "probit" not in n and "clog" not in n
    ),
    *FAR.items(),
]


@pytest.mark.parametrize(
    ("name", "own"),
    POINTS,
    ids=[name if own == CASES[name].own else f"{name} far" for name, own in POINTS],
)
def test_derivatives_in_unconstrained_own_parameters_by_differences(name, own):
    y = np.array(CASES[name].responses)
    response, eta = arrays(name, y), np.linspace(-0.8, 1.1, len(y))
    bounds = {"student": (POSITIVE, (1.0, np.inf))}.get(name, ((POSITIVE,) * len(own)))
    if name.startswith(("zero", "hurdle")):
        bounds = (*bounds[1:], CHANCE)
    if name == "ordered_beta":
        bounds = (POSITIVE, ANYTHING, ANYTHING)
    scale = Bounded(bounds)
    free = scale.to_free(np.array(own))
    for form in forms(name, response):

        def slopes(at, form=form):
            return form.slopes(eta, response, scale.to_natural(at))

        def depths(at, form=form):
            return in_free(form.depths(eta, response, scale.to_natural(at)), scale, at)

        found = depths(free)
        close = {"rtol": 1e-5, "atol": 2e-6}
        np.testing.assert_allclose(
            found.own, differences(lambda at, f=slopes: f(at).value, free), **close
        )
        np.testing.assert_allclose(
            found.own_own, differences(lambda at, f=depths: f(at).own, free), **close
        )
        np.testing.assert_allclose(
            found.own_first, differences(lambda at, f=slopes: f(at).first, free), **close
        )
        np.testing.assert_allclose(
            found.own_second, differences(lambda at, f=slopes: f(at).second, free), **close
        )
        np.testing.assert_allclose(found.own_own, found.own_own.T, rtol=1e-9, atol=1e-12)


def test_bounded_scales_go_there_and_back_with_their_derivatives():
    scale = Bounded((POSITIVE, (1.0, np.inf), CHANCE, (1.0, 2.0)))
    free = np.array([0.3, -2.0, 1.2, -0.4])
    natural = scale.to_natural(free)
    assert natural == pytest.approx(
        [np.exp(0.3), 1 + np.exp(-2.0), scipy.special.expit(1.2), 1 + scipy.special.expit(-0.4)]
    )
    np.testing.assert_allclose(scale.to_free(natural), free, rtol=1e-12)
    np.testing.assert_allclose(
        scale.jacobian(free), differences(scale.to_natural, free).T, rtol=1e-8, atol=1e-12
    )
    slope = np.arange(1.0, 5.0)
    bend = differences(lambda at: scale.jacobian(at).T @ slope, free)
    np.testing.assert_allclose(scale.bend(free, slope), bend, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(tf.stack(scale.tensors(tf.unstack(tf.constant(free)))), natural)
    np.testing.assert_allclose(scale.bijector().forward(tf.constant(free)), natural, rtol=1e-12)


def test_bounded_scales_stop_short_of_bounds_that_round():
    """Far out a chance is not one and degrees of freedom are above theirs; a chance of nearly none stays."""
    scale = Bounded(((1.0, np.inf), CHANCE, CHANCE))
    natural = scale.to_natural(np.array([-80.0, 80.0, -300.0]))
    expected = [1.0 + np.exp(-NEAREST), scipy.special.expit(NEAREST), np.exp(-300.0)]
    np.testing.assert_allclose(natural, expected, rtol=1e-14)
    assert natural[0] > 1.0
    assert natural[1] < 1.0
    again = scale.to_free(natural)
    np.testing.assert_allclose(again, [-NEAREST, NEAREST, -300.0], rtol=1e-3)
    tensors_of = scale.tensors([tf.constant(value, tf.float64) for value in (-80.0, 80.0, -300.0)])
    np.testing.assert_allclose(tf.stack(tensors_of), natural, rtol=1e-14)


def test_rising_products():
    start = np.array([1e-3, 0.7, 15.9, 16.0, 300.0, 1e9])[:, None]
    count = np.array([0.0, 1.0, 2.0, 5.0, 40.0])
    found = log_rising(tf.constant(start + 0 * count), tf.constant(count + 0 * start)).numpy()
    for i, j in np.ndindex(found.shape):
        expected = np.log(start[i, 0] + np.arange(count[j])).sum()
        assert found[i, j] == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_the_cauchy_link_in_both_forms():
    x = np.array([-1e9, -30.0, -0.4, 0.0, 2.0, 1e9])
    link = LINKS["cauchit"]
    np.testing.assert_allclose(link.inverse(x), stats.cauchy.cdf(x), rtol=1e-13)
    inside = x[np.abs(x) < 1e8]
    np.testing.assert_allclose(link.forward(link.inverse(inside)), inside, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(CAUCHY.log_cdf(x), stats.cauchy.logcdf(x), rtol=1e-13)
    np.testing.assert_allclose(link.log_cdf(tf.constant(x)), stats.cauchy.logcdf(x), rtol=1e-13)
    np.testing.assert_allclose(link.log_survival(tf.constant(x)), CAUCHY.log_cdf(-x), rtol=1e-13)
    # Neighbours far out, whose distribution functions agree to all digits.
    low = np.array([-1e7, -2.0, 0.3, 1e7])
    between = np.log(1.0 / np.pi / (1.0 + (low + 0.5) ** 2))
    found = CAUCHY.log_between(low + 1.0, low)
    np.testing.assert_allclose(found[[0, 3]], between[[0, 3]], rtol=1e-12)
    middle = np.log(stats.cauchy.cdf(low + 1.0) - stats.cauchy.cdf(low))
    np.testing.assert_allclose(found[1:3], middle[1:3], rtol=1e-12)
    np.testing.assert_allclose(
        link.log_between(tf.constant(low + 1.0), tf.constant(low)), found, rtol=1e-13
    )
    step = 1e-5 * np.maximum(np.abs(x), 1.0)
    for one, other in ((CAUCHY.log_density, CAUCHY.slope), (CAUCHY.slope, CAUCHY.bend)):
        found = (one(x + step) - one(x - step)) / (2 * step)
        np.testing.assert_allclose(other(x), found, rtol=1e-6, atol=1e-12)


def test_counts_beyond_all_digits_of_the_share_have_a_curvature():
    """nbinom2 with a mean of 1e18: its curvature is y r mu / (mu + r)^2, and no difference of ones."""
    from lmeformula.family import family

    form = family("nbinom2").closed
    counts, eta = np.array([1e18]), np.array([np.log(2e18)])
    zeros = np.zeros(1)
    response = (counts, zeros, np.log(counts), zeros)
    found = form.slopes(eta, response, np.array([0.5]))
    # (y + r) mu r / (mu + r)^2 with mu = 2 y, r = 1/2; the score is (y - mu) r / (mu + r).
    np.testing.assert_allclose(found.second, -0.25, rtol=1e-12)
    np.testing.assert_allclose(found.first, -0.25, rtol=1e-12)
    deeper = form.depths(eta, response, np.array([0.5]))
    np.testing.assert_allclose(deeper.third, 0.25, rtol=1e-12)


# Where a row is met exactly a square may have lost its third derivative.
MET = {
    "student": ([0.75], [0.75], [1.5, 6.0]),
    "lognormal": ([2.0], [np.log(2.0)], [0.7]),
    "inverse_gaussian": ([2.0], [np.log(2.0)], [1.5]),
    "gamma": ([2.0], [np.log(2.0)], [1.5]),
    "tweedie": ([2.0], [np.log(2.0)], [1.5, 1.4]),
}


@pytest.mark.parametrize("name", MET)
def test_derivatives_exist_where_a_row_is_met_exactly(name):
    y, eta, own = (np.array(values) for values in MET[name])
    near = 1e-5
    for form in forms(name, arrays(name, y)):
        found = form.depths(eta, arrays(name, y), own)
        beside = form.depths(eta + near, arrays(name, y), own)
        for at, there in zip(found, beside, strict=True):
            assert_near(at, there, 1e-3, 1e-3)
