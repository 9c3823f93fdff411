"""Pictures of what a model may miss: the numbers that they draw, on which axes."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.views import check_plots, plots


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def counts() -> pd.DataFrame:
    """Counts with a quadratic in x that the formula below does not have, and more zeros than Poisson's."""
    rng = np.random.default_rng(3)
    x = rng.uniform(-1.0, 1.0, 400)
    g = rng.integers(0, 20, 400)
    mean = np.exp(1.0 + 1.5 * (x**2 - 1.0 / 3.0) + 0.3 * rng.normal(size=20)[g])
    y = np.where(rng.uniform(size=400) < 0.3, 0, rng.poisson(mean))
    return pd.DataFrame({"y": y, "x": x, "g": g, "letter": np.where(x > 0, "p", "n")})


@pytest.fixture(scope="module")
def fit(counts) -> lf.Fit:
    return lf.fit("y ~ 1 + (1 | g)", counts, "poisson", method="laplace")


def test_means_over_a_column_leave_the_band_where_a_curve_is_missed(fit):
    ax = fit.plot.residuals(against="x")
    points, means = ax.lines[0], ax.lines[1]
    assert len(points.get_xdata()) == 400
    x, mean = np.asarray(means.get_xdata()), np.asarray(means.get_ydata())
    # Each slice has twenty rows; the ends of x have larger counts.
    assert len(x) == check_plots.SLICES
    assert mean[[0, -1]].min() > mean[8:12].max()
    found = fit.residuals("quantile").to_numpy()
    order = np.argsort(fit.model.design.given.data["x"].to_numpy())[:20]
    assert mean[0] == pytest.approx(found[order].mean())


@pytest.mark.parametrize(("against", "label"), [("fitted", "fitted value"), ("letter", "letter")])
def test_what_residuals_are_drawn_over(fit, against, label):
    ax = fit.plot.residuals(against=against)
    assert ax.get_xlabel() == label


def test_a_column_that_is_not_there_is_named(fit, counts, tmp_path):
    with pytest.raises(ModelError, match="no column 'z'") as caught:
        fit.plot.residuals(against="z")
    assert "letter" in str(caught.value)
    fit.save(tmp_path / "fit", data=True)
    loaded = lf.load(tmp_path / "fit")
    with pytest.raises(ModelError, match="has not the columns"):
        loaded.plot.residuals(against="x")
    assert loaded.plot.residuals(against="x", data=counts).get_xlabel() == "x"


def test_a_rootogram_shows_zeros_that_the_model_does_not_have(fit, counts):
    ax = fit.plot.rootogram()
    bars = ax.patches
    heights = [bar.get_height() for bar in bars]
    assert heights[0] == pytest.approx(np.sqrt((counts["y"] == 0).sum()))
    # The bar of zeros hangs far below the axis: more of them than the model says.
    assert bars[0].get_y() < -2.0
    assert sum(height**2 for height in heights) == pytest.approx(400)


def test_zeros_stand_apart_in_wide_counts():
    rng = np.random.default_rng(5)
    y = np.where(rng.uniform(size=120) < 0.4, 0, rng.poisson(150, 120))
    data = pd.DataFrame({"y": y, "g": np.arange(120) % 8})
    fit = lf.fit("y ~ 1 + (1 | g)", data, "nbinom2", method="laplace")
    ax = fit.plot.rootogram()
    assert ax.patches[0].get_height() == pytest.approx(np.sqrt((y == 0).sum()))
    assert ax.get_xticklabels()[0].get_text() == "0"
    assert fit.plot.ppc().patches[0].get_height() == (y == 0).sum()


def test_a_rootogram_is_of_counts():
    fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("Dyestuff"))
    with pytest.raises(ModelError, match="rootogram is of counts"):
        fit.plot.rootogram()
    # Of others there is the rest of the page.
    assert len(fit.plot.check()) == 4


def test_one_page_of_checks_on_given_axes(fit):
    axes = Figure().subplots(2, 2)
    found = fit.plot.check(axes=axes)
    assert list(found) == list(axes.reshape(-1))
    assert [ax.get_ylabel() for ax in found] == [
        "quantile residual",
        "quantile residual",
        "root of rows",
        "effect",
    ]


def test_names_of_extremes_beside_many_levels():
    rng = np.random.default_rng(7)
    g = np.repeat(np.arange(200), 3)
    y = rng.normal(size=200)[g] + rng.normal(size=600)
    fit = lf.fit("y ~ 1 + (1 | g)", pd.DataFrame({"y": y, "g": g}))
    order = fit.ranef().sort_values("value")["level"].tolist()
    written = [text.get_text() for text in plots.effects(fit).texts]
    assert written == [str(level) for level in [*order[:5], *order[-5:]]]


@pytest.mark.parametrize(
    ("formula", "family", "label"),
    [
        ("y ~ 1 + (1 | g)", "poisson", "effect on log(y), with 95 % intervals"),
        ("y ~ 1 + (1 | g)", "gaussian", "effect on y, with 95 % intervals"),
    ],
)
def test_effects_say_on_which_scale_they_are(counts, formula, family, label):
    fit = lf.fit(formula, counts, family, method="laplace")
    assert plots.effects(fit).get_xlabel() == label


def test_rows_that_stand_for_several_observations(counts):
    some = counts.assign(n=np.arange(len(counts)) % 3)
    fit = lf.fit("y ~ x + (1 | g)", some, "poisson", method="laplace", frequency="n")
    points = fit.plot.residuals(against="x").lines[0].get_xdata()
    np.testing.assert_array_equal(points, np.repeat(some["x"], some["n"]))
