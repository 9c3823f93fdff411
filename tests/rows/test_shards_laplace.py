"""The Laplace approximation over rows in parts: the answers of one process, whose own are held elsewhere."""

from __future__ import annotations

import signal
from functools import cache

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.design.partitions import design_of_partitions
from lmeformula.rows import answering
from lmeformula.rows.workers import Workers
from tests.rows.cluster import cluster_of
from tests.rows.several import Several, several
from tests.rows.test_faults import strike

FORMULA = "{} ~ x + (1 + x | g) + (1 | h)"


@cache
def table(n: int = 500, seed: int = 0) -> pd.DataFrame:
    """Responses of many kinds in two crossed factors, with more levels than are worked out without probes."""
    random = np.random.default_rng(seed)
    g, h, x = random.integers(0, 45, n), random.integers(0, 35, n), random.normal(size=n)
    eta = 0.3 + 0.5 * x + 0.8 * random.normal(size=45)[g] + 0.5 * random.normal(size=35)[h]
    eta = eta + 0.4 * random.normal(size=45)[g] * x
    found = pd.DataFrame({"x": x, "g": g, "h": h, "year": 2000.0 + x})
    chance = 1.0 / (1.0 + np.exp(-eta))
    found["yes"] = (random.random(n) < chance).astype(int)
    found["trials"] = random.integers(1, 6, n)
    found["wins"] = random.binomial(found["trials"], chance)
    found["count"] = random.poisson(np.exp(eta))
    found["varied"] = random.negative_binomial(2.0, 2.0 / (2.0 + np.exp(eta)))
    found["amount"] = random.gamma(3.0, np.exp(eta) / 3.0) + 1e-6
    found["grade"] = 1 + np.digitize(eta + random.logistic(size=n), [-1.0, 0.0, 1.0])
    found["kind"] = pd.Categorical(np.where(found["grade"] > 2, "c", found["grade"].astype(str)))
    found["sort"] = pd.Categorical(np.array(["p", "q", "r"])[np.minimum(found["count"], 2)])
    found["far"] = 0.2 * random.normal(size=n)
    found["times"] = random.integers(0, 3, n)
    return found


CASES = {
    "bernoulli": (FORMULA.format("yes"), "bernoulli", {}),
    "poisson": (FORMULA.format("count") + " + offset(far)", "poisson", {}),
    "binomial": ("wins | trials(trials) ~ x + (1 | g) + (1 | h)", "binomial", {}),
    "negative binomial": (FORMULA.format("varied"), "nbinom2", {}),
    "frequency": (FORMULA.format("varied"), "nbinom2", {"frequency": "times"}),
    "gamma": ("amount ~ x + (1 | g) + (1 | h)", "gamma", {}),
    "categories by number": ("grade ~ x + (1 | g) + (1 | h)", "cumulative", {}),
    "categories": ("sort ~ x + (1 | g)", "categorical", {}),
    "probit": ("yes ~ x + (1 | g) + (1 | h)", "bernoulli(probit)", {}),
    "no fixed effects": ("yes ~ 0 + (1 | g) + (1 | h)", "bernoulli", {}),
    "far from the origin": ("count ~ year + (1 + year | g) + (1 | h)", "poisson", {}),
    "nested": ("count ~ x + (1 | g) + (1 | g:h)", "poisson", {}),
    "one factor": ("yes ~ x + (1 | g)", "bernoulli", {}),
    "dispersion": ({"mu": "varied ~ x + (1 | g) + (1 | h)", "dispersion": "~ x"}, "nbinom2", {}),
    "zeros": ("varied ~ x + (1 | g) + (1 | h)", "zero_inflated_poisson", {}),
}


@cache
def designed(name: str) -> tuple[lf.Design, str, lf.Fit]:
    """A case's design, its family, and the fit of one process."""
    formula, family, given = CASES[name]
    design = lf.design(formula, table(), **given)
    model = lf.compile(design, family)
    return design, family, lf.estimate(model, method="laplace", solver="iterative")


