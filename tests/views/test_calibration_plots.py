"""Pictures of calibration and of correlations: what they draw, and on which axes."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from lmeformula.axes import BLUE, ORANGE
from lmeformula.checking.calibration import calibration
from lmeformula.errors import ModelError
from lmeformula.inference.correlations import correlations
from lmeformula.views import calibration_plots
from tests.prediction.fakes import NAMES, fake_fit
from tests.store.fits import fitted


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def worked_out(monkeypatch, fit, **options):
    """The calibration of a fit, worked out once for the picture and for the test."""
    found = calibration(fit, **options)

    def again(other, **given):
        assert other is fit
        assert {key: given[key] for key in options} == options
        return found

    monkeypatch.setattr(calibration_plots, "computed", again)
    return found


def test_a_histogram_is_drawn_with_its_band():
    fit = fitted("poisson")
    _, ax = plt.subplots()
    assert fit.plot.calibration(ax=ax, seed=3) is ax
    found = calibration(fit, seed=3)
    band, *bars = ax.patches
    assert [bar.get_height() for bar in bars] == found.heights.tolist()
    assert sum(bar.get_width() for bar in bars) == pytest.approx(1.0)
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx(
        (found.lower, found.upper)
    )
    assert ax.get_ylim()[1] > found.upper


def test_a_curve_is_drawn_against_the_chances(monkeypatch):
    fit = fitted("binomial")
    (curve,) = worked_out(monkeypatch, fit, num_bins=4).curves
    ax = calibration_plots.calibration(fit, num_bins=4)
    line = ax.lines[1]
    np.testing.assert_array_equal(line.get_xdata(), curve.predicted)
    np.testing.assert_array_equal(line.get_ydata(), curve.observed)
    diagonal = ax.lines[0]
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    band = ax.collections[0].get_paths()[0].vertices
    assert {*curve.lower, *curve.upper} <= set(band[:, 1])


def test_each_category_has_a_lane_of_one_scale(monkeypatch):
    fit = fitted("cumulative")
    curves = worked_out(monkeypatch, fit, num_bins=3).curves
    ax = calibration_plots.calibration(fit, num_bins=3)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["low", "fair", "good", "best"]
    lanes = ax.lines[1::2][:4]
    units = []
    for place, (line, curve) in enumerate(zip(lanes, curves, strict=True)):
        np.testing.assert_array_equal(line.get_xdata(), curve.predicted)
        away = curve.observed - curve.predicted
        units.append((line.get_ydata() - place) @ away / (away @ away))
        np.testing.assert_allclose(line.get_ydata(), place + units[-1] * away, atol=1e-9)
    assert units == pytest.approx([units[0]] * 4)
    # The mark beside the lanes is as long as it says.
    low, high = ax.lines[-1].get_ydata()
    assert float(ax.texts[-1].get_text()) == pytest.approx((high - low) / units[0])


def test_correlations_are_colours_whose_strength_is_their_size():
    fit = fake_fit()
    vcov = fit.param_vcov.copy()
    vcov[1, 0] = vcov[0, 1] = -0.5 * 0.4 * 0.1
    vcov[6, :] = vcov[:, 6] = np.nan
    fit = replace(fit, param_vcov=vcov)
    ax = fit.plot.correlation()
    picture = ax.images[0].get_array()
    assert picture.shape == (6, 6, 4)
    np.testing.assert_allclose(picture[0, 0], [*to_rgb(BLUE), 0.5])
    assert picture[0, 1:, 3].tolist() == [0.0] * 5  # above the diagonal is nothing
    assert [label.get_text() for label in ax.get_yticklabels()] == list(NAMES[1:])
    assert [label.get_text() for label in ax.get_xticklabels()] == list(NAMES[:-1])
    shown = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in ax.texts}
    assert len(shown) == 21
    assert shown[0.0, 0.0] == "-0.50"
    assert shown[1.0, 0.0] == "0.00"
    assert shown[5.0, 2.0] == "×"


def test_correlations_of_random_effects():
    fit = fake_fit()
    _, ax = plt.subplots()
    assert fit.plot.correlation("g", ax=ax) is ax
    np.testing.assert_allclose(ax.images[0].get_array()[0, 0], [*to_rgb(BLUE), 0.6])
    assert ax.get_title(loc="left") == "Correlations of the random effects of g"
    with pytest.raises(ModelError, match=r"(?s)'h' has one column.*several columns: g"):
        fit.plot.correlation("h")
    with pytest.raises(ModelError, match="no random-effects term 'k'"):
        fit.plot.correlation("k")


def test_many_parameters_have_no_numbers():
    fit = fake_fit()
    d = 80
    vcov = np.eye(d)
    vcov[5, 2] = vcov[2, 5] = 0.25
    many = replace(fit, param_names=tuple(f"x{i}" for i in range(d)), param_vcov=vcov)
    ax = many.plot.correlation()
    assert not ax.texts
    np.testing.assert_allclose(ax.images[0].get_array()[4, 2], [*to_rgb(ORANGE), 0.25])
    assert len(ax.get_xticklabels()) <= 60
    assert correlations(many).values[5, 2] == 0.25
