"""M-steps on matrices: the metric between EM and Newton, and Adam by its recursion."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.em.mstep import adam, newton

RNG = np.random.default_rng(4)
ROOT = RNG.normal(size=(4, 4))
COMPLETE = ROOT @ ROOT.T + np.eye(4)
CHOLESKY = np.linalg.cholesky(COMPLETE)
BASIS = np.linalg.qr(RNG.normal(size=(4, 4)))[0]
SCORE = RNG.normal(size=4)
EXACT = {"rtol": 1e-9, "atol": 1e-12}


def observed_with(fractions) -> np.ndarray:
    """An observed information with these fractions of the complete one, in some basis."""
    inside = BASIS @ np.diag(fractions) @ BASIS.T
    return CHOLESKY @ inside @ CHOLESKY.T


def metric(fractions, floor):
    found = newton.metric(COMPLETE, observed_with(fractions), floor)
    return found, found.inverse @ SCORE


def test_low_floor_is_newton():
    fractions = (0.9, 0.5, 0.2, 0.03)
    bent, step = metric(fractions, 1e-3)
    observed = observed_with(fractions)
    np.testing.assert_allclose(bent.information, observed, **EXACT)
    np.testing.assert_allclose(step, np.linalg.solve(observed, SCORE), **EXACT)
    assert bent.fraction == pytest.approx(0.03)


@pytest.mark.parametrize("fractions", [(0.9, 0.5, 0.2, 0.03), (1.3, 0.5, -0.4, -2.0)])
def test_floor_of_one_is_em(fractions):
    bent, step = metric(fractions, 1.0)
    np.testing.assert_allclose(bent.information, COMPLETE, **EXACT)
    np.testing.assert_allclose(step, np.linalg.solve(COMPLETE, SCORE), **EXACT)


# fractions before and after a floor of 0.1: held up from below, and never above the complete information
HELD = [
    ((0.9, 0.5, 0.2, 0.03), (0.9, 0.5, 0.2, 0.1)),
    ((0.9, 0.5, -0.2, -3.0), (0.9, 0.5, 0.1, 0.1)),
    ((1.5, 0.5, 0.2, 0.0), (1.0, 0.5, 0.2, 0.1)),
]


@pytest.mark.parametrize(("before", "after"), HELD)
def test_floor_between(before, after):
    bent, step = metric(before, 0.1)
    expected = observed_with(after)
    np.testing.assert_allclose(bent.information, expected, **EXACT)
    np.testing.assert_allclose(bent.inverse, np.linalg.inv(expected), **EXACT)
    np.testing.assert_allclose(step, np.linalg.solve(expected, SCORE), **EXACT)
    assert bent.fraction == pytest.approx(min(before))
    assert SCORE @ step > 0  # uphill, also where the observed information is indefinite


def test_higher_floors_shorten_the_step():
    lengths = []
    for floor in (0.01, 0.1, 0.3, 1.0):
        _, step = metric((0.9, 0.5, 0.2, 0.03), floor)
        lengths.append(step @ COMPLETE @ step)
    assert lengths == sorted(lengths, reverse=True)


def test_adam_by_its_recursion():
    scores = RNG.normal(size=(6, 3))
    momentum = np.zeros((2, 3))
    first, second = np.zeros(3), np.zeros(3)
    for count, score in enumerate(scores):
        step, momentum = adam.step(momentum, score, count, 0.05)
        first = 0.9 * first + 0.1 * score
        second = 0.999 * second + 0.001 * score**2
        mean, spread = first / (1 - 0.9 ** (count + 1)), second / (1 - 0.999 ** (count + 1))
        np.testing.assert_allclose(step, 0.05 * mean / (np.sqrt(spread) + 1e-8), rtol=1e-12)
    np.testing.assert_allclose(momentum, [first, second], rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_adams_first_step_is_its_rate_uphill(scale):
    step, _ = adam.step(np.zeros((2, 4)), SCORE * scale, 0, 0.05)
    np.testing.assert_allclose(step, 0.05 * np.sign(SCORE), rtol=1e-4)
