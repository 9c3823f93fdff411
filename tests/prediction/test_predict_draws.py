"""Predictions at draws of the effects: their moments, and what new levels get."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lmeformula.errors import FormulaDataError, ModelError
from tests.prediction.after_fit import data, fit_of, small_fit

NUM_DRAWS = 4000
NEW = pd.DataFrame(
    {"x": [0.5, 0.5, -1.0, np.nan], "g": ["zz", "1", "zz", "1"], "h": ["0", "0", "0", "0"]}
)


def test_moments_are_those_of_the_intervals():
    fit = small_fit()
    found = fit.predict(kind="draws", num_draws=NUM_DRAWS, seed=4)
    assert found.shape == (120, NUM_DRAWS)
    interval = fit.predict(interval="confidence", include=("effects",), level=0.5)
    sds = (interval["upper"] - interval["estimate"]).to_numpy() / 0.6744897501960817
    z = (found.mean(axis=1) - fit.fitted()) / (sds / np.sqrt(NUM_DRAWS))
    # The largest of 120 standard normal numbers, dependent as they are.
    assert np.abs(z).max() < 4.8
    ratio = found.var(axis=1) / sds**2
    assert np.abs(ratio - 1).max() < 5.5 * np.sqrt(2 / NUM_DRAWS)


def test_new_levels_are_drawn_once_for_each_level():
    fit = small_fit()
    found = fit.predict(
        NEW, kind="draws", num_draws=NUM_DRAWS, new_levels="sample", re_form="~ (x | g)"
    )
    assert found.iloc[3].isna().all()
    covariance = fit.params.covariances[0]
    columns = np.array([[1.0, 0.5], [1.0, -1.0]])
    expected = columns @ covariance @ columns.T
    sampled = np.cov(found.iloc[[0, 2]].to_numpy())
    # Of a covariance with this many draws, by its own variance.
    error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / NUM_DRAWS)
    assert (np.abs(sampled - expected) < 4.5 * error).all()
    typical = fit.predict(
        NEW, kind="draws", num_draws=5, new_levels="population", re_form="~ (x | g)"
    )
    np.testing.assert_allclose(
        typical.iloc[0], fit.predict(NEW.iloc[:1], re_form="NA").iloc[0], rtol=1e-12
    )
    with pytest.raises(FormulaDataError, match="'zz'"):
        fit.predict(NEW, kind="draws")


def test_responses_are_on_their_scale_and_follow_the_seed():
    fit, rows = fit_of("cbpp"), data("cbpp").iloc[:6]
    found = fit.predict(rows, kind="draws", num_draws=50, seed=2)
    assert ((found > 0) & (found < 1)).all(axis=None)
    pd.testing.assert_frame_equal(found, fit.predict(rows, kind="draws", num_draws=50, seed=2))
    assert not found.equals(fit.predict(rows, kind="draws", num_draws=50, seed=3))
    alone = fit.predict(rows, kind="draws", num_draws=3, re_form="NA")
    np.testing.assert_allclose(alone["draw_2"], fit.predict(rows, re_form="NA"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_draws": 0}, "num_draws is 0"),
        ({"num_draws": 10**9}, "too many numbers"),
        ({"new_levels": "draw"}, "new_levels is 'draw'"),
        ({"averaged": True}, "averaged"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises((ModelError, TypeError), match=message):
        small_fit().predict(kind="draws", **options)
