"""Plots: the data that they draw, on which axes, for few levels and for many."""

from __future__ import annotations

import sys
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from lmeformula.errors import LmeFormulaError, ModelError
from lmeformula.views import plots
from lmeformula.views.report import write_report
from tests.prediction.fakes import NAMES, VALUES, fake_fit, fake_mcem_fit


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def line_data(ax: Axes, number: int = 0) -> np.ndarray:
    return np.column_stack(ax.lines[number].get_data()).astype(float)


def many_levels(num_levels: int):
    """The fake fit with more levels of h; only what the plots of effects read is consistent."""
    rng = np.random.default_rng(1)
    fit = fake_fit()
    terms = fit.model.design.terms
    h = replace(terms[1], levels=tuple(f"h{i}" for i in range(num_levels)))
    model = replace(fit.model, design=replace(fit.model.design, terms=(terms[0], h)))
    return replace(
        fit,
        model=model,
        modes=(fit.modes[0], rng.normal(0, 0.25, (num_levels, 1))),
        mode_cov=(fit.mode_cov[0], np.full((num_levels, 1, 1), 0.01)),
    )


# ---- convergence


def test_convergence_draws_each_parameter_in_a_panel():
    fit = fake_mcem_fit()
    panels = plots.convergence(fit)
    assert len(panels) == len(NAMES)
    for ax, name, value in zip(panels, NAMES, VALUES, strict=True):
        way = line_data(ax, 1)
        np.testing.assert_allclose(way[:, 1], fit.trace[name])
        assert way[:, 0].tolist() == list(range(1, 10))
        assert line_data(ax, 0)[0, 1] == pytest.approx(value)  # where it ended
        assert ax.get_title(loc="left").startswith(name)


def test_convergence_keeps_a_standard_error_in_view_of_a_parameter_that_hardly_moves():
    fit = fake_mcem_fit(num_iterations=2)
    (ax,) = plots.convergence(fit, ["Intercept"])
    low, high = ax.get_ylim()
    assert low < VALUES[0] - 0.4
    assert high > VALUES[0] + 0.4


def test_convergence_draws_on_the_axes_it_is_given():
    figure = Figure()
    axes = figure.subplots(1, 2)
    returned = plots.convergence(fake_mcem_fit(), ["x", "sigma"], axes)
    assert list(returned) == list(axes)


@pytest.mark.parametrize(
    ("fit", "names", "message"),
    [(fake_fit, None, "exact method"), (fake_mcem_fit, ["z"], "no parameter 'z'")],
)
def test_convergence_refuses_what_it_cannot_draw(fit, names, message):
    with pytest.raises(ModelError, match=message):
        plots.convergence(fit(), names)


# ---- traces


def test_trace_draws_successive_draws_in_lanes():
    fit = fake_mcem_fit()
    ax = plots.trace(fit, "h")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["u", "v"]
    draws = fit.watched.draws[:, 3:]
    lanes = [line_data(ax, number)[:, 1] for number in (1, 3)]
    for place, lane in enumerate(lanes):
        centred = draws[:, place] - draws[:, place].mean()
        own = 1.1 * np.ptp(draws[:, place])
        np.testing.assert_allclose(place - lane, centred / own, atol=1e-12)
    assert ax.texts[0].get_text() == f"{draws[:, 0].mean():.2f} ({draws[:, 0].std(ddof=1):.2f})"


def test_trace_shows_as_many_as_asked_and_names_coefficients():
    ax = plots.trace(fake_mcem_fit(), "g", count=2)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a: Intercept", "a: x"]


@pytest.mark.parametrize(
    ("fit", "term", "message"),
    [(fake_fit, None, "no Monte Carlo draws"), (fake_mcem_fit, "school", "term 'school'")],
)
def test_trace_refuses_what_it_cannot_draw(fit, term, message):
    with pytest.raises(ModelError, match=message):
        plots.trace(fit(), term)


# ---- histograms


def bars(ax: Axes) -> tuple[np.ndarray, np.ndarray]:
    heights = np.array([patch.get_height() for patch in ax.patches])
    return heights, np.array([patch.get_width() for patch in ax.patches])


