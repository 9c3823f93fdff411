"""Tests and means where cells are empty, factors nested and columns dropped: against emmeans."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import lmeformula as lf
from tests.prediction.odd_designs import FORMULAS, frame

DESIGNS = json.loads(
    (Path(__file__).parents[1] / "reference" / "odd_designs.json").read_text("utf-8")
)["designs"]
# emmeans prints F to three decimals.
ROUNDED = 6e-4


@cache
def fit_of(name: str) -> lf.Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns that are dropped
        return lf.fit(FORMULAS[name], frame(name), reml=True)


@pytest.mark.parametrize("name", FORMULAS)
def test_joint_tests(name):
    ours, theirs = fit_of(name).joint_tests(), DESIGNS[name]["joint"]
    assert ours["term"].tolist() == theirs["model term"]
    assert ours["df1"].tolist() == theirs["df1"]
    # The last line is a difference of rounded numbers there, times some ten degrees of freedom.
    is_last = (ours["term"] == "(confounded)").to_numpy()
    np.testing.assert_allclose(
        ours["statistic"], theirs["F.ratio"], atol=ROUNDED, rtol=np.where(is_last, 5e-4, 0).max()
    )
    # Of several directions emmeans takes the least degrees of freedom, lmerTest and we what combines them.
    np.testing.assert_allclose(ours["df2"], theirs["df2"], rtol=0.02)
    alone = ours["df1"] == 1
    is_single = (alone & ~is_last).to_numpy()
    np.testing.assert_allclose(
        ours["df2"][is_single], np.array(theirs["df2"], float)[is_single], atol=0.0051
    )


CASES = [
    (name, v) for name in DESIGNS for v in ("a", "b", "c", "n") if f"means_{v}" in DESIGNS[name]
]


@pytest.mark.parametrize(("name", "variable"), CASES)
def test_means_and_their_pairs(name, variable):
    means = fit_of(name).emmeans(variable)
    pairs = means.contrasts("pairwise", adjust="none")
    for made, key, value in ((means, "means", "emmean"), (pairs, "pairs", "estimate")):
        ours, theirs = made.to_frame(), DESIGNS[name][f"{key}_{variable}"]
        np.testing.assert_allclose(
            ours["estimate"].to_numpy(), np.array(theirs[value], float), atol=2e-5
        )
        np.testing.assert_allclose(
            ours["std_error"].to_numpy(), np.array(theirs["SE"], float), rtol=1e-4
        )
        np.testing.assert_allclose(ours["df"].to_numpy(), np.array(theirs["df"], float), rtol=1e-3)
    assert pairs.to_frame()["contrast"].tolist() == theirs["contrast"]


@pytest.mark.parametrize("name", [name for name in DESIGNS if "pairs_ab" in DESIGNS[name]])
def test_pairs_of_cells_are_there_where_both_cells_are(name):
    ours = fit_of(name).emmeans(["a", "b"]).contrasts("pairwise", adjust="none").to_frame()
    theirs = DESIGNS[name]["pairs_ab"]
    ours_at, theirs_at = ours["estimate"].to_numpy(), np.array(theirs["estimate"], float)
    if name == "nested_by_formula":  # there the nested variable comes first
        ours_at, theirs_at = np.sort(np.abs(ours_at)), np.sort(np.abs(theirs_at))
    else:
        assert ours["contrast"].tolist() == theirs["contrast"]
    np.testing.assert_allclose(ours_at, theirs_at, atol=2e-5)


def test_dropped_columns_of_any_unit_leave_other_tests_as_they_are():
    expected = fit_of("no_intercept").joint_tests().iloc[0]
    for factor in (1e-9, 1e9):
        rows = frame("dropped").assign(twice=lambda d, f=factor: f * d.x)
        with pytest.warns(UserWarning, match="rank"):
            fit = lf.fit("y ~ a + x + twice + (1 | g)", rows, reml=True)
        found = fit.joint_tests()
        assert found["term"].tolist() == ["a", "(confounded)"]
        assert found["statistic"][0] == pytest.approx(expected["statistic"], rel=1e-5)
        assert np.isnan(fit.joint_tests(["x"])["statistic"][0])


def test_a_joint_test_of_contrasts_takes_all_that_is_determined():
    pairs = fit_of("empty_two").emmeans(["a", "b"]).contrasts("pairwise", adjust="none")
    assert pairs.test().df1 == 6  # seven cells that are there
