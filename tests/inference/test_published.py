"""Statistics of real fits against lme4's, for every published Gaussian fit of a shipped data set."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import lmeformula as lf
from tests.reference.read import IN_STDERR, gaussian_references, model_of

REFERENCES = gaussian_references()


@cache
def fit_of(name: str) -> lf.Fit:
    return lf.estimate(model_of(name), method="exact", reml=REFERENCES[name].reml)


@pytest.fixture(params=REFERENCES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_variance_components(name):
    published = REFERENCES[name]
    frame = fit_of(name).varcorr.to_frame()
    errors = fit_of(name).tidy().set_index(["effect", "group", "term"])["std_error"]
    for component in published.components:
        group = component.group.removesuffix(".1")  # R's name for the second term on a group
        for column, sd in zip(component.columns, component.sd, strict=True):
            rows = frame[(frame["group"] == group) & (frame["term"] == column)]
            ours = rows.loc[rows["term2"].isna(), "sd"].item()
            error = errors.get(("sd", group, column), np.nan)
            # lme4's optimiser is not exact either; on the boundary there is no standard error.
            assert ours == pytest.approx(
                sd, abs=np.nan_to_num(3 * IN_STDERR * error) + 1e-4 * published.sigma
            )
    assert frame["sd"].iloc[-1] == pytest.approx(published.sigma, rel=1e-3)


def test_conditional_modes(name):
    published = REFERENCES[name]
    frame = fit_of(name).ranef().set_index(["group", "level", "term"])
    for modes in published.modes:
        for place, value in enumerate(modes.values):
            level = modes.levels[place // len(modes.columns)]
            column = modes.columns[place % len(modes.columns)]
            row = frame.loc[(modes.group, level, column)]
            # What moving the estimates by lme4's slack does to an effect is small beside its own sd.
            assert row["value"] == pytest.approx(
                value, abs=3 * IN_STDERR * row["sd"] + 1e-4 * published.sigma
            )


def test_fitted_values(name):
    published = REFERENCES[name]
    ours = fit_of(name).fitted().to_numpy()[: len(published.fitted)]
    np.testing.assert_allclose(ours, published.fitted, atol=3 * IN_STDERR * published.sigma)


def test_predicting_the_fitted_rows_again_gives_the_fitted_values(name):
    data = lf.datasets.load(REFERENCES[name].data)
    fit = fit_of(name)
    again = fit.predict(data).iloc[fit.model.design.rows]
    np.testing.assert_allclose(again, fit.fitted(), rtol=1e-12)


def test_residuals_and_fitted_values_add_up(name):
    fit = fit_of(name)
    np.testing.assert_allclose(fit.residuals() + fit.fitted(), fit.model.design.y)
