"""What an iterative Laplace fit has of its rows: sums in blocks, and scores by each probe."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.likelihood.laplace import row_sums
from lmeformula.likelihood.laplace.determinant import by_determinant
from lmeformula.likelihood.laplace.iterative import fit_iteratively, scores_by_probe
from lmeformula.likelihood.laplace.likelihood import without_rows
from lmeformula.likelihood.laplace.modes import gradient


@pytest.fixture(scope="module")
def fitted():
    rng, n = np.random.default_rng(3), 800
    g, h, x = rng.integers(0, 60, n), rng.integers(0, 40, n), rng.normal(size=n)
    eta = 0.5 * x + 0.7 * rng.normal(size=60)[g] + 0.4 * rng.normal(size=40)[h]
    data = {"y": rng.poisson(np.exp(eta)).astype(float), "x": x, "g": g, "h": h}
    model = lf.compile(lf.design("y ~ x + (x | g) + (1 | h)", data), "nbinom2")
    return model, fit_iteratively(model, seed=1, tolerance=0.05, max_probes=8)


def test_scores_by_probe_are_those_of_leverages_by_probe(fitted):
    model, fit = fitted
    problem, at = fit.found.problem, fit.found.approximation
    space, factor = model.space, at.mode.factor
    psi = space.to_free(fit.found.params)
    scores = scores_by_probe(space, problem, psi, at)
    np.testing.assert_allclose(scores.mean(axis=0), gradient(space, psi, at), rtol=1e-10)
    alone = []
    for number, leverages in enumerate(factor.leverages_by_probe()):
        traces = tuple(each[number] for each in factor.probed.each)
        beyond = by_determinant(problem, at.mode, at.depths, leverages, traces)
        alone.append(gradient(space, psi, beyond))
    off = np.array(alone) - np.mean(alone, axis=0)
    np.testing.assert_allclose(scores - scores.mean(axis=0), off, atol=1e-6)


def test_products_of_moves_are_the_same_in_blocks(fitted, monkeypatch):
    _, fit = fitted
    at, here = fit.found.approximation, fit.found.problem.rows_here
    effects = np.random.default_rng(0).normal(size=(here.plan.num_effects, 3))
    own = np.ones((len(at.depths.own_first), 3))
    whole = here.bent(at.mode, at.depths, own, effects)
    blocks = lambda n: (slice(start, start + 300) for start in range(0, n, 300))  # noqa: E731
    monkeypatch.setattr(row_sums, "row_blocks", blocks)
    for one, other in zip(here.bent(at.mode, at.depths, own, effects), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


def test_a_place_that_was_passed_says_what_it_has_not(fitted):
    passed = without_rows(fitted[1].found.approximation)
    assert passed.mode.u is fitted[1].found.approximation.mode.u
    with pytest.raises(ModelError, match="only sums over the rows were kept"):
        np.sum(passed.mode.weights)
