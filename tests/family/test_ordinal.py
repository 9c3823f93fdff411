"""Ordinal families: densities and derivatives, ordinary and extreme, and what ties the families to each other.

ordinal_densities.csv was worked out with mpmath 1.4.1 at 400 digits from the definitions of brms (products of
chances, and for acat of odds, over the thresholds under `own`), derivatives in the predictor by its `diff`.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from lmeformula.errors import ModelError
from lmeformula.family import family, log_density
from lmeformula.family.thresholds import Patterned, threshold_own
from lmeformula.likelihood.laplace.automatic import automatic
from lmeformula.likelihood.laplace.rows import in_free
from tests.simulate import differences

TABLE = pd.read_csv(Path(__file__).parent / "ordinal_densities.csv")
NAMES = ("sratio", "cratio", "acat")
LINKS = ("logit", "probit", "cloglog")
PATTERNS = [
    ("flexible", 5, False),
    ("equidistant", 4, False),
    ("equidistant", 4, True),
    ("equidistant", 2, True),
    ("symmetric", 2, True),
    ("symmetric", 3, True),
    ("symmetric", 4, True),
    ("symmetric", 5, True),
]


def arrays(y, num_categories: int) -> tuple[np.ndarray, np.ndarray]:
    """The response arrays of rows in categories `y`, from 0."""
    codes = np.asarray(y, float)
    return codes, np.eye(num_categories)[codes.astype(int)]


def assert_near(found, expected, relative, absolute):
    wrong = ~(np.abs(found - expected) <= absolute + relative * np.abs(expected))
    assert not wrong.any(), (np.asarray(found)[wrong], np.asarray(expected)[wrong])


@pytest.mark.parametrize("name", sorted(set(TABLE["family"])))
def test_against_400_digits(name):
    rows = TABLE[TABLE["family"] == name]
    own = np.array([float(part) for part in rows["own"].iloc[0].split()])
    eta, response = rows["eta"].to_numpy(), arrays(rows["response"], len(own) + 1)
    rounding = 1e-15 * (1.0 + np.abs(eta))
    values = log_density(family(name), eta[:, None], response, tuple(tf.constant(own)))
    assert_near(np.ravel(values), rows["value"], 1e-12, rounding)
    form = family(name).closed
    # One row after the other, since what is summed is as large as the largest.
    for k, row in enumerate(rows.itertuples()):
        one = (response[0][k : k + 1], response[1][k : k + 1])
        assert_near(form.slopes(eta[k : k + 1], one, own).value, row.value, 1e-12, 1e-300)
    power = np.maximum(np.abs(rows["first"]), 1.0)
    # Monte Carlo EM takes the first derivative automatically.
    for slopes in (
        form.slopes(eta, response, own),
        automatic(family(name), response).slopes(eta, response, own),
    ):
        assert_near(slopes.first, rows["first"], 1e-10, 1e-15)
        assert_near(slopes.second, rows["second"], 1e-10, 1e-13 * power**3)
    third = form.depths(eta, response, own).third
    assert_near(third, rows["third"], 1e-9, 1e-13 * power**4)


# How far out derivatives by differences keep enough digits.
FAR = {"logit": 12.0, "probit": 4.0, "cloglog": 2.0}


@pytest.mark.parametrize("shift", [0.0, 1.0, -1.0])
@pytest.mark.parametrize(("name", "link"), list(product(NAMES, LINKS)))
def test_derivatives_in_the_thresholds_by_differences(name, link, shift):
    own = np.array([-1.2, 0.9, 0.4])
    response = arrays([0, 2, 1, 3, 2], 4)
    eta = np.linspace(-0.8, 1.1, 5) + shift * FAR[link]
    form = family(f"{name}({link})").closed

    def slopes(at):
        return form.slopes(eta, response, at)

    def depths(at):
        return form.depths(eta, response, at)

    found = depths(own)
    for value, expected in (
        (found.own, differences(lambda at: slopes(at).value, own)),
        (found.own_own, differences(lambda at: depths(at).own, own)),
        (found.own_first, differences(lambda at: slopes(at).first, own)),
        (found.own_second, differences(lambda at: slopes(at).second, own)),
    ):
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("name", "link"), list(product(NAMES, LINKS)))
def test_a_distribution_is_enough_and_says_the_same(name, link):
    record, own = family(f"{name}({link})"), np.array([-1.2, 0.9, 0.4])
    response = arrays([0, 2, 1, 3, 2], 4)
    eta = np.column_stack([np.linspace(-0.8, 1.1, 5), np.linspace(2.0, -3.0, 5)])
    several = tuple(value * tf.constant([1.0, 1.1], tf.float64) for value in own)
    np.testing.assert_allclose(
        log_density(record._replace(log_density=None), eta, response, several),
        log_density(record, eta, response, several),
        rtol=1e-10,
    )
    chances = record.probabilities(eta[:, 0], own)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0, rtol=1e-14)
    first = log_density(record, eta[:, :1], response, tuple(tf.constant(own)))
    picked = chances[np.arange(5), response[0].astype(int)]
    np.testing.assert_allclose(np.ravel(first), np.log(picked), rtol=1e-12)
    np.testing.assert_allclose(record.mean(eta[:, 0], own), chances @ np.arange(1, 5))


@pytest.mark.parametrize("name", [*NAMES, "cumulative"])
@pytest.mark.parametrize("link", LINKS)
def test_a_larger_predictor_makes_higher_categories_likelier(name, link):
    own = np.array([-1.0, 0.2, 1.3])
    chances = family(f"{name}({link})").probabilities(np.array([-0.3, 0.4]), own)
    above = np.cumsum(chances[:, ::-1], axis=1)[:, :-1]
    assert (above[1] > above[0]).all()


@pytest.mark.parametrize("name", [*NAMES, "cumulative"])
@pytest.mark.parametrize("link", LINKS)
def test_of_two_categories_it_is_yes_or_no(name, link):
    """F stands for the first category of cumulative and sratio, for the second one of the others."""
    eta, tau = np.linspace(-2.0, 2.0, 7), 0.3
    F = family(f"bernoulli({link})").mean
    second = F(eta - tau, np.zeros(0))
    if name in ("cumulative", "sratio"):
        second = 1.0 - F(tau - eta, np.zeros(0))
    chances = family(f"{name}({link})").probabilities(eta, np.array([tau]))
    np.testing.assert_allclose(chances[:, 1], second, rtol=1e-12)


def test_adjacent_categories_are_those_of_vgam():
    """VGAM's acat: log(P(y = k + 1) / P(y = k)) is linear; here it is eta - threshold_k."""
    eta, own = np.linspace(-2.0, 2.0, 7), np.array([-1.0, 0.7, 0.2])
    chances = family("acat").probabilities(eta, own)
    np.testing.assert_allclose(np.diff(np.log(chances), axis=1), eta[:, None] - own, atol=1e-12)