def test_residuals_are_drawn_as_a_density_with_the_normal_curve_of_sigma():
    fit = fake_fit()
    ax = plots.residuals(fit)
    heights, widths = bars(ax)
    assert heights @ widths == pytest.approx(1.0)
    curve = line_data(ax, 0)
    assert curve[:, 1].max() == pytest.approx(1 / (0.5 * np.sqrt(2 * np.pi)))
    assert "n = 12" in ax.get_title(loc="left")


def test_missing_residuals_are_left_out():
    ax = plots.residual_histogram([0.1, np.nan, -0.1, 0.3])
    heights, widths = bars(ax)
    assert heights @ widths == pytest.approx(1.0)
    assert "n = 3" in ax.get_title(loc="left")
    assert len(ax.lines) == 1  # zero; no curve without an sd


@pytest.mark.parametrize("num_levels", [1000, 3000])
def test_many_effects_are_drawn_as_bars(num_levels):
    ax = plots.histogram(many_levels(num_levels), "h")
    heights, widths = bars(ax)
    assert heights @ widths == pytest.approx(1.0)
    assert 10 <= len(heights) <= 60
    assert ax.get_title(loc="left") == f"h: {num_levels:,} levels"


def test_few_effects_are_drawn_one_by_one():
    fit = fake_fit()
    ax = plots.histogram(fit, "g", "x")
    assert not ax.patches
    np.testing.assert_allclose(line_data(ax, 0)[:, 0], fit.modes[0][:, 1])
    assert line_data(ax, 1)[:, 1].max() == pytest.approx(1 / (0.2 * np.sqrt(2 * np.pi)))


def test_a_variance_of_zero_has_no_curve():
    fit = fake_fit()
    zero = fit.params._replace(covariances=(fit.params.covariances[0], np.zeros((1, 1))))
    ax = plots.histogram(fake_fit(params=zero, modes=(fit.modes[0], np.zeros((2, 1)))), "h")
    assert len(ax.lines) == 1


# ---- caterpillars


def test_few_effects_have_names_and_intervals():
    ax = plots.effects(fake_fit(), "g")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "c", "a"]
    np.testing.assert_allclose(line_data(ax, 1)[:, 0], [-0.2, -0.1, 0.3])
    (intervals,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    first = intervals.get_segments()[0]
    np.testing.assert_allclose(first[:, 0], [-0.2 - 1.96 * 0.2, -0.2 + 1.96 * 0.2])


def test_many_effects_are_a_band_without_names():
    fit = many_levels(3000)
    ax = plots.effects(fit, "h")
    values = line_data(ax, 1)[:, 0]
    np.testing.assert_allclose(values, np.sort(fit.modes[1][:, 0]))
    assert not [c for c in ax.collections if isinstance(c, LineCollection)]
    assert ax.get_ylabel() == "rank"


# ---- all of them


@pytest.mark.parametrize("name", ["trace", "residuals", "histogram", "effects"])
def test_plots_draw_on_the_axes_they_are_given_and_return_them(name):
    ax = Figure().subplots()
    assert getattr(fake_mcem_fit().plot, name)(ax=ax) is ax
    assert ax.has_data()
    assert plt.get_fignums() == []


def test_methods_make_their_own_figure():
    assert fake_mcem_fit().plot.convergence()[0].figure is plt.gcf()
    assert isinstance(fake_fit().plot.effects("h"), Axes)


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(LmeFormulaError, match=r"pip install 'lmeformula\[plots\]'"):
        plots.effects(fake_fit())


def test_report_of_a_monte_carlo_fit_has_its_convergence(tmp_path):
    names = [path.name for path in write_report(fake_mcem_fit(), tmp_path)]
    assert names == [
        "summary.txt",
        "tidy.csv",
        "effects.csv",
        "fit.zip",
        "residuals.png",
        "effects-g.png",
        "effects-h.png",
        "convergence.png",
    ]
    assert all((tmp_path / name).stat().st_size > 100 for name in names)


def test_report_without_matplotlib_has_no_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr("lmeformula.views.report.has_matplotlib", lambda: False)
    assert [path.suffix for path in write_report(fake_fit(), tmp_path)] == [
        ".txt",
        ".csv",
        ".csv",
        ".zip",
    ]
