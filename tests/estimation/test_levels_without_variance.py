"""Groups nested in the levels of a factor, where those of a level do not vary: a face of no coding but its own.

With a column for each level one coefficient has no variance; in other codings the covariance is singular
otherwise, and of the triangular factor's columns none is empty. Truth: the fits say the same in every coding.
"""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf

CODINGS = ("(0 + a | g)", "(a | g)", "(C(a, Sum) | g)")
FAMILIES = ("gaussian", "bernoulli")
GROUPS, EACH = 4, 10


def rows(seed: int, dead: str, levels: str = "uv", family: str = "gaussian") -> dict:
    """Rows of GROUPS groups in each level; the means of those in dead levels are next to one another."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(GROUPS * len(levels)), EACH)
    a = np.array(list(levels))[group // GROUPS]
    still = np.isin(a, list(dead))
    spread = np.concatenate([rng.permutation([-2.0, -0.5, 0.7, 2.5]) for _ in levels])
    effect = np.where(still, 0.0, spread[group])
    if family == "bernoulli":
        y = (rng.random(len(group)) < 1.0 / (1.0 + np.exp(-effect))).astype(float)
        y[still] = np.tile([0.0, 1.0], still.sum() // 2)
    else:
        y = effect + rng.normal(size=len(group))
        for each in np.unique(group[still]):
            y[group == each] -= 0.9 * y[group == each].mean()
    return {"y": y, "g": group, "a": a}


def variances_of_levels(fit, a) -> np.ndarray:
    """The variance of one effect for each level, whatever the coding."""
    first = [np.flatnonzero(a == level)[0] for level in np.unique(a)]
    codes = np.asarray(fit.model.stack.terms[0].values)[first]
    return np.diag(codes @ fit.params.covariances[0] @ codes.T)


@pytest.mark.parametrize(
    ("levels", "dead"), [("uv", "u"), ("uv", "v"), ("uvw", "v"), ("uvw", "uw"), ("uvw", "vw")]
)
@pytest.mark.parametrize("reml", [False, True])
def test_exact(levels, dead, reml):
    data = rows(len(levels) + reml, dead, levels)
    fits = [lf.fit(f"y ~ a + {term}", data, reml=reml, progress=False) for term in CODINGS]
    held(fits, data["a"], dead, 1e-7)


@pytest.mark.parametrize("dead", ["u", "v"])
def test_laplace(dead):
    data = rows(2, dead, family="bernoulli")
    fits = [
        lf.fit(f"y ~ a + {term}", data, family="bernoulli", method="laplace", progress=False)
        for term in CODINGS
    ]
    held(fits, data["a"], dead, 1e-6)


@pytest.mark.parametrize(
    ("family", "term"),
    [
        ("bernoulli", CODINGS[1]),
        ("gaussian", CODINGS[2]),
        *(pytest.param(family, CODINGS[0], marks=pytest.mark.slow) for family in FAMILIES),
        pytest.param("gaussian", CODINGS[1], marks=pytest.mark.slow),
        pytest.param("bernoulli", CODINGS[2], marks=pytest.mark.slow),
    ],
)
def test_mcem(family, term):
    data = rows(1, "u", family=family)
    fit = lf.fit(f"y ~ a + {term}", data, family=family, method="mcem", progress=False)
    held([fit], data["a"], "u", 0.0)


def held(fits, a, dead, tolerance):
    """Every fit says that the dead levels have no variance, exactly, and all have one likelihood."""
    # No group sees two levels: of those that vary no correlation is known.
    expected = "CONVERGED" if len(np.unique(a)) - len(dead) < 2 else "UNIDENTIFIED"
    for fit in fits:
        assert fit.outcome.name == expected, fit.outcome
        assert fit.singular
        sds = fit.varcorr.to_frame()["sd"].to_numpy(float)
        assert not ((sds > 0.0) & (sds < 1e-4)).any(), sds
        variances = variances_of_levels(fit, a)
        for level, variance in zip(np.unique(a), variances, strict=True):
            assert (variance < 1e-12) == (level in dead), (level, variances)
    assert np.ptp([fit.loglik.value for fit in fits]) <= tolerance
