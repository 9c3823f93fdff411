"""Densities with several modes: no approximation at one of them is right, and integrals are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp

import lmeformula as lf
from lmeformula.em.outcome import Outcome
from lmeformula.estimation import laplace

FORMULA = "y ~ 1 + x + a + (1 | g)"
# Responses whose density in the effects is not concave, in groups of one to ten rows; simulated.
Y = [
    2.034,
    0.145,
    0.865,
    1.039,
    0.381,
    1.463,
    0.53,
    13.009,
    2.812,
    2.788,
    0.851,
    0.98,
    4.784,
    1.093,
    14.496,
    8.616,
    0.135,
    1.731,
    4.731,
    6.367,
    2.57,
    3.499,
    0.291,
    0.6,
    0.723,
    1.924,
    2.772,
    1.86,
    0.198,
    1.156,
    6.664,
    0.11,
    1.868,
    0.619,
    0.24,
    0.641,
    9.613,
    1.523,
    1.902,
    1.029,
]
X = [
    1.55,
    -0.03,
    -0.14,
    0.73,
    -1.63,
    -0.41,
    0.64,
    -0.41,
    0.59,
    -0.63,
    0.96,
    0.46,
    2.0,
    0.23,
    0.33,
    -3.26,
    -0.57,
    -1.49,
    1.01,
    1.13,
    0.13,
    1.13,
    0.6,
    -0.24,
    0.17,
    0.54,
    1.27,
    0.23,
    0.32,
    -1.0,
    -0.24,
    -1.16,
    -1.63,
    0.07,
    -2.1,
    0.76,
    0.04,
    0.61,
    -1.07,
    -0.22,
]
A = "xwwvxvuvvwvuvuuuwuuvuwuuwxuuvuxwuvxxxxxv"
G = [
    1,
    4,
    3,
    0,
    10,
    2,
    10,
    2,
    1,
    1,
    7,
    1,
    11,
    11,
    6,
    1,
    2,
    7,
    11,
    4,
    8,
    1,
    2,
    8,
    5,
    4,
    11,
    1,
    9,
    8,
    4,
    11,
    1,
    11,
    11,
    11,
    4,
    11,
    11,
    10,
]
GRID = np.linspace(-8.0, 8.0, 401)
STEP = GRID[1] - GRID[0]


@pytest.fixture(scope="module")
def rows() -> dict:
    return {"y": np.array(Y), "x": X, "a": list(A), "g": G}


def of_groups(psi: np.ndarray, design: Any, y: np.ndarray) -> np.ndarray:
    """(groups, nodes) log density of each group's rows and of its effect: fixed effects, log sd, log shape."""
    p = design.X.shape[1]
    shape, eta = np.exp(psi[p + 1]), (design.X @ psi[:p])[:, None] + np.exp(psi[p]) * GRID
    squares = (y[:, None] * np.exp(-eta) - 1.0) ** 2 / y[:, None]
    by_row = 0.5 * np.log(shape / (2.0 * np.pi * y[:, None] ** 3)) - 0.5 * shape * squares
    blocks = np.zeros((len(design.terms[0].levels), len(GRID)))
    np.add.at(blocks, design.terms[0].index, by_row)
    return blocks - 0.5 * GRID**2 - 0.5 * np.log(2.0 * np.pi)


def integrated(psi: np.ndarray, design: Any, y: np.ndarray) -> float:
    """By the trapezoid rule."""
    return float(logsumexp(of_groups(psi, design, y), axis=1).sum()) + 12 * np.log(STEP)


def approximated(psi: np.ndarray, design: Any, y: np.ndarray) -> float:
    """By the curvature at the mode of each group's effect, next to its highest node."""
    index, sd, shape = design.terms[0].index, np.exp(psi[-2]), np.exp(psi[-1])
    modes = GRID[of_groups(psi, design, y).argmax(axis=1)]
    for _ in range(20):
        left = np.exp(-(design.X @ psi[:-2] + sd * modes[index]))
        slope = np.bincount(index, shape * (y * left - 1.0) * left) * sd - modes
        bend = np.bincount(index, shape * (1.0 - 2.0 * y * left) * left) * sd**2 - 1.0
        modes = modes - slope / bend
    squares = shape * (y * left - 1.0) ** 2 / y
    heights = 0.5 * np.log(shape / (2.0 * np.pi * y**3)) - 0.5 * squares
    return float(heights.sum() - 0.5 * (modes @ modes) - 0.5 * np.log(-bend).sum())


def best_near(fit: lf.Fit, y: np.ndarray) -> np.ndarray:
    """The maximum of the integral next to a fit's estimates, and its value."""
    start = np.append(fit.fixef, np.log(fit.param_values[-2:]))
    found = minimize(
        lambda psi: -integrated(psi, fit.model.design, y),
        start,
        method="Nelder-Mead",
        options={"maxiter": 1500, "xatol": 1e-4, "fatol": 1e-6, "adaptive": True},
    )
    return np.append(found.x, -found.fun)


def test_of_several_maxima_of_the_approximation_the_higher(rows):
    """The first ascent ends at -76.20, and others go where the approximation grows without limit."""
    fit = lf.fit(FORMULA, rows, family="inverse_gaussian", method="laplace")
    assert fit.converged
    psi = np.append(fit.fixef, np.log(fit.param_values[-2:]))
    there = approximated(psi, fit.model.design, rows["y"])
    assert fit.loglik.value == pytest.approx(there, abs=1e-6)
    assert fit.loglik.value == pytest.approx(-74.5568, abs=1e-3)


@pytest.mark.slow
def test_monte_carlo_integrates_whatever_the_approximation_says(rows, monkeypatch):
    real = laplace.start_of
    monkeypatch.setattr(
        laplace, "start_of", lambda *given: real(*given)._replace(outcome=Outcome.NONFINITE)
    )
    options = {"method": "mcem", "tolerance": 0.2, "progress": False}
    fit = lf.fit(FORMULA, rows, family="inverse_gaussian", **options)
    *psi, value = best_near(fit, rows["y"])
    assert value == pytest.approx(-74.2306, abs=1e-2)
    assert abs(fit.loglik.value - value) < 4.0 * fit.loglik.mc_error + 1e-2
    right = np.append(psi[:5], np.exp(psi[5:]))
    assert (np.abs(fit.param_values - right) < 5.0 * fit.param_mc_error).all()
