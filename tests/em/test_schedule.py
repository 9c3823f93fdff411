"""The stop rule and the number of draws, as tables."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmeformula.em.schedule import (
    do_agree,
    draws_after_step,
    draws_in_place,
    in_stderr,
    is_sharp,
    is_still,
)

ONE = np.array([1.0])


@pytest.mark.parametrize(
    ("values", "stderr", "expected"),
    [
        ((0.1,), (1.0,), 0.1),
        ((0.1, -0.6), (1.0, 2.0), 0.3),
        ((), (), 0.0),
        ((0.0, 0.0), (1.0, 1.0), 0.0),
    ],
)
def test_in_stderr(values, stderr, expected):
    assert in_stderr(np.array(values), np.array(stderr)) == pytest.approx(expected)


# (distance, its Monte Carlo error, standard error, tolerance) -> whether it is still.
# One parameter is allowed two errors; d parameters sqrt(4 + 2 log d).
STILL = [
    ((0.0,), (0.0,), (1.0,), True),
    ((0.0009,), (0.0,), (1.0,), True),  # below a tenth of the tolerance: no error to compare with
    ((0.0011,), (0.0,), (1.0,), False),
    ((0.19,), (0.1,), (1.0,), True),
    ((0.21,), (0.1,), (1.0,), False),
    ((-0.21,), (0.1,), (1.0,), False),
    ((0.21, 0.0), (0.1, 0.1), (1.0, 1.0), True),  # sqrt(4 + 2 log 2) = 2.32
    ((0.24, 0.0), (0.1, 0.1), (1.0, 1.0), False),
    ((0.0, 0.5), (9.0, 0.1), (1.0, 1.0), False),  # each parameter for itself
]


@pytest.mark.parametrize(("distance", "error", "stderr", "expected"), STILL)
def test_is_still(distance, error, stderr, expected):
    assert is_still(np.array(distance), np.array(error), np.array(stderr), 0.01) is expected


def test_still_waits_for_no_lucky_iteration():
    """At the maximum distances are N(0, error^2): the rule holds for nearly every iteration, for any d."""
    rng = np.random.default_rng(1)
    for d, least in ((1, 0.93), (6, 0.95), (50, 0.95)):
        drawn = rng.normal(size=(2000, d))
        held = np.mean([is_still(row, np.ones(d), np.ones(d), 0.0) for row in drawn])
        assert held > least


@pytest.mark.parametrize(
    ("error", "stderr", "expected"),
    [
        ((0.009,), (1.0,), True),
        ((0.011,), (1.0,), False),
        ((0.011,), (2.0,), True),
        ((0.0, 0.5), (1.0, 1.0), False),
        ((np.nan,), (1.0,), False),
    ],
)
def test_is_sharp(error, stderr, expected):
    assert is_sharp(np.array(error), np.array(stderr), 0.01) is expected


# (draws, error) -> draws at the same place, at tolerance 0.01 and standard error 1.
IN_PLACE = [
    (20, 0.015, math.ceil(20 * 1.2 * 1.5**2)),
    (20, 0.1, 80),  # at most fourfold
    (20, 0.005, 20),  # never fewer
    (20, 0.0, 20),
]


@pytest.mark.parametrize(("draws", "error", "expected"), IN_PLACE)
def test_draws_in_place(draws, error, expected):
    assert draws_in_place(draws, error * ONE, ONE, 0.01) == expected


# (draws, length of the step, error) -> draws where it ends.
AFTER_STEP = [
    (20, 2.0, 0.1, 20),  # far from the end
    (20, 0.5, 0.012, math.ceil(20 * 2.0 * 1.2**2)),
    (20, 0.5, 0.1, 80),  # at most fourfold
    (20, 0.0, 0.001, 20),  # never fewer
]


@pytest.mark.parametrize(("draws", "step", "error", "expected"), AFTER_STEP)
def test_draws_after_step(draws, step, error, expected):
    assert draws_after_step(draws, step * ONE, error * ONE, ONE, 0.01) == expected


@pytest.mark.parametrize(
    ("rhat", "num_draws", "effective", "error", "expected"),
    [
        (1.14, 20, 20.0, 0.01, True),
        (1.2, 20, 20.0, 0.01, False),
        (1.2, 20, 12.0, 0.01, True),
        # Chains that hardly move are no better for it.
        (1.3, 20, 1.0, 0.01, False),
        (1.3, 20, 1.0, 1e-7, True),
        (float("nan"), 2, 2.0, 0.01, False),
    ],
)
def test_chance_is_of_the_draws_that_there_are_in_effect(
    rhat, num_draws, effective, error, expected
):
    assert do_agree(rhat, num_draws, effective, error) == expected