def test_ratios_are_those_of_vgam():
    """VGAM's sratio and cratio: the chance to stop at, or to go on from, a category that was reached."""
    eta, own = np.linspace(-2.0, 2.0, 7), np.array([-1.0, 0.7, 0.2])
    for name, sign, goes_on in (("sratio", -1.0, False), ("cratio", 1.0, True)):
        for link in LINKS:
            chances = family(f"{name}({link})").probabilities(eta, own)
            reached = np.cumsum(chances[:, ::-1], axis=1)[:, ::-1]
            stops = chances[:, :-1] / reached[:, :-1]
            F = family(f"bernoulli({link})").mean(sign * (eta[:, None] - own), np.zeros(0))
            np.testing.assert_allclose(1.0 - stops if goes_on else stops, F, rtol=1e-10)


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_with_a_symmetric_link_both_ratios_are_one_family(link):
    eta, own = np.linspace(-3.0, 3.0, 5), np.array([-1.0, 0.7, 0.2])
    stop, go = (family(f"{name}({link})").probabilities(eta, own) for name in NAMES[:2])
    np.testing.assert_allclose(stop, go, rtol=1e-12)


@pytest.mark.parametrize(("pattern", "count", "is_ordered"), PATTERNS)
def test_patterns_go_there_and_back_with_their_derivatives(pattern, count, is_ordered):
    scale = Patterned(pattern, count, is_ordered)
    size = scale.matrix.shape[1]
    free = np.array([0.4, -0.6, 0.3, -0.2, 0.7])[:size]
    natural = scale.to_natural(free)
    assert natural.shape == (count,)
    np.testing.assert_allclose(scale.to_free(natural), free, rtol=1e-12)
    np.testing.assert_allclose(
        scale.jacobian(free), differences(scale.to_natural, free).T, rtol=1e-7, atol=1e-9
    )
    slope = np.arange(1.0, count + 1.0)
    bend = differences(lambda at: scale.jacobian(at).T @ slope, free)
    np.testing.assert_allclose(scale.bend(free, slope), bend, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(tf.stack(scale.tensors(tf.unstack(tf.constant(free)))), natural)
    bijector = scale.bijector()
    np.testing.assert_allclose(bijector.forward(free), natural, rtol=1e-12)
    np.testing.assert_allclose(bijector.inverse(natural), free, rtol=1e-12)
    if is_ordered:
        assert (np.diff(natural) > 0).all()


def test_patterns_are_what_they_are_called():
    even = Patterned("equidistant", 5, True).to_natural(np.array([0.3, -0.5]))
    np.testing.assert_allclose(np.diff(even), np.exp(-0.5))
    for count in (3, 4, 5, 6):
        scale = Patterned("symmetric", count, True)
        free = np.array([0.3, -0.5, 0.2, 0.1])[: scale.matrix.shape[1]]
        natural = scale.to_natural(free)
        np.testing.assert_allclose(natural + natural[::-1], 2 * 0.3)


@pytest.mark.parametrize(("pattern", "count", "is_ordered"), PATTERNS)
def test_what_is_reported_is_one_value_for_each_free_one(pattern, count, is_ordered):
    start = np.cumsum(np.linspace(0.5, 1.5, count))
    levels = [f"c{k}" for k in range(count + 1)]
    own = threshold_own("cumulative", pattern, levels, start, is_ordered=is_ordered)
    free = own.scale.to_free(own.start)
    assert len(own.names) == own.size == len(free)
    np.testing.assert_allclose(own.scale.to_natural(free), own.start, rtol=1e-10)
    reported = own.to_report(free)
    np.testing.assert_allclose(
        own.report_jacobian(free), differences(own.to_report, free).T, rtol=1e-7, atol=1e-9
    )
    if pattern == "equidistant":
        assert own.names == ("c0|c1", "spacing")
        np.testing.assert_allclose(reported, [own.start[0], own.start[1] - own.start[0]])
    if pattern == "symmetric":
        assert own.names[0] == "center"
        assert reported[0] == pytest.approx(np.median(own.start))


def test_chains_side_by_side_have_derivatives_in_patterned_thresholds():
    record = family("cumulative(probit, thresholds=symmetric)")
    scale, response = Patterned("symmetric", 3, True), arrays([0, 1, 2, 3, 2, 1], 4)
    eta, free = np.linspace(-0.8, 1.1, 6), np.array([0.2, -0.3])

    def depths(at):
        return in_free(record.closed.depths(eta, response, scale.to_natural(at)), scale, at)

    found = depths(free)
    expected = differences(
        lambda at: record.closed.slopes(eta, response, scale.to_natural(at)).value, free
    )
    np.testing.assert_allclose(found.own, expected, rtol=1e-7)
    np.testing.assert_allclose(
        found.own_own, differences(lambda at: depths(at).own, free), rtol=1e-6, atol=1e-8
    )
    assert found.own_first.shape == (2, 6)


WRITTEN = {
    "sratio": "sratio(logit)",
    "acat( probit )": "acat(probit)",
    "cumulative(thresholds = symmetric)": "cumulative(logit, thresholds=symmetric)",
    "cumulative( cloglog ,thresholds=equidistant)": "cumulative(cloglog, thresholds=equidistant)",
    "cratio(logit, thresholds=flexible)": "cratio(logit)",
}


@pytest.mark.parametrize("text", WRITTEN)
def test_thresholds_are_written_in_the_parentheses(text):
    found = family(text)
    assert found.written == WRITTEN[text]
    assert family(found.written) is found
    assert repr(found) == f"Family({found.written})"


UNKNOWN = {
    "acat(thresholds=symmetric)": "the acat family has no symmetric thresholds",
    "cumulative(thresholds=even)": "the cumulative family has no even thresholds",
    "poisson(thresholds=equidistant)": "the poisson family has no thresholds",
    "sratio(cauchit)": "the sratio family has no link 'cauchit'",
    "cumulative(probit, logit)": "the family 'cumulative(probit, logit)' is not written",
    "cumulative(threshold=symmetric)": "the family 'cumulative(threshold=symmetric)' is not written",
    "cumulative(,)": "the family 'cumulative(,)' is not written",
}


@pytest.mark.parametrize("text", UNKNOWN)
def test_what_cannot_be_understood(text):
    with pytest.raises(ModelError) as caught:
        family(text)
    assert str(caught.value).startswith(UNKNOWN[text])
    assert caught.value.hint


def test_patterns_take_three_categories():
    with pytest.raises(ModelError, match="take three categories, and this response has 2"):
        threshold_own("cumulative", "symmetric", ("a", "b"), np.zeros(1), is_ordered=True)


def test_extreme_predictors_have_derivatives():
    """Beyond what a predictor can be, steps still know which way to go."""
    response = arrays([0, 1, 2, 3] * 2, 4)
    eta = np.repeat([-700.0, 700.0], 4)
    for name, link in product(NAMES, ("logit", "probit")):
        record, own = family(f"{name}({link})"), np.array([-1.0, 0.5, 0.2])
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            slopes = record.closed.slopes(eta, response, own)
        assert np.isfinite(slopes.value)
        assert np.isfinite(slopes.first).all()
        assert (slopes.first[1:4] > 0).all()
        assert (slopes.first[4:7] < 0).all()
