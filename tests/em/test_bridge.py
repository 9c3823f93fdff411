"""Bridge sampling: the fixed point, and errors that cover, between distributions of known constants."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lmeformula.em.bridge import bridged, log_ratio


@pytest.mark.parametrize("sd", [0.0, 0.3, 3.0, 8.0])
@pytest.mark.parametrize(("n0", "n1"), [(200, 200), (1000, 50), (20, 300)])
def test_it_solves_the_equation_of_meng_and_wong(sd, n0, n1):
    rng = np.random.default_rng(n0)
    # Log ratios that are normal, as those of many rows: the constant is e^0.
    reference = rng.normal(-0.5 * sd**2, sd, n0)
    target = rng.normal(0.5 * sd**2, sd, n1)
    found = log_ratio(reference, target)
    above = np.exp(reference) / (n1 * np.exp(reference) + n0 * np.exp(found))
    below = 1.0 / (n1 * np.exp(target) + n0 * np.exp(found))
    assert np.log(above.mean() / below.mean()) == pytest.approx(found, abs=1e-8)


def test_distributions_that_are_far_apart_have_a_finite_answer():
    rng = np.random.default_rng(1)
    reference, target = rng.normal(-1000.0, 1.0, 30), rng.normal(900.0, 1.0, 30)
    assert target.min() - 2000.0 < log_ratio(reference, target) < target.max()


@pytest.mark.parametrize(
    ("sd", "correlation", "draws"), [(0.5, 0.0, 50), (2.0, 0.0, 200), (2.0, 0.6, 400)]
)
def test_the_error_is_that_over_repetitions(sd, correlation, draws):
    rng, z = np.random.default_rng(7), []
    for _ in range(300):
        reference = rng.normal(-0.5 * sd**2, sd, (draws, 4))
        walk = rng.normal(size=(draws, 4))
        for i in range(1, draws):
            fresh = np.sqrt(1 - correlation**2) * walk[i]
            walk[i] = correlation * walk[i - 1] + fresh
        target = 0.5 * sd**2 + sd * walk
        found = bridged(reference, target)
        z.append(found.value / found.mc_error)
    # The sum of squares of 300 standard normal numbers is within these but once in 10,000 times; errors that
    # are estimated themselves, from a few batches, add some percent.
    low, high = stats.chi2(300).ppf([5e-5, 1 - 5e-5]) / 300
    assert low < np.mean(np.square(z)) < 1.1 * high
