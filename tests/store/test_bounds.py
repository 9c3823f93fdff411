"""Fits whose own parameters have bounds: the bounds are kept with them, and intervals stay within."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.family.bounded import Bounded
from tests.likelihood.laplace.test_single import simulated


@pytest.mark.parametrize(
    ("formula", "family"),
    [
        ("number ~ x + (1 | g)", "student"),
        ("scarce ~ x + (1 | g)", "zero_inflated_nbinom2"),
        ("cbind(wins, losses) ~ x + (1 | g)", "beta_binomial(cauchit)"),
    ],
)
def test_there_and_back(tmp_path, formula, family):
    data = simulated(6)
    fit = lf.fit(formula, data, family, method="laplace")
    fit.save(tmp_path / "fit")
    again = lf.load(tmp_path / "fit")
    assert again.model.family.written == fit.model.family.written
    assert again.model.space.own.scale == fit.model.space.own.scale
    np.testing.assert_array_equal(again.family_params, fit.family_params)
    new = {name: values[:5] for name, values in data.items()}
    np.testing.assert_allclose(again.predict(new), fit.predict(new), rtol=1e-14)
    intervals = fit.confint().set_index("parameter")
    scale = fit.model.space.own.scale
    bounds = scale.bounds if isinstance(scale, Bounded) else [(0.0, np.inf)]
    for name, (low, high) in zip(fit.family_params.index, bounds, strict=True):
        lower, upper = intervals.loc[name, ["lower", "upper"]]
        assert low < lower < fit.family_params[name] < upper < high


def test_the_family_is_in_every_view():
    fit = lf.fit("scarce ~ x + (1 | g)", simulated(6), "zero_inflated_poisson", method="laplace")
    assert "zero_probability" in str(fit.summary())
    assert "zero_probability" in fit.tidy().to_string()
    profile = fit.confint("profile", parm="zero_probability").iloc[0]
    wald = fit.confint("wald", parm="zero_probability").iloc[0]
    assert 0.0 <= profile["lower"] < wald["estimate"] < profile["upper"] < 1.0
    assert profile["upper"] == pytest.approx(wald["upper"], abs=0.1)
