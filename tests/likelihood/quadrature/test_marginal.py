"""How often a fit integrates, and where there is nothing to be integrated."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.likelihood.laplace.likelihood import find_mode, joint_slopes
from lmeformula.likelihood.laplace.modes import arrays_of
from lmeformula.likelihood.laplace.row_sums import At
from lmeformula.likelihood.quadrature import marginal
from lmeformula.likelihood.quadrature.marginal import NOTHING, Quadrature

# What the nodes of a level leave at most: about the square of what half of them change.
SETTLED = 1e-9
INCIDENCE = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


def test_next_to_no_effects_laplace_is_the_integral():
    rng = np.random.default_rng(4)
    g, x = np.repeat(np.arange(8), 25), rng.normal(size=200)
    design = lf.design("y ~ x + (1 | g)", {"y": rng.poisson(np.exp(1.0 + x)), "x": x, "g": g})
    model = lf.compile(design, "poisson")
    arrays = arrays_of(model, layout(model.stack.terms), marginal=Quadrature)
    there = At(np.array([1.0, 0.9]), (np.array([[0.9 * NOTHING]]),), np.zeros(0))
    mode = find_mode(arrays, there, np.zeros(8))
    depths = arrays.rows.depths(mode.eta, mode.at.own)
    found = arrays.marginal.beyond(arrays, mode, depths)
    joint = joint_slopes(arrays, mode, depths)
    integral = arrays.marginal.integral(arrays, mode)
    assert found.value + joint.value == pytest.approx(integral.value, abs=8 * SETTLED)
    slope, right = found.in_beta + joint.in_beta, integral.in_beta
    assert slope == pytest.approx(right, abs=1e-7 * np.abs(right).max())
    in_factor = found.in_factors[0] + joint.in_factors[0]
    assert in_factor == pytest.approx(integral.in_factors[0], rel=1e-5)


def test_a_fit_takes_five_integrals(monkeypatch):
    """Three on the way up, one with the information and one that checks it: none from a variance of zero."""
    taken, integrate = [], marginal.integrate

    def counted(*given, **options):
        taken.append(options)
        return integrate(*given, **options)

    monkeypatch.setattr(marginal, "integrate", counted)
    fit = lf.fit(INCIDENCE, lf.datasets.load("cbpp"), "binomial", method="quadrature")
    assert fit.converged
    assert fit.certificate.holds
    assert len(taken) == 5
