"""A declared category of a response that no row has: left out, and said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf


def rows(ordered: bool, missing: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    y = np.array(["a", "b", "d"])[rng.integers(0, 3, 60)]
    x = rng.normal(size=60)
    if missing:
        y[:3], x[:3] = "c", np.nan
    column = pd.Categorical(y, categories=list("abcd"), ordered=ordered)
    return pd.DataFrame({"y": column, "x": x, "g": np.arange(60) % 10})


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("ordered", [False, True])
def test_it_is_said(ordered, missing):
    """Of rows that are left out, too."""
    with pytest.warns(lf.LmeFormulaWarning, match="no row has the response 'y' in the category c"):
        found = lf.design("y ~ x + (1 | g)", rows(ordered, missing))
    assert found.response.levels == ("a", "b", "d")


def test_nothing_is_said_without_it():
    data = rows(ordered=True)
    data["y"] = data["y"].cat.remove_unused_categories()
    assert lf.design("y ~ x + (1 | g)", data).response.levels == ("a", "b", "d")


def test_thresholds_are_those_of_the_others():
    """clm of ordinal 2022.11-16 drops it, too; polr of MASS gives it two thresholds at one place."""
    with pytest.warns(lf.LmeFormulaWarning, match="category"):
        fit = lf.fit("y ~ x + (1 | g)", rows(ordered=True), "cumulative", method="laplace")
    assert list(fit.family_params.index) == ["a|b", "b|d"]


def test_a_refit_says_nothing_more():
    with pytest.warns(lf.LmeFormulaWarning, match="category"):
        fit = lf.fit("y ~ x + (1 | g)", rows(ordered=True), "cumulative", method="laplace")
    assert fit.refit(fit.simulate(1, seed=1).iloc[:, 0]).outcome.converged
