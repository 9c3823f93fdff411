"""Plots that hold a fit against its data: what they draw, and on which axes."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.stats

from lmeformula.checking.predictive import frequencies
from lmeformula.views import fit_plots
from tests.prediction.families import true_fit
from tests.store.fits import fitted


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_quantiles_are_the_residuals_in_order():
    fit = fitted("poisson")
    ax = fit.plot.qq(seed=4)
    x, y = ax.lines[1].get_data()
    np.testing.assert_array_equal(y, np.sort(fit.residuals("quantile", seed=4)))
    expected = scipy.stats.norm.ppf((np.arange(1, 121) - 0.375) / 120.25)
    np.testing.assert_allclose(x, expected)
    band = ax.collections[0].get_paths()[0].vertices
    # The middle of 120 uniform numbers: between these with a chance of 95 %.
    low, high = scipy.stats.norm.ppf(scipy.stats.beta.ppf([0.025, 0.975], 60, 61))
    near = np.isclose(band[:, 0], expected[59])
    assert sorted(band[near, 1]) == pytest.approx([low, high])


def test_many_residuals_are_thinned_with_their_ends(monkeypatch):
    monkeypatch.setattr(fit_plots, "MOST_POINTS", 50)
    fit = true_fit("gaussian")
    ax = fit.plot.qq()
    y = ax.lines[1].get_ydata()
    values = np.sort(fit.residuals("quantile"))
    assert len(y) == 50
    assert (y[0], y[-1]) == (values[0], values[-1])


@pytest.mark.parametrize("name", ["cumulative", "exact", "poisson"])
def test_frequencies_are_drawn_as_they_are(name):
    fit = fitted(name)
    _, ax = plt.subplots()
    assert fit.plot.ppc(ax=ax, num_draws=20, seed=3) is ax
    found = frequencies(fit, num_draws=20, seed=3)
    assert [bar.get_height() for bar in ax.patches] == found.observed.tolist()
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), found.middle)
    segments = np.array(ax.collections[0].get_segments())
    np.testing.assert_array_equal(segments[:, :, 1], np.column_stack([found.lower, found.upper]))
    if name == "cumulative":
        labels = [label.get_text() for label in ax.get_xticklabels()]
        assert labels == ["low", "fair", "good", "best"]
    assert ax.get_ylim()[1] > found.upper.max()
