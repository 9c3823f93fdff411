"""Conditional modes level by level, and coefficients of levels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lmeformula.errors import ModelError
from lmeformula.prediction.ranef import coef, effects_of, ranef
from tests.prediction.fakes import fake_fit


def test_one_row_for_each_coefficient_of_each_level():
    expected = pd.DataFrame(
        {
            "group": ["g"] * 6 + ["h"] * 2,
            "level": ["a", "a", "b", "b", "c", "c", "u", "v"],
            "term": ["Intercept", "x"] * 3 + ["Intercept"] * 2,
            "value": [0.3, -0.1, -0.2, 0.05, -0.1, 0.05, 0.1, -0.1],
            "sd": [0.2, 0.1] * 3 + [0.15] * 2,
        }
    )
    pd.testing.assert_frame_equal(ranef(fake_fit()), expected, check_dtype=False)


def test_conditional_sds_can_be_left_out():
    assert list(ranef(fake_fit(), cond_sd=False)) == ["group", "level", "term", "value"]


def test_without_random_effects_the_frame_is_empty_but_has_its_columns():
    model = replace(fake_fit().model, design=replace(fake_fit().model.design, terms=()))
    frame = ranef(fake_fit(model=model, modes=(), mode_cov=()))
    assert list(frame) == ["group", "level", "term", "value", "sd"]
    assert len(frame) == 0


def test_coefficients_of_levels_are_fixed_plus_random():
    frames = coef(fake_fit())
    np.testing.assert_allclose(frames["g"].loc["b"], [0.8, 0.95])
    np.testing.assert_allclose(frames["h"].loc["u"], [1.1, 0.9])
    assert frames["g"].index.name == "g"


def test_a_coefficient_that_only_varies_has_mean_zero():
    fit = fake_fit("y ~ 1 + (x | g) + (1 | h)")
    fit = replace(fit, params=fit.params._replace(beta=np.array([1.0])))
    assert coef(fit)["g"]["x"].tolist() == [-0.1, 0.05, 0.05]


@pytest.mark.parametrize(
    ("group", "column", "label", "sd"),
    [
        (None, None, "g", 0.5),
        ("g", "x", "x by g", 0.2),
        ("h", None, "h", 0.3),
    ],
)
def test_effects_of_one_coefficient(group, column, label, sd):
    chosen = effects_of(fake_fit(), group, column)
    assert chosen.label == label
    assert chosen.sd == pytest.approx(sd)
    assert len(chosen.values) == len(chosen.levels) == len(chosen.cond_sd)


@pytest.mark.parametrize(
    ("asked", "said"),
    [(("school",), " by school"), ((None, "z"), " z"), (("g", "z"), " z by g")],
)
def test_unknown_effect_names_those_there_are(asked, said):
    with pytest.raises(ModelError) as caught:
        effects_of(fake_fit(), *asked)
    assert str(caught.value).splitlines()[0] == f"the fit has no random effects{said}"
    assert "Intercept, x by g" in str(caught.value)
