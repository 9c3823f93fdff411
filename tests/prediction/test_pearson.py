"""Pearson residuals: one convention for all families, by R's numbers and on rows that a true model drew."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.family.built_in import FAMILIES
from tests.prediction.families import CASES, true_fit
from tests.prediction.test_mean_intervals import salamanders

PEARSON = json.loads((Path(__file__).parents[1] / "reference" / "pearson.json").read_text("utf-8"))[
    "residuals"
]
COUNT = "count ~ mined + (1 | site)"
FORMULAS = {
    "gaussian": "amount ~ mined + (1 | site)",
    "gaussian_weights": "amount | weights(w) ~ mined + (1 | site)",
    "gamma": "amount ~ mined + (1 | site)",
    "beta": "share ~ mined + (1 | site)",
    "tweedie": "weight ~ mined + (1 | site)",
    "binomial": "cbind(incidence, size - incidence) ~ period + (1 | herd)",
    "beta_binomial": "cbind(incidence, size - incidence) ~ period + (1 | herd)",
    "zero_inflated_poisson_zi": {"mu": COUNT, "zi": "~ mined"},
    "nbinom2_dispersion": {"mu": COUNT, "shape": "~ mined"},
}
FAST = ("poisson", "gaussian", "gaussian_weights", "gamma", "binomial", "zero_inflated_poisson")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in FAST else [pytest.mark.slow]) for n in PEARSON],
)
def test_agree_with_glmmtmb(name):
    family = name.removesuffix("_zi").removesuffix("_dispersion").removesuffix("_weights")
    frame = salamanders()
    frame = frame.assign(w=1.0 + np.arange(1, len(frame) + 1) % 3)
    if "binomial" in name:
        frame = lf.datasets.load("cbpp")
    method = "exact" if family == "gaussian" else "laplace"
    fit = lf.fit(FORMULAS.get(name, COUNT), frame, family, method=method)
    found = fit.residuals("pearson")
    # Optimisers of both: estimates are good to about three digits there.
    np.testing.assert_allclose(found.iloc[:6], PEARSON[name]["first"], rtol=5e-3, atol=2e-3)
    assert np.mean(found**2) == pytest.approx(PEARSON[name]["square"], rel=5e-3)


@pytest.mark.parametrize("name", CASES)
def test_mean_zero_and_variance_one_where_the_model_is_true(name):
    found = true_fit(name).residuals("pearson").to_numpy()
    _standard(found)


def _standard(found: np.ndarray) -> None:
    # Four errors of a mean and of a mean square; their own moments are those of the rows.
    assert abs(found.mean()) < 4.0 * found.std() / np.sqrt(len(found))
    squares = found**2
    assert abs(squares.mean() - 1.0) < 4.0 * squares.std() / np.sqrt(len(found))


def test_all_families_are_tried():
    tried = {family.partition("(")[0] for _, family in CASES.values()}
    # One has no mean, one a parameter without a start; the others are in the slow tests, too.
    left = set(FAMILIES) - tried
    assert left <= {"categorical", "cratio", "tweedie", "hurdle_poisson", "zero_inflated_nbinom2"}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["tweedie", "hurdle_poisson", "zero_inflated_nbinom2", "cratio"])
def test_others_by_fits_to_data_of_a_true_model(family):
    from tests.prediction.truth import true_data

    formula, frame = true_data(family, 5, levels=60, rows=40)
    found = lf.fit(formula, frame, family, method="laplace").residuals("pearson").to_numpy()
    # Effects of 60 levels and a handful of parameters are fitted to 2,400 rows.
    squares = found**2
    assert abs(squares.mean() - 1.0) < 4.0 * squares.std() / np.sqrt(len(found)) + 64 / 2400
