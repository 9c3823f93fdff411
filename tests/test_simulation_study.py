"""A small study with known truth: bias within its Monte Carlo error, coverage within its binomial one."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from simulation.cases import CASES
from simulation.report import table
from simulation.study import Tally, study

NUM_SETS = 40
# Of a family that is right the chance to be told otherwise, over all that is asserted here.
LEVEL = 1e-3
FEW = ("gaussian", "gamma", "nbinom2", "cumulative", "hurdle_poisson")
# One of each kind: without derivatives, with those written out, by categories. The others take longest.
FEWEST = ("gaussian", "gamma", "cumulative")
# What finite samples and the Laplace approximation leave, in standard errors of one fit: a fifth, with which
# intervals of 95 % still hold the truth in 94.5 % of all samples.
SMALL = 0.2


@cache
def small(family: str) -> Tally:
    return study(CASES[family], "laplace", NUM_SETS, seed=5)


@pytest.mark.parametrize("family", FEW)
def test_every_fit_converges(family):
    assert small(family).num_failed == 0
    assert small(family).num_singular == 0


@pytest.mark.parametrize("family", FEW)
def test_bias_is_within_its_error(family):
    tally = small(family)
    tests = sum(len(CASES[name].truth) for name in FEW)
    limit = stats.t(NUM_SETS - 1).isf(LEVEL / 2 / tests)
    allowed = limit * tally.bias_error + SMALL * tally.estimates.std(axis=0, ddof=1)
    assert (np.abs(tally.bias) < allowed).all()
    # Sharp enough to see a parameter that is wrong by a standard error of one fit.
    assert (allowed < tally.estimates.std(axis=0, ddof=1)).all()


@pytest.mark.parametrize(
    "families", [FEWEST, pytest.param(FEW, marks=pytest.mark.slow)], ids=["fewest", "few"]
)
def test_coverage_is_within_binomial_error(families):
    tallies = [small(name) for name in families]
    held = np.array([np.nansum(tally.inside, axis=0) for tally in tallies], object)
    for each, tally in zip(held, tallies, strict=True):
        count = tally.num_intervals
        least = stats.binom(count, 0.945).ppf(LEVEL / 2 / sum(map(len, held)))
        assert (each >= least).all(), (tally.family, each)
    # Of fixed effects, all families together: neither too narrow nor too wide.
    slopes = np.array([np.nansum(t.inside[:, t.names.index("x")]) for t in tallies])
    low, high = stats.binom(NUM_SETS * len(families), 0.95).ppf([LEVEL / 2, 1 - LEVEL / 2])
    assert low <= slopes.sum() <= high


def test_the_table_has_a_row_for_each_parameter():
    tallies = [small("gamma"), small("cumulative")]
    text = table(tallies, NUM_SETS)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + sum(len(tally.names) for tally in tallies)
    assert len({line.replace(r"\|", "").count("|") for line in rows}) == 1
    assert "| gamma | laplace | Intercept | 0.4 |" in text
    assert f"| {NUM_SETS}/{NUM_SETS} | 0 |" in text


def test_a_wrong_truth_is_seen():
    wrong = CASES["gamma"]._replace(own=(3.5,))
    tally = small("gamma")._replace(truth=wrong.truth)
    assert abs(tally.bias / tally.bias_error)[-1] > 5
    assert "**" in table([tally], NUM_SETS).split("shape")[1]
