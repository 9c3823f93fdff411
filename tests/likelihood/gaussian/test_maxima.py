"""Likelihoods of few rows with more than one maximum: the highest is found from the usual start."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.likelihood.gaussian.exact import fit_exact
from lmeformula.likelihood.gaussian.sums import sums
from lmeformula.model.params import Params

FORMULAS = ("y ~ 0 + x + (x | g)", "y ~ a + (1 | g:h) + (x | g)", "y ~ x + (x || g) + (1 | h)")


def rows(seed: int):
    """Some twenty rows of noise with a group effect or two."""
    rng = np.random.default_rng(seed)
    n = 20
    labels = {"a": rng.integers(0, 3, n), "g": rng.integers(0, 5, n), "h": rng.integers(0, 3, n)}
    x = rng.normal(size=n)
    y = rng.normal(size=n) + rng.normal(size=5)[labels["g"]] * (1.0 if seed % 2 else x)
    return {"y": y, "x": x} | {k: [f"{k}{i}" for i in v] for k, v in labels.items()}


# The last has a maximum of an intercept and a slope by g, and a higher one of g:h alone, 0.68 above.
@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("seed", [0, 1, 2, 40])
def test_no_other_start_finds_more(formula, seed):
    model = lf.compile(lf.design(formula, rows(seed)))
    data, rng = sums(model.design), np.random.default_rng(seed)
    best = fit_exact(data, model.space)
    for _ in range(6):
        covariances = []
        for term in model.space.terms:
            k = len(term.columns)
            root = rng.normal(size=(k, k)) * np.exp(rng.normal(size=(k, 1)))
            if term.structure.correlations != "each":
                root = np.diag(np.diag(root))
            covariances.append(root @ root.T + 1e-6 * np.eye(k))
        start = Params(best.params.beta, tuple(covariances), np.ones(1))
        other = fit_exact(data, model.space, start=start, thorough=False)
        assert other.loglik < best.loglik + 1e-5
