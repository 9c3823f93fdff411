"""Pictures of predictions and marginal means: the numbers are those of `emmeans`."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

import lmeformula as lf
from lmeformula.errors import ModelError


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def sleep() -> lf.Fit:
    return lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"))


@pytest.fixture(scope="module")
def seizures() -> lf.Fit:
    data = lf.datasets.load("epil2")
    return lf.fit("y ~ Base * trt + Age + (1 | subject)", data, "poisson", method="laplace")


def test_a_number_is_a_curve_with_its_band(sleep):
    ax = sleep.plot.predictions("Days")
    (line,) = ax.lines
    x, y = line.get_xdata(), line.get_ydata()
    assert (x[0], x[-1]) == (0.0, 9.0)
    np.testing.assert_allclose(y, sleep.fixef["Intercept"] + sleep.fixef["Days"] * x)
    assert ax.get_ylabel() == "Reaction, with 95 % intervals"


def test_rows_stand_at_their_residual(sleep):
    points, _ = sleep.plot.predictions("Days", partial=True).lines
    expected = sleep.fixef["Intercept"] + sleep.fixef["Days"] * points.get_xdata()
    np.testing.assert_allclose(points.get_ydata(), expected + sleep.residuals().to_numpy())


@pytest.mark.parametrize(
    ("x", "by", "curves"),
    [("Base", "trt", ["placebo", "progabide"]), ("Base", None, []), ("trt", "Base", 3)],
)
def test_curves_are_told_apart(seizures, x, by, curves):
    ax = seizures.plot.predictions(x, by=by, partial=by is not None)
    legend = ax.get_legend()
    names = [text.get_text() for text in legend.get_texts()] if legend else []
    assert len(names) == curves if isinstance(curves, int) else names == curves


def test_estimates_are_those_of_marginal_means(seizures):
    ax = seizures.plot.predictions("trt", at={"Base": [2.0]})
    expected = seizures.emmeans("trt", at={"Base": [2.0]}, kind="response").to_frame()
    np.testing.assert_allclose(ax.lines[0].get_ydata(), expected["estimate"])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["placebo", "progabide"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": "nothing"}, "nothing"),
        ({"x": "Base", "kind": "link", "partial": True}, "scale of the response"),
    ],
)
def test_what_cannot_be_drawn_is_said(seizures, options, message):
    with pytest.raises(ModelError, match=message):
        seizures.plot.predictions(**options)


def test_marginal_means_and_contrasts_in_lines_of_their_own():
    fit = lf.fit("score ~ Machine + (1 | Worker)", lf.datasets.load("Machines"))
    means = fit.emmeans("Machine")
    axes = Figure().subplots(2)
    ax = means.plot(ax=axes[0])
    assert ax is axes[0]
    np.testing.assert_allclose(ax.lines[0].get_xdata(), means.to_frame()["estimate"])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["A", "B", "C"]
    contrasts = means.contrasts().plot(level=0.9, ax=axes[1])
    assert [t.get_text() for t in contrasts.get_yticklabels()] == ["A - B", "A - C", "B - C"]
    assert contrasts.get_xlabel() == "difference, with 90 % intervals"
