"""Rising factorials of counts in the millions, against 60 digits, and next to sums of their terms."""

from __future__ import annotations

import time

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.family.rising import SUMMED, rising

# count, size, log(Gamma(y + s) / (Gamma(s) s^y)) and two derivatives in s: mpmath 1.3 with 60 digits
EXACT = (
    (65, 0.001, 647.2692804140868, -63995.25773732594, 63999998.37297013),
    (70, 0.5, 276.26094794192176, -133.78798622883153, 275.0794832708041),
    (1000000.0, 0.3, 14019480.422328616, -3333316.0152987535, 11111098.865747565),
    (30000000.0, 15.9, 403511903.34275883, -1886777.970664806, 118666.12708965038),
    (65, 16.0, 65.55558595626704, -2.4152497142834766, 0.2018346671074226),
    (100, 37.5, 78.00015271582525, -1.3576318654829285, 0.051384966509563264),
    (5000000.0, 20.0, 57146343.34980945, -249987.54557162186, 12499.948729377064),
    (10000.0, 1000.0, 16375.648977388104, -7.601650099102464, 0.009090413056599082),
    (2000000.0, 3300000.0, 511056.8291617149, -0.1322761967994309, 6.93036432482334e-08),
    (100, 1000000.0, 0.0049498358331670125, -4.94967167450055e-09, 9.89901504800025e-15),
    (65, 1000000000.0, 2.0799999552800015e-06, -2.0799999105600044e-15, 4.1599997316800174e-24),
    (5000000.0, 10000000000.0, 1249.7914687968594, -1.2495832396457969e-07, 2.4987501250624063e-17),
    (1000.0, 1000000000000.0, 4.994999998335833e-07, -4.994999996671665e-19, 9.989999990014996e-31),
)


@pytest.mark.parametrize(("count", "size", "value", "first", "second"), EXACT)
def test_values_are_those_of_sixty_digits(count, size, value, first, second):
    found = rising(np.array([count]), size)
    np.testing.assert_allclose(
        [float(part[0]) for part in found], [value, first, second], rtol=1e-12
    )


@pytest.mark.parametrize("size", [0.02, 3.0, 15.99, 16.0, 250.0, 1e7])
def test_the_formula_takes_over_from_the_sum(size):
    counts = np.arange(SUMMED - 3.0, 400.0)
    j = np.arange(400)
    terms = (
        np.log1p(j / size),
        -j / (size * (size + j)),
        j * (2 * size + j) / (size * (size + j)) ** 2,
    )
    for found, term in zip(rising(counts, size), terms, strict=True):
        expected = np.concatenate([[0.0], np.cumsum(term)])[counts.astype(int)]
        np.testing.assert_allclose(found, expected, rtol=3e-13)


def test_counts_in_the_millions_cost_what_few_do():
    rng = np.random.default_rng(1)
    few, many = rng.poisson(40.0, 500).astype(float), rng.poisson(4e7, 500).astype(float)
    seconds = []
    for counts in (few, many):
        began = time.process_time()
        for _ in range(50):
            rising(counts, 3.7)
        seconds.append(time.process_time() - began)
    # A table up to the counts would take a hundred thousand times as long.
    assert seconds[1] < 100 * seconds[0] + 0.5


def test_such_counts_are_fitted():
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(20), 10)
    mean = np.exp(15.0 + 0.5 * rng.normal(size=20)[g])
    data = {"g": g, "y": rng.negative_binomial(5.0, 5.0 / (5.0 + mean))}
    fit = lf.fit("y ~ 1 + (1 | g)", data, "nbinom2", method="laplace")
    assert fit.converged
    assert abs(fit.family_params["dispersion"] / 5.0 - 1.0) < 4 * fit.param_stderr[-1] / 5.0
