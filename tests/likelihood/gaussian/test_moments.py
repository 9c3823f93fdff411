"""The optimiser's start: unbiased where the model is right, bounded where the moments say nothing."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.likelihood.gaussian.exact import fit_exact
from lmeformula.likelihood.gaussian.moments import LEAST, MOST, USUAL, moment_start
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
