"""How profiles look: as text, and as pictures of zeta."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from lmeformula.inference.profile import ParameterProfile, Profile
from lmeformula.prediction.parameters import Parameter

TEXT = """\
Profile likelihood, 14 points, 95 % intervals
       estimate    lower  upper  note
x        1.0000  -0.9600  2.960
sd(g)    0.5000   0.0000  2.460  zero is not excluded"""


def straight(name: str, estimate: float, bounds, first: float = -3.0) -> ParameterProfile:
    """A profile that is a straight line of slope one, from zeta = `first` to 3."""
    zeta = np.linspace(first, 3.0, 7)
    return ParameterProfile(
        Parameter(name, "", "", "", estimate, 1.0, 0.0, bounds),
        estimate + zeta,
        zeta,
        np.ones(7),
        (first > -3.0, False),
        True,
    )


PROFILE = Profile(
    (
        straight("x", 1.0, (-np.inf, np.inf)),
        straight("sd(g)", 0.5, (0.0, np.inf), first=-0.5),
    ),
    restricted=False,
    level=0.99,
)


def test_text():
    assert repr(PROFILE) == TEXT


def test_restricted_likelihood_is_said():
    assert repr(Profile(PROFILE.profiles, True, 0.99)).startswith("Restricted profile likelihood")


def test_picture_marks_the_interval():
    axes = Figure().subplots(1, 2)
    drawn = PROFILE.plot(axes)
    assert [ax.get_title(loc="left") for ax in drawn] == ["x", "sd(g)"]
    curve, points, lower, upper = drawn[0].get_lines()[1:]
    assert np.allclose(points.get_ydata(), PROFILE.profiles[0].zeta)
    assert np.allclose(curve.get_xdata(), 1.0 + curve.get_ydata())
    assert [lower.get_xdata()[0], upper.get_xdata()[0]] == pytest.approx([1 - 1.96, 1 + 1.96], 1e-4)


def test_plot_makes_a_figure_of_its_own():
    assert len(PROFILE.plot()) == 2
