"""Coverage of the intervals over simulated data, within binomial error."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf

NUM_DATA = 500
TRUTH = {"Intercept": 1.0, "x": 0.5, "sd(g)": 0.8, "sigma": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["wald", "profile"])
def test_intervals_cover_the_truth_as_often_as_they_say(method):
    """80 groups of 5: enough that nominal coverage is the truth to within what 500 data sets can see.

    The binomial standard error of a coverage of 95 % is then 1 %; four parameters are looked at, so that three
    of these are exceeded once in a hundred runs of a right method, and the seed is fixed.
    """
    rng = np.random.default_rng(20240918)
    g = np.repeat(np.arange(80), 5)
    covered = dict.fromkeys(TRUTH, 0)
    for _ in range(NUM_DATA):
        x = rng.normal(size=400)
        y = 1.0 + 0.5 * x + 0.8 * rng.normal(size=80)[g] + rng.normal(size=400)
        fit = lf.fit("y ~ x + (1 | g)", {"y": y, "x": x, "g": g})
        frame = fit.confint(method).set_index("parameter")
        for name, value in TRUTH.items():
            covered[name] += bool(frame["lower"][name] < value < frame["upper"][name])
    error = np.sqrt(0.95 * 0.05 / NUM_DATA)
    for name, count in covered.items():
        assert abs(count / NUM_DATA - 0.95) < 3 * error, f"{name}: {count} of {NUM_DATA}"


@pytest.mark.slow
def test_profile_intervals_of_a_small_variance_do_not_undercover():
    """With the truth near zero many intervals reach it: then they cover more often than they say, not less."""
    rng = np.random.default_rng(20240919)
    g = np.repeat(np.arange(40), 4)
    covered = reached = 0
    for _ in range(NUM_DATA):
        y = 0.2 * rng.normal(size=40)[g] + rng.normal(size=160)
        row = lf.fit("y ~ 1 + (1 | g)", {"y": y, "g": g}).confint("profile", parm="sd(g)").iloc[0]
        covered += bool(row["lower"] <= 0.2 <= row["upper"])
        reached += bool(row["lower"] == 0.0)
    assert reached > NUM_DATA / 2
    assert covered / NUM_DATA > 0.95 - 3 * np.sqrt(0.95 * 0.05 / NUM_DATA)
