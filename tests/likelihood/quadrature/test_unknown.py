"""Where standard deviations run to infinity the likelihood is soon not known, and an ascent ends."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

import lmeformula as lf
from lmeformula.likelihood.quadrature.marginal import Quadrature


@pytest.fixture
def known(monkeypatch):
    """Whether the likelihood was known, of every evaluation."""
    found, before = [], Quadrature._integral

    def integral(self, *arguments):
        integral = before(self, *arguments)
        found.append(integral.is_known)
        return integral

    monkeypatch.setattr(Quadrature, "_integral", integral)
    return found


def test_slopes_that_separate_end_soon(known):
    """Each group's responses are told by the sign of x, up or down: sd(x) has no end."""
    rng = np.random.default_rng(2)
    g, x = np.repeat(np.arange(6), 6), rng.normal(size=36)
    y = (np.where(g % 2 == 0, x, -x) > 0.0) * 1
    fit = lf.fit("y ~ x + (1 + x | g)", {"y": y, "x": x, "g": g}, "bernoulli", method="quadrature")
    assert fit.outcome is not lf.Outcome.CONVERGED
    assert not fit.certificate.holds
    # One perfectly told response is certain: the likelihood rises towards a chance of one half a group.
    assert fit.loglik.value == pytest.approx(-6.0 * np.log(2.0), abs=0.5)
    assert len(known) < 100


def test_large_deviations_with_an_end_are_found(known):
    rng = np.random.default_rng(4)
    g, x = np.repeat(np.arange(200), 5), rng.normal(size=1000)
    eta = 0.5 * x + 8.0 * rng.normal(size=200)[g]
    data = {"y": (rng.random(1000) < expit(eta)) * 1, "x": x, "g": g}
    fit = lf.fit("y ~ x + (1 | g)", data, "bernoulli", method="quadrature")
    assert fit.outcome is lf.Outcome.CONVERGED
    assert all(known)
    assert abs(fit.param_values[-1] - 8.0) < 4.0 * fit.param_stderr[-1]
