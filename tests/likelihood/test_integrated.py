"""Values that fit an estimated score: small changes are its integral, long ones the points' own."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.likelihood.evaluation import Evaluation
from lmeformula.likelihood.integrated import SMALL_CHANGE, integrated


def points(slope: float, scale: float = 1.0):
    """-scale x^2 / 2 with a score that is off by `slope`: they belong to different functions."""

    def evaluate(x):
        return Evaluation(x, -0.5 * scale * float(x @ x), -scale * x + slope, np.eye(1), (), None)

    return evaluate


def test_small_changes_are_integrals_of_the_score():
    look = integrated(points(slope=0.3))
    first = look(np.array([0.5]))
    second = look(np.array([0.2]))
    # The score's own function is -x^2 / 2 + 0.3 x, and the rule exact for it.
    assert second.value - first.value == pytest.approx(0.5 * (0.25 - 0.04) + 0.3 * (0.2 - 0.5))
    third = look(np.array([0.3]))
    assert third.value - second.value == pytest.approx(0.5 * (0.04 - 0.09) + 0.3 * 0.1)
    # Its root is a maximum of the values given out, and not one of the points' own.
    assert third.value > second.value


def test_long_steps_keep_their_own_values():
    look = integrated(points(slope=0.3, scale=100.0))
    first, second = look(np.array([3.0])), look(np.array([1.0]))
    assert abs(second.value - first.value) > SMALL_CHANGE
    assert second.value - first.value == pytest.approx(50.0 * (9.0 - 1.0))


def test_steps_that_are_refused_leave_no_trace():
    def evaluate(x):
        # Not quadratic: the rule is off by a third of the second difference.
        return Evaluation(x, -0.25 * float(x[0] ** 4), -(x**3), np.eye(1), (), None)

    look = integrated(evaluate)
    first = look(np.array([0.1]))
    for refused in (1.3, 0.9, 0.6, 0.4):
        assert look(np.array([refused])).value < first.value
    assert look(np.array([0.09])).value > first.value


def test_where_the_density_is_not_finite_the_value_is_minus_infinity():
    def evaluate(x):
        value = float("nan") if x[0] > 1.0 else 0.0
        return Evaluation(x, value, np.zeros(1), np.eye(1), (), None)

    look = integrated(evaluate)
    assert look(np.array([0.0])).value == 0.0
    assert look(np.array([2.0])).value == -np.inf
    assert look(np.array([0.5])).value == 0.0
