"""Predictions of each row without itself, against what the other rows say when it is taken out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.checking.leave_one_out import leave_one_out
from lmeformula.design.select import select_rows
from lmeformula.likelihood.laplace.modes import arrays_of, mode_at
from tests.prediction.after_fit import dense, fit_of, small_fit


@pytest.mark.parametrize("reml", [True, False])
def test_gaussian_ones_are_exact(reml):
    fit = small_fit(reml=reml)
    found = leave_one_out(fit)
    X, _, V, _ = dense(fit)
    y, own = fit.model.design.y, fit.params.residual_sd**2 / fit.model.design.weights
    for i in range(0, 120, 17):
        rest = np.arange(120) != i
        W = np.linalg.inv(V[np.ix_(rest, rest)])
        C = np.linalg.inv(X[rest].T @ W @ X[rest])
        beta = C @ X[rest].T @ W @ y[rest]
        pull = V[i, rest] @ W
        away = X[i] - pull @ X[rest]
        assert found.eta[0, i] == pytest.approx(X[i] @ beta + pull @ (y[rest] - X[rest] @ beta))
        variance = V[i, i] - own[i] - pull @ V[rest, i] + away @ C @ away
        assert found.variances[i, 0, 0] == pytest.approx(variance)


def test_others_are_close_to_the_mode_without_the_row():
    """Binomial rows of five to thirty trials, at the estimates of all rows: fixed effects held."""
    fit = fit_of("cbpp")
    found = leave_one_out(replace(fit, fixed_vcov=1e-14 * np.eye(4)))
    model, space = fit.model, fit.model.space
    psi = space.to_free(fit.params)
    for i in (0, 7, 20, 41):
        rest = np.arange(model.design.n) != i
        part = replace(model, design=select_rows(model.design, np.flatnonzero(rest)))
        problem = arrays_of(part, lf_layout(part))
        mode = mode_at(part, problem, psi, np.zeros(problem.plan.num_effects))
        effects = problem.plan.split(mode.u)[0] @ fit.params.covariances[0] ** 0.5
        place = model.design.terms[0].index[i]
        eta = model.design.X[i] @ fit.params.beta + effects[place, 0]
        # Skewness of the other rows' likelihood is what the normal approximation leaves out.
        assert abs(found.eta[0, i] - eta) < 0.12 * np.sqrt(found.variances[i, 0, 0])


def lf_layout(model: lf.Model):
    from lmeformula.algebra.crossproducts import layout

    return layout(model.design.terms)
