"""Joint tests, means and pairs of designs drawn at random, against emmeans."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import lmeformula as lf
from tests.prediction.odd_draws import FORMULAS, SEEDS, drawn

DESIGNS = json.loads(
    (Path(__file__).parents[1] / "reference" / "odd_draws.json").read_text("utf-8")
)["designs"]
# Where emmeans says something else of whole terms, and why that is not held against us.
CURVES = {
    s for s in SEEDS if "poly" in FORMULAS[s % len(FORMULAS)]
}  # it tests their linear part only
WITHOUT_F = {16, 34}  # it has no F where nothing but "(confounded)" is determined
FEWER = {21, 60, 62}  # its lines have fewer degrees of freedom than the cells that are there
FAST = SEEDS[: len(FORMULAS)]


@cache
def fit_of(seed: int) -> lf.Fit:
    formula, rows = drawn(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns that are dropped
        return lf.fit(formula, rows, reml=True)


def _all(seeds):
    return [s if s in FAST else pytest.param(s, marks=pytest.mark.slow) for s in seeds]


@pytest.mark.parametrize("seed", _all(SEEDS))
def test_joint_tests(seed):
    ours, theirs = fit_of(seed).joint_tests(), DESIGNS[str(seed)]["joint"]
    if seed in FEWER | CURVES:
        # What the lines have together is all that the cells tell apart.
        assert seed in CURVES or ours["df1"].sum() == len(fit_of(seed).params.beta) - 1
        return
    assert ours["term"].tolist() == np.atleast_1d(theirs["model term"]).tolist()
    assert ours["df1"].tolist() == np.atleast_1d(theirs["df1"]).tolist()
    if seed in WITHOUT_F:
        assert np.isfinite(ours["statistic"]).all()
        return
    # Three decimals there; the last line is a difference of such, times its degrees of freedom.
    np.testing.assert_allclose(
        ours["statistic"], np.atleast_1d(theirs["F.ratio"]), atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("seed", _all(SEEDS))
def test_means_and_their_pairs(seed):
    published = DESIGNS[str(seed)]
    for variable in [key.removeprefix("means_") for key in published if key.startswith("means_")]:
        means = fit_of(seed).emmeans(variable)
        pairs = means.contrasts("pairwise", adjust="none")
        for made, key, value in ((means, "means", "emmean"), (pairs, "pairs", "estimate")):
            ours, theirs = made.to_frame(), published[f"{key}_{variable}"]
            for column, name in (("estimate", value), ("std_error", "SE")):
                np.testing.assert_allclose(
                    ours[column],
                    np.atleast_1d(np.array(theirs[name], float)),
                    rtol=2e-4,
                    atol=5e-5,
                    err_msg=f"{key} of {variable}, {column}",
                )
