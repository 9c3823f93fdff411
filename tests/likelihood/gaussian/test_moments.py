"""The optimiser's start: unbiased where the model is right, bounded where the moments say nothing."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.likelihood.gaussian.exact import fit_exact
from lmeformula.likelihood.gaussian.moments import (
    LEAST,
    MOST,
    USUAL,
    covariance_start,
    moment_start,
)
from lmeformula.likelihood.gaussian.sums import sums
from tests.simulate import make_design


def crossed(seed: int, sds: tuple[float, float, float]) -> dict[str, np.ndarray]:
    """900 rows, 60 levels crossed with 15, an intercept of 3."""
    rng = np.random.default_rng(seed)
    g, h = rng.integers(60, size=900), rng.integers(15, size=900)
    y = 3.0 + sds[0] * rng.normal(size=60)[g] + sds[1] * rng.normal(size=15)[h]
    return {"y": y + sds[2] * rng.normal(size=900), "g": g, "h": h, "x": rng.normal(size=900)}


def start(formula: str, data, sigma: float | None = None) -> np.ndarray:
    found = sums(lf.design(formula, data))
    return moment_start(found, found.column_scales(), sigma)


@pytest.mark.parametrize("sigma", [None, 2.0])
def test_unbiased(sigma):
    sds = (1.0, 1.5, 2.0)
    found = np.array(
        [start("y ~ x + (1 | g) + (1 | h)", crossed(seed, sds), sigma) ** 2 for seed in range(100)]
    )
    expected = np.array([0.25, 0.5625])
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    # Sharp enough to notice that 15 levels have 14 degrees of freedom.
    assert (error < expected / 14).all()
    # sigma^2 is estimated from 825 degrees of freedom, which biases a ratio by 2 / 825 of itself.
    assert (np.abs(found.mean(axis=0) - expected) < 4 * error + 0.0025 * expected).all()


def test_bounds():
    flat = crossed(1, (0.0, 0.0, 1.0))
    found = start("y ~ x + (1 | g) + (1 | h)", flat)
    assert ((found >= LEAST) & (found <= USUAL)).all()
    # A known sigma that is far too small, and one that is far too large.
    assert (start("y ~ x + (1 | g) + (1 | h)", crossed(2, (1.0, 1.0, 1.0)), 1e-4) == MOST).all()
    assert (start("y ~ x + (1 | g) + (1 | h)", crossed(2, (1.0, 1.0, 1.0)), 1e4) == LEAST).all()


@pytest.mark.parametrize("name", ["one term", "crossed", "slopes apart", "weights", "offset"])
def test_few_evaluations(name):
    """Newton's method from here: two or three steps, with slopes four, and what confirms the last."""
    model = lf.compile(make_design(name))
    found = fit_exact(sums(model.design), model.space, thorough=False, polished=False)
    assert found.converged
    assert found.num_evaluations <= (6 if name == "weights" else 5)


def balanced() -> dict[str, np.ndarray]:
    """30 groups of 6 rows with the same x, an intercept and a slope with correlations."""
    rng = np.random.default_rng(7)
    g, x = np.repeat(np.arange(30), 6), np.tile(np.arange(6.0), 30)
    effects = rng.normal(size=(30, 2)) @ np.array([[2.0, 0.7], [0.0, 0.8]])
    return {"y": 3.0 + effects[g, 0] + effects[g, 1] * x + rng.normal(size=180), "x": x, "g": g}


def factor_of(formula: str, data, sigma: float | None = None) -> np.ndarray | None:
    model = lf.compile(lf.design(formula, data))
    found = sums(model.design)
    return covariance_start(found, found.column_roots(model.space)[0], sigma)


@pytest.mark.parametrize("reml", [False, True])
def test_balanced_data_have_their_maximum_at_the_moments(reml):
    model = lf.compile(lf.design("y ~ x + (x | g)", balanced()))
    found = fit_exact(sums(model.design), model.space, reml=reml, thorough=False, polished=False)
    assert found.num_evaluations == 1
    assert found.gain < 1e-20


def test_a_known_sigma_is_the_unit_of_the_start():
    data = balanced()
    one, four = factor_of("y ~ x + (x | g)", data, 1.0), factor_of("y ~ x + (x | g)", data, 0.25)
    assert np.allclose(four @ four.T, 16.0 * one @ one.T)


@pytest.mark.parametrize(
    ("formula", "changes"),
    [
        ("y ~ x + (x | g) + (1 | h)", {"h": np.arange(180) % 7}),
        # No variance between groups, and no residual one.
        ("y ~ x + (x | g)", {"y": np.tile([1.0, -1.0, 0.0, 0.0, -1.0, 1.0], 30)}),
        ("y ~ x + (1 | g)", {"y": np.repeat(np.arange(30.0), 6)}),
    ],
)
def test_moments_that_are_no_covariance_are_no_start(formula, changes):
    assert factor_of(formula, balanced() | changes) is None
