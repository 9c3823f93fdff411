"""Cross-validation with effects by Student's t: held-out rows against quadrature over each level's effect."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, log_expit, logsumexp

import lmeformula as lf
from lmeformula.checking.cross_validate import cross_validate
from lmeformula.checking.fold_predictions import predict_fold, refit_student
from lmeformula.design.select import select_rows
from tests.prediction.student_fits import EFFECTS, at, best, known, log_likelihood, t_shares

FREEDOM, GROUPS = 2.5, 12
CASES = {"gaussian": "y", "bernoulli": "yes", "cumulative": "grade"}


def without(fit: lf.Fit, held: np.ndarray) -> lf.Fit:
    """The fit, at the same parameters, of the other rows."""
    others = np.setdiff1d(np.arange(fit.nobs), held)
    return replace(fit, model=replace(fit.model, design=select_rows(fit.model.design, others)))


def densities(fit: lf.Fit, rows: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """(r, N) log densities of rows at predictors."""
    design, family = fit.model.design, fit.model.family.name
    if family == "gaussian":
        return stats.norm(eta, fit.sigma).logpdf(design.y[rows, None])
    if family == "bernoulli":
        return log_expit(np.where(design.y[rows, None] == 1.0, eta, -eta))
    ends = np.concatenate([[-np.inf], fit.params.own, [np.inf]])
    code = fit.model.family.response(design)[0].astype(int)[rows]
    above, below = ends[code + 1][:, None] - eta, ends[code][:, None] - eta
    return np.log(expit(above) - expit(below))


def truth(fit: lf.Fit, held: np.ndarray) -> np.ndarray:
    """(h,) log densities of held-out rows, each given the other rows of its level that were not held out."""
    design = fit.model.design
    level, fixed = design.terms[0].index, design.X @ fit.params.beta
    found = []
    for row in held:
        same = np.setdiff1d(np.flatnonzero(level == level[row]), held)
        with np.errstate(divide="ignore"):
            logs = densities(fit, same, fixed[same, None] + EFFECTS).sum(axis=0)
            logs = logs + np.log(t_shares(FREEDOM))
            own = densities(fit, np.array([row]), fixed[row] + EFFECTS[None])[0]
        found.append(logsumexp(logs + own) - logsumexp(logs))
    return np.array(found)


@pytest.mark.parametrize("family", list(CASES))
def test_rows_of_unseen_levels_have_the_densities_of_the_convolution(family):
    fit = known(at(CASES[family], family, FREEDOM))
    level = fit.model.design.terms[0].index
    held = np.flatnonzero((level == 2) | (level == 7))
    response = tuple(array[held] for array in fit.model.family.response(fit.model.design))
    kinds = ["response", "prob"] if family == "cumulative" else ["response"]
    rows = select_rows(fit.model.design, held)
    found = predict_fold(without(fit, held), rows, response, kinds, 1)
    means = found.averages["response"][:, 0]
    np.testing.assert_allclose(found.densities.values, truth(fit, held), atol=2e-6)
    fixed = (fit.model.design.X @ fit.params.beta)[held]
    if family == "gaussian":
        np.testing.assert_allclose(means, fixed)
    elif family == "bernoulli":
        right = t_shares(FREEDOM) @ expit(fixed + EFFECTS[:, None])
        np.testing.assert_allclose(means, right, atol=1e-7)
    else:
        chances = found.averages["prob"]
        np.testing.assert_allclose(chances.sum(axis=1), 1.0)
        np.testing.assert_allclose(means, chances @ [1.0, 2.0, 3.0], atol=1e-7)


@pytest.mark.parametrize("family", ["gaussian", "bernoulli"])
def test_rows_of_known_levels_are_averaged_over_the_draws(family):
    fit = known(at(CASES[family], family, FREEDOM))
    held = np.arange(1, fit.nobs, 4)
    response = tuple(array[held] for array in fit.model.family.response(fit.model.design))
    found = predict_fold(without(fit, held), select_rows(fit.model.design, held), response, [], 1)
    apart = found.densities.values - truth(fit, held)
    # The error of the sum is of means over all rows of one draw.
    assert abs(apart.sum()) < 4.5 * found.densities.error
    assert 0 < found.densities.error < 0.5


def test_a_fold_is_fitted_to_the_other_rows():
    fit = best("y", "gaussian", 40)
    held = np.arange(0, fit.nobs, 5)
    others = np.setdiff1d(np.arange(fit.nobs), held)
    model = replace(fit.model, design=select_rows(fit.model.design, others))
    found = refit_student(fit, model, 1, None)
    assert found.converged
    top = log_likelihood(found, found.param_values)
    h = 1e-3 * found.param_stderr
    values = found.param_values
    finite = np.isfinite(values) & np.isfinite(h)
    for place in np.flatnonzero(finite):
        step = h[place] * np.eye(len(values))[place]
        ends = [log_likelihood(found, values + sign * step) for sign in (1, -1)]
        assert abs(ends[0] - ends[1]) / 2e-3 < 5e-3
        assert max(ends) < top + 1e-5
    curvature = _information(found, finite, h)
    np.testing.assert_allclose(
        np.sqrt(np.diag(np.linalg.inv(curvature))), found.param_stderr[finite], rtol=5e-3
    )


def _information(fit: lf.Fit, finite: np.ndarray, h: np.ndarray) -> np.ndarray:
    """By second differences of the likelihood in reported values."""
    places, steps = np.flatnonzero(finite), 30.0 * np.diag(np.where(finite, h, 0.0))

    def at(*moves: np.ndarray) -> float:
        return log_likelihood(fit, fit.param_values + sum(moves))

    found = np.empty((len(places), len(places)))
    for a, i in enumerate(places):
        for b, j in enumerate(places):
            e, f = steps[i], steps[j]
            mixed = at(e, f) - at(e, -f) - at(-e, f) + at(-e, -f)
            found[a, b] = -mixed / (4.0 * e[i] * f[j])
    return found


def test_cross_validation_over_levels():
    fit = best("y", "gaussian", 40)
    found = cross_validate(fit, np.asarray(fit.model.design.terms[0].index) % 2)
    assert found.method == "mcem"
    assert found.outcomes == ("", "")
    assert np.isfinite(found.log_densities).all()
    assert found.error < 1e-6
    with pytest.raises(lf.ModelError, match='Use method="mcem"'):
        cross_validate(fit, 2, method="laplace")


@pytest.mark.slow
def test_rows_are_likelier_where_others_of_their_level_are_seen():
    fit = best("y", "gaussian", 40)
    levels = cross_validate(fit, np.asarray(fit.model.design.terms[0].index) % 2)
    rows = cross_validate(fit, np.arange(fit.nobs) % 2)
    assert rows.elpd.value > levels.elpd.value
    assert rows.rmse.value < levels.rmse.value
