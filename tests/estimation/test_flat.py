"""What the likelihood does not depend on is said to be so, whatever the start, the order and the solver."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf


def rows():
    """Groups of which each has one level of a; x is constant within them, and nought is zero."""
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(12), 4)
    y = rng.normal(size=12)[g] + rng.normal(size=48)
    labels = {"g": g, "a": g % 3, "c": g % 2}
    data = {name: [f"{name}{i}" for i in values] for name, values in labels.items()}
    return {"y": y, "nought": np.zeros(48)} | data


# Formula, restricted or not, and what is not determined.
FLAT = {
    "a correlation of coefficients that never meet": ("y ~ 1 + homcs(0 + a | g)", False, "cor(g)"),
    "the same, restricted": ("y ~ 1 + homcs(0 + a | g)", True, "cor(g)"),
    "along an order": ("y ~ 1 + ar1(0 + a | g)", False, "cor(g)"),
    "groups that fixed effects span": ("y ~ 1 + a + c + a:c + (1 | c)", True, "sd(c)"),
    "a column of zeros": ("y ~ 1 + (1 + nought | g)", False, "sd(g:nought)"),
}


# The design has a word of its own on columns of deficient rank.
@pytest.mark.filterwarnings("ignore:W_RE_RANK")
@pytest.mark.parametrize("blocks", [False, True], ids=["dense", "blocks"])
@pytest.mark.parametrize("name", FLAT)
def test_what_is_flat_is_named(monkeypatch, name, blocks):
    formula, reml, flat = FLAT[name]
    if blocks:
        monkeypatch.setattr("lmeformula.gaussian.likelihood.dense_products", lambda *given: None)
    data = rows()
    order = np.random.default_rng(3).permutation(48)
    permuted = {key: np.asarray(column)[order] for key, column in data.items()}
    for each in (data, permuted, {**data, "y": 1e6 * data["y"]}):
        fit = lf.fit(formula, each, reml=reml)
        assert fit.outcome is lf.Outcome.UNIDENTIFIED
        assert flat in fit.certificate["curvature"].names
        assert np.isnan(fit.param_stderr[fit.param_names.index(flat)])
        assert fit.param_stderr[-1] > 0.0
