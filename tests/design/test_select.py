"""Some rows of a design: fits of them are fits of the data without the others."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.checking.cross_validate import _fit_rows
from lmeformula.design.select import select_rows
from lmeformula.likelihood.ascent import NEGLIGIBLE_GAIN
from tests.prediction.families import CASES, table


@pytest.mark.parametrize(
    "name", ["gaussian", "binomial of two columns", "binomial of trials", "cumulative", "poisson"]
)
def test_rows_that_are_left_out_leave_no_trace(name):
    formula, family = CASES[name]
    data = table().iloc[:400]
    # Among the rows that go are all of one level.
    gone = (np.arange(400) % 7 == 0) | (data["g"] == "g3").to_numpy()
    fit = lf.fit(formula, data, family, method="auto" if name == "gaussian" else "laplace")
    there = lf.fit(formula, data[~gone], family, method=fit.method)
    found = _fit_rows(fit, np.flatnonzero(~gone), fit.method, 0, None)
    np.testing.assert_allclose(found.loglik.value, there.loglik.value, rtol=1e-10)
    # One starts where the fit is, the other from rough values: each ends where no step promises more than this.
    apart = np.abs(found.param_values - there.param_values)
    # What rests on a bound has no standard error, and is the same.
    assert (apart <= 2.0 * np.sqrt(2.0 * NEGLIGIBLE_GAIN) * np.nan_to_num(there.param_stderr)).all()
    np.testing.assert_allclose(found.fixed_vcov, there.fixed_vcov, rtol=1e-5, atol=1e-8)
    # The level without rows has the prior for its effect.
    place = fit.model.design.terms[0].levels.index("g3")
    assert found.modes[0][place] == pytest.approx(0.0, abs=1e-12)
    assert found.mode_cov[0][place] == pytest.approx(found.params.covariances[0], abs=1e-9)


def test_every_array_over_the_rows_is_cut():
    formula = CASES["binomial of trials"][0]
    data = table().iloc[:50].assign(o=np.arange(50.0))
    design = lf.design(f"{formula} + offset(o)", data)
    places = np.array([4, 9, 11])
    some = select_rows(design, places)
    whole = lf.design(f"{formula} + offset(o)", data)
    np.testing.assert_array_equal(some.X, whole.X[places])
    np.testing.assert_array_equal(some.offset, [4.0, 9.0, 11.0])
    np.testing.assert_array_equal(some.response.trials, data["size"].to_numpy()[places])
    np.testing.assert_array_equal(some.rows, places)
    assert some.n == 3
    assert [some.terms[0].levels[i] for i in some.terms[0].index] == list(data["g"].iloc[places])


def test_every_array_over_the_rows_is_cut_with_several_predictors():
    """Wherever an array as long as the data stands, it is as long as the selection afterwards."""
    rng = np.random.default_rng(1)
    data = {
        "y": rng.normal(size=40),
        "x": rng.normal(size=40),
        "g": np.arange(40) % 5,
        "w": np.ones(40),
    }
    formulas = {"mu": "y ~ x + (1 | g) + offset(x)", "sigma": "~ x + offset(w)"}
    made = lf.design(formulas, data)
    some = select_rows(made, np.array([3, 7, 21]))

    def lengths(of) -> list[int]:
        if isinstance(of, np.ndarray):
            return [len(of)]
        if isinstance(of, tuple):
            return [length for each in of for length in lengths(each)]
        if not is_dataclass(of) or type(of).__name__ in ("Formula", "Recipe", "Given"):
            return []
        return [n for field in fields(of) for n in lengths(getattr(of, field.name))]

    assert 40 in lengths(made)
    assert 40 not in lengths(some)
    np.testing.assert_array_equal(some.offsets[1], [1.0, 1.0, 1.0])