def assert_same(found: lf.Fit, expected: lf.Fit) -> None:
    """To the last digits that the order of sums leaves."""
    assert found.outcome == expected.outcome
    assert found.converged == expected.converged
    assert found.solver == "iterative"
    assert float(found.loglik) == pytest.approx(float(expected.loglik), rel=1e-8)
    np.testing.assert_allclose(found.param_stderr, expected.param_stderr, rtol=1e-6)
    np.testing.assert_allclose(found.param_values, expected.param_values, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.param_mc_error, expected.param_mc_error, rtol=1e-4, atol=1e-9)
    for mine, theirs in zip(found.modes, expected.modes, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    for mine, theirs in zip(found.mode_cov, expected.mode_cov, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def over(design: lf.Design, family: str) -> lf.Fit:
    return lf.estimate(lf.compile(design, family), method="laplace")


@pytest.mark.parametrize("name", CASES)
def test_parts_give_the_answer_of_one_process(name):
    design, family, expected = designed(name)
    assert_same(over(several(design, 3), family), expected)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_any_number_of_parts_does(count):
    design, family, expected = designed("negative binomial")
    assert_same(over(several(design, count), family), expected)


def test_parts_that_are_lost_are_made_good():
    """At any time: what parts hold is made again from what was kept last under each name."""
    design, family, expected = designed("negative binomial")
    parts = several(design, 2, lost_after=7)
    assert_same(over(parts, family), expected)
    assert parts.shards is not None
    assert isinstance(parts.shards.parts, Several)
    assert parts.shards.parts.times_lost > 50


@pytest.mark.parametrize(("name", "after"), [("one factor", 60), ("far from the origin", 400)])
def test_rows_that_are_lost_for_good_leave_the_last_estimates(name, after):
    """As the user's columns have them, which are not those that the ascent goes in."""
    formula, family, _ = CASES[name]
    parts = several(lf.design(formula, table()), 2)
    assert parts.shards is not None
    left, work = iter(range(after)), parts.shards.parts._work

    def lost(*given):
        if next(left, None) is None:
            raise lf.ClusterError("the rows are gone", hint="Start again.")
        work(*given)

    parts.shards.parts._work = lost
    with pytest.raises(lf.ClusterError, match="The last iteration had") as told:
        over(parts, family)
    expected = designed(name)[2]
    assert list(told.value.estimates) == list(expected.param_names)
    # It is on its way there.
    for mine, theirs in zip(told.value.estimates.values(), expected.param_values, strict=True):
        assert mine == pytest.approx(theirs, abs=1.0, rel=0.9)


def test_a_level_without_a_finite_estimate_is_named_wherever_its_rows_are():
    """Its error is no number, and none that more probes make one."""
    data = table(300)
    data["b"] = np.where(data.index < 30, "u", "v")
    data["all"] = np.where(data["b"] == "u", 1, data["yes"])
    design = lf.design("all ~ b + x + (1 | g) + (1 | h)", data)
    one = lf.compile(design, "bernoulli")
    for fit in (
        lf.estimate(one, method="laplace", solver="iterative"),
        over(several(design, 2), "bernoulli"),
    ):
        assert fit.outcome.name == "SEPARATION"
        assert "b[T.v]" in str(fit)


def test_what_a_pass_sends_does_not_grow_with_the_rows():
    sizes = []
    for n in (500, 2000):
        design = lf.design("yes ~ x + (1 | g) + (1 | h)", table(n))
        parts = several(design, 2)
        over(parts, "bernoulli")
        assert parts.shards is not None
        assert isinstance(parts.shards.parts, Several)
        effects = sum(len(term.levels) for term in design.terms)
        # Probes are solved for side by side, directions beside them.
        sizes.append(max(numbers for _, numbers in parts.shards.parts.calls) / effects)
    assert sizes[1] == pytest.approx(sizes[0], rel=0.2)


def test_two_models_may_ask_the_same_parts_in_turn():
    design, family, expected = designed("negative binomial")
    parts = several(design, 2)
    over(parts, "poisson")
    assert_same(over(parts, family), expected)


def test_workers_give_the_answer_of_one_process():
    _, family, expected = designed("one factor")
    with cluster_of(2) as client:
        found = lf.fit(
            CASES["one factor"][0], table(), family=family, method="laplace", cluster=client
        )
    assert_same(found, expected)
    # The rows are here as well.
    np.testing.assert_allclose(found.residuals(), expected.residuals(), atol=1e-6)


def test_a_dask_frame_gives_the_answer_of_its_rows():
    """All that is learned from rows is learned there: thresholds, starts, units, what is endless."""
    formula, family, _ = CASES["categories by number"]
    expected = designed("categories by number")[2]
    with cluster_of(2) as client:
        assert client is not None
        frame = dd.from_pandas(table(), npartitions=3)
        found = lf.fit(formula, frame, family=family, method="laplace")
    assert_same(found, expected)
    with pytest.raises(lf.ModelError, match="with the workers of a cluster"):
        found.residuals()
    new = table().head(5)
    np.testing.assert_allclose(found.predict(new), expected.predict(new), atol=1e-6)


def test_a_worker_that_is_killed_is_made_good(monkeypatch):
    monkeypatch.setattr(answering, "LOOKS_AFTER", 0.5)
    formula, family, _ = CASES["one factor"]
    expected = designed("one factor")[2]
    with cluster_of(2, processes=True) as client:
        frame = dd.from_pandas(table(), npartitions=3)
        made = design_of_partitions(
            lf.parse(formula), frame, client, contrasts=None, weights=None, offset=None
        )
        assert made.shards is not None
        assert isinstance(made.shards.parts, Workers)
        strike(made.shards.parts, signal.SIGKILL)
        found = over(made, family)
        assert_same(found, expected)
        assert "were read again on" in str(found.diagnostics)
