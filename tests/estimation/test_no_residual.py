"""Models without a residual: their likelihood, tests and predictions held to dense algebra; what is refused."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import scipy.stats

import lmeformula as lf
from lmeformula.checking.leave_one_out import leave_one_out
from tests.simulate import differences

VISITS = ("1", "2", "3")
FIXED = "y ~ visit * arm"
QUIET = {"progress": False}


@cache
def rows() -> pd.DataFrame:
    """22 subjects at 6 sites, of whom some miss visits."""
    rng = np.random.default_rng(11)
    n, k = 22, len(VISITS)
    root = np.linalg.cholesky([[1.0, 0.6, 0.3], [0.6, 1.5, 0.7], [0.3, 0.7, 2.0]])
    site = np.arange(n) % 6
    y = rng.normal(size=(n, k)) @ root.T + rng.normal(size=6)[site][:, None]
    data = pd.DataFrame(
        {
            "y": y.ravel().round(4),
            "visit": np.tile(VISITS, n),
            "subject": np.repeat([f"s{i:02d}" for i in range(n)], k),
            "arm": np.repeat(np.where(rng.random(n) < 0.5, "a", "b"), k),
            "site": np.repeat(site, k),
        }
    )
    return data[rng.random(n * k) > 0.2].reset_index(drop=True)


@cache
def fit(kind: str = "us", reml: bool = False, more: str = "") -> lf.Fit:
    text = f"{FIXED}{more} + {kind}(0 + visit | subject)"
    return lf.fit({"mu": text, "sigma": "~ 0"}, rows(), reml=reml, **QUIET)


def marginal(found: lf.Fit, covariances=None) -> np.ndarray:
    """V, of all rows."""
    V = np.zeros((found.nobs,) * 2)
    covariances = found.params.covariances if covariances is None else covariances
    for term, covariance in zip(found.model.design.terms, covariances, strict=True):
        same = term.index[:, None] == term.index
        V += same * (term.values @ covariance @ term.values.T)
    return V


def log_likelihood(V: np.ndarray, X: np.ndarray, y: np.ndarray, reml: bool) -> float:
    inverse = np.linalg.inv(V)
    information = X.T @ inverse @ X
    left = y - X @ np.linalg.solve(information, X.T @ inverse @ y)
    value = len(y) * np.log(2.0 * np.pi) + np.linalg.slogdet(V)[1] + left @ inverse @ left
    if reml:
        value += np.linalg.slogdet(information)[1] - X.shape[1] * np.log(2.0 * np.pi)
    return -0.5 * value


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("kind", ["us", "toep", "hetar1", "homcs"])
@pytest.mark.parametrize("more", ["", " + (1 | site)"])
def test_the_likelihood_is_that_of_the_responses_covariance_and_at_its_maximum(kind, reml, more):
    found = fit(kind, reml, more)
    assert found.converged
    design = found.model.design
    # What stands for a residual sd of zero is no part of the likelihood.
    at_estimates = log_likelihood(marginal(found), design.X, design.y, reml)
    assert float(found.loglik) == pytest.approx(at_estimates, abs=1e-8)

    def at(psi: np.ndarray) -> float:
        params = found.model.space.to_natural(psi)
        return log_likelihood(marginal(found, params.covariances), design.X, design.y, reml)

    psi = found.model.space.to_free(found.params)
    inside = np.arange(len(psi)) >= len(found.fixef)
    slopes = differences(at, psi)[inside]
    errors = (
        found.param_stderr[inside] / np.abs(np.diag(found.model.space.report_jacobian(psi)))[inside]
    )
    moves = np.isfinite(errors)  # a variance of zero has no error
    np.testing.assert_allclose((slopes * errors)[moves], 0.0, atol=2e-4)


def kenward_roger(found: lf.Fit, row: np.ndarray) -> tuple[float, float]:
    """Standard error and degrees of freedom of a combination, from dense matrices."""
    X, V = found.model.design.X, marginal(found)
    inverse = np.linalg.inv(V)
    (term,) = found.model.design.terms
    k = len(term.columns)
    changes = []
    for i in range(k):
        for j in range(i + 1):
            element = np.zeros((k, k))
            element[i, j] = element[j, i] = 1.0
            changes.append(marginal(found, (element,)))
    phi = np.linalg.inv(X.T @ inverse @ X)
    P = np.array([-X.T @ inverse @ change @ inverse @ X for change in changes])
    Q = [[X.T @ inverse @ a @ inverse @ b @ inverse @ X for b in changes] for a in changes]
    project = inverse - inverse @ X @ phi @ X.T @ inverse
    information = np.array(
        [[0.5 * np.trace(project @ a @ project @ b) for b in changes] for a in changes]
    )
    W = np.linalg.inv(information)
    middle = sum(
        W[i, j] * (Q[i][j] - P[i] @ phi @ P[j]) for i in range(len(P)) for j in range(len(P))
    )
    adjusted = phi + 2.0 * phi @ middle @ phi
    # For one combination the degrees of freedom are Satterthwaite's by the unadjusted variance.
    slopes = -np.array([row @ phi @ part @ phi @ row for part in P])
    df = 2.0 * (row @ phi @ row) ** 2 / (slopes @ W @ slopes)
    return float(np.sqrt(row @ adjusted @ row)), float(df)


def test_kenward_rogers_errors_and_degrees_of_freedom_are_those_of_dense_matrices():
    found = fit(reml=True)
    means = found.emmeans("visit", by="arm", ddf="kenward-roger").to_frame()
    grid = pd.DataFrame({"visit": means["visit"], "arm": means["arm"]})
    X = found.model.design.rebuild(grid, groups=False).X
    for row, se, df in zip(X, means["std_error"], means["df"], strict=True):
        expected = kenward_roger(found, row)
        assert (se, df) == pytest.approx(expected, rel=1e-6)


def test_a_missed_visit_is_predicted_from_the_others_and_one_that_was_made_is_as_it_was():
    found = fit()
    np.testing.assert_allclose(found.fitted(), rows()["y"], atol=1e-5)
    counts = rows().groupby("subject")["visit"].agg(set)
    name = next(name for name, visits in counts.items() if visits == {"1", "3"})
    own = rows()[rows()["subject"] == name]
    new = pd.DataFrame({"visit": ["2"], "subject": [name], "arm": own["arm"].iloc[:1].tolist()})
    S, beta = found.params.covariances[0], found.fixef.to_numpy()
    left = own["y"].to_numpy() - found.predict(own, re_form="NA").to_numpy()
    weights = np.linalg.solve(S[np.ix_([0, 2], [0, 2])], S[[0, 2], 1])
    X = found.model.design.rebuild(new, groups=False).X[0]
    Xs = found.model.design.rebuild(own, groups=False).X
    assert found.predict(new).iloc[0] == pytest.approx(X @ beta + weights @ left, abs=1e-5)
    away = X - weights @ Xs
    variance = S[1, 1] - S[1, [0, 2]] @ weights + away @ found.fixed_vcov @ away
    low, high = found.predict(new, interval="prediction")[["lower", "upper"]].iloc[0]
    assert (high - low) / 2.0 == pytest.approx(
        scipy.stats.norm.ppf(0.975) * variance**0.5, rel=1e-5
    )


@pytest.mark.parametrize(("kind", "more"), [("us", ""), ("toep", " + (1 | site)")])
def test_a_row_that_is_left_out_is_predicted_from_the_others(kind, more):
    found = fit(kind, more=more)
    X, y = found.model.design.X, rows()["y"].to_numpy()
    inverse = np.linalg.inv(marginal(found))
    project = inverse - inverse @ X @ np.linalg.inv(X.T @ inverse @ X) @ X.T @ inverse
    left_out = leave_one_out(found)
    np.testing.assert_allclose(left_out.variances[:, 0, 0], 1.0 / np.diag(project), rtol=1e-8)
    expected = y - project @ y / np.diag(project)
    np.testing.assert_allclose(left_out.eta[0], expected, rtol=1e-7, atol=1e-7)


def test_profiles_end_where_the_maximum_with_a_coefficient_held_is_lower_by_half_a_quantile():
    found = fit("homcs")
    low, high = found.confint("profile", parm="arm[T.b]")[["lower", "upper"]].iloc[0]
    is_held = found.fixef.index == "arm[T.b]"
    X = found.model.design.X

    def deviance(theta: np.ndarray, end: float) -> float:
        params = found.model.space.to_natural(np.append(np.zeros(len(found.fixef)), theta))
        V, y = (
            marginal(found, params.covariances),
            rows()["y"].to_numpy() - end * X[:, is_held][:, 0],
        )
        return -2.0 * log_likelihood(V, X[:, ~is_held], y, False)

    start = found.model.space.to_free(found.params)[len(found.fixef) :]
    for end in (low, high):
        best = scipy.optimize.minimize(deviance, start, (end,), tol=1e-10).fun
        assert best - found.deviance == pytest.approx(scipy.stats.chi2.ppf(0.95, 1), abs=1e-4)
    again = fit("homcs", reml=True).confint("profile", parm="arm[T.b]")
    np.testing.assert_allclose(again[["lower", "upper"]].iloc[0], [low, high], rtol=1e-5)


def test_a_fit_is_saved_updated_and_fitted_again(tmp_path):
    found = fit(reml=True)
    for data in (False, True):
        again = lf.load(found.save(tmp_path / "visits.fit", data=data))
        assert again.sigma == 0.0
        assert again.model.sigma == 0.0
        assert repr(again) == repr(found)
    again = again.refit(rows()["y"].to_numpy())
    assert float(again.loglik) == pytest.approx(float(found.loglik), abs=1e-9)
    assert again.sigma == 0.0
    smaller = found.update(". ~ . - visit:arm", rows(), reml=False)
    assert smaller.sigma == 0.0
    assert float(smaller.loglik) < float(fit().loglik)
    assert "residual" not in str(found.model.equation().text)


def test_a_residual_sd_of_zero_and_its_empty_formula_are_the_same():
    by_hand = lf.fit(f"{FIXED} + us(0 + visit | subject)", rows(), sigma=0, **QUIET)
    assert float(by_hand.loglik) == float(fit().loglik)


REFUSED = [
    ("y ~ arm + (1 | subject)", {}, "10 rows|[23] rows are of subject s0"),
    ("y ~ arm + us(visit | subject)", {}, "Intercept, .* are not the levels of one factor"),
    ("y ~ arm + us(0 + visit | subject)", {"weights": "site"}, "rows have weights"),
    ("y ~ arm + us(0 + visit | subject)", {"frequency": "site"}, "rows have a frequency"),
    ("y ~ arm + us(0 + visit | subject)", {"method": "mcem"}, "is fitted exactly"),
    ("y ~ arm + us(0 + visit | subject)", {"solver": "iterative"}, "is fitted exactly"),
    ("y ~ arm + us(0 + visit | subject)", {"sigma": 2.0}, "there is no residual, and sigma is 2"),
]


@pytest.mark.parametrize(("formula", "options", "says"), REFUSED)
def test_what_has_no_answer_is_refused(formula, options, says):
    data = rows().assign(site=rows()["site"] + 1)
    with pytest.raises(lf.LmeFormulaError, match=says):
        lf.fit({"mu": formula, "sigma": "~ 0"}, data, **options, **QUIET)


def test_two_rows_of_one_visit_are_named():
    twice = pd.concat([rows(), rows().iloc[:1]])
    with pytest.raises(lf.LmeFormulaError, match=r"2 rows are of subject s00 at visit\[1\]"):
        lf.fit({"mu": f"{FIXED} + us(0 + visit | subject)", "sigma": "~ 0"}, twice, **QUIET)


def test_fewer_subjects_than_visits_have_no_estimate():
    few = rows()[rows()["subject"] < "s02"].assign(arm="a")
    found = lf.fit({"mu": "y ~ 1 + us(0 + visit | subject)", "sigma": "~ 0"}, few, **QUIET)
    assert not found.converged
    assert np.isnan(found.param_stderr).any()
