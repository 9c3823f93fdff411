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
        monkeypatch.setattr(
            "lmeformula.likelihood.gaussian.sums.dense_products", lambda *given: None
        )
    data = rows()
    order = np.random.default_rng(3).permutation(48)
    permuted = {key: np.asarray(column)[order] for key, column in data.items()}
    for each in (data, permuted, {**data, "y": 1e6 * data["y"]}):
        fit = lf.fit(formula, each, reml=reml)
        assert fit.outcome is lf.Outcome.UNIDENTIFIED
        assert flat in fit.certificate["curvature"].names
        assert np.isnan(fit.param_stderr[fit.param_names.index(flat)])
        assert fit.param_stderr[-1] > 0.0


def silent(kind: str):
    """Rows of one category that say nothing: without trials, or zeros of a hurdle's counts."""
    rng = np.random.default_rng(4)
    g, x, a = np.arange(48) % 8, rng.normal(size=48), rng.integers(0, 3, 48)
    b = rng.normal(0, 0.7, 8)[g]
    data = {"a": [f"a{i}" for i in a], "x": x, "g": [f"g{i}" for i in g]}
    if kind != "hurdle_poisson":
        t = np.where(a == (1 if kind == "middle" else 2), 0, rng.integers(2, 7, 48))
        return {**data, "t": t, "y": rng.binomial(t, 1.0 / (1.0 + np.exp(-0.5 * x - b)))}
    return {**data, "y": np.where(a == 2, 0, rng.poisson(np.exp(0.5 + 0.3 * x + b)))}


# Family, formula, and the coefficients that nothing is known of.
SILENT = {
    "the middle one by cells": ("middle", "y | trials(t) ~ 0 + a + x + (1 | g)", ("a[a1]",)),
    "trials of zero": ("binomial", "y | trials(t) ~ x + a + (1 | g)", ("a[T.a2]",)),
    "by cells": ("binomial", "y | trials(t) ~ 0 + a + x + (1 | g)", ("a[a2]",)),
    "with a slope": ("binomial", "y | trials(t) ~ a * x + (1 | g)", ("a[T.a2]", "a[T.a2]:x")),
    "a hurdle's zeros": ("hurdle_poisson", "y ~ x + a + (1 | g)", ("a[T.a2]",)),
}
# Its derivatives are automatic, and compiling them takes seconds.
SLOWLY = "a hurdle's zeros"


@pytest.mark.parametrize("solver", ["direct", "iterative"])
@pytest.mark.parametrize(
    "name",
    [pytest.param(k, marks=[pytest.mark.slow] * (k == SLOWLY)) for k in SILENT],
)
def test_a_category_without_information_is_named_and_costs_the_others_nothing(name, solver):
    kind, formula, unknown = SILENT[name]
    data, family = silent(kind), "hurdle_poisson" if name == SLOWLY else "binomial"
    fit = lf.fit(formula, data, family, method="laplace", solver=solver)
    assert fit.outcome is lf.Outcome.UNIDENTIFIED
    assert fit.certificate["curvature"].names == unknown
    is_unknown = np.isin(fit.param_names, unknown)
    assert (np.isnan(fit.param_stderr) == is_unknown).all()
    if family == "binomial":
        kept = data["t"] > 0
        rest = {key: np.asarray(values)[kept] for key, values in data.items()}
        right = lf.fit(formula, rest, family, method="laplace")
        # A fit ends where it could rise by 1e-9 still: within sqrt(2e-9) of a standard error.
        away = (fit.param_values[~is_unknown] - right.param_values) / right.param_stderr
        assert np.abs(away).max() < 2.0 * np.sqrt(2e-9)
        np.testing.assert_allclose(fit.param_stderr[~is_unknown], right.param_stderr, rtol=1e-4)
