"""Degrees of freedom and F tests: against lmerTest and pbkrtest, and against dense formulas."""

from __future__ import annotations

import itertools
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.inference.covariance_elements import generalised_inverse, information, roots
from lmeformula.inference.ddf import freedom, usual
from lmeformula.likelihood.gaussian.sums import sums
from lmeformula.prediction.freedom import FTest
from tests.prediction.after_fit import CLOSE, REFERENCE, data, dense, fit_of, small_fit
from tests.prediction.random_designs import FORMULAS, SEEDS, frame

TESTS = REFERENCE["tests"]
RANDOM = json.loads((Path(__file__).parents[1] / "reference" / "freedom.json").read_text("utf-8"))[
    "designs"
]
# There lme4 1.1-31 stops at a lower maximum.
LOWER = ("three_2", "both_2")


@pytest.mark.parametrize("name", TESTS)
def test_satterthwaite_agrees_with_lmertest(name):
    fit = fit_of(name)
    assert fit.loglik.value == pytest.approx(TESTS[name]["logLik"], abs=1e-8)
    df = freedom(fit, "satterthwaite").df(np.eye(len(fit.fixef)))
    np.testing.assert_allclose(df, TESTS[name]["df"], rtol=CLOSE)


@pytest.mark.parametrize("name", [name for name in TESTS if "kr_df" in TESTS[name]])
def test_kenward_roger_agrees_with_pbkrtest(name):
    fit, published = fit_of(name), TESTS[name]
    method = freedom(fit, "kenward-roger")
    p = len(fit.fixef)
    np.testing.assert_allclose(method.df(np.eye(p)), published["kr_df"], rtol=CLOSE)
    vcov = np.reshape(published["kr_vcov"], (p, p))
    np.testing.assert_allclose(method.vcov, vcov, atol=CLOSE * np.abs(vcov).max())


def test_the_balanced_sleep_study_has_seventeen():
    # 18 subjects less one, in the examples of lmerTest's contest1D and of pbkrtest's SATmodcomp.
    for ddf in ("satterthwaite", "kenward-roger"):
        np.testing.assert_allclose(freedom(fit_of("sleep"), ddf).df(np.eye(2)), 17.0, rtol=1e-7)


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
def test_without_fixed_effects_there_is_nothing_to_test(ddf):
    fit = lf.fit("Yield ~ 0 + (1 | Batch)", lf.datasets.load("dyestuff"), reml=True)
    assert fit.tidy(ddf=ddf).equals(fit.tidy(ddf=None))
    assert freedom(fit, ddf).df(np.zeros((0, 0))).shape == (0,)


def test_published_test_of_days():
    # lmerTest's reference page of contest1D.lmerModLmerTest.
    row = fit_of("sleep").tidy(ddf="satterthwaite").set_index("term").loc["Days"].iloc[0]
    printed = {
        "estimate": 10.46729,
        "std_error": 1.54579,
        "statistic": 6.771481,
        "df": 16.99998,
        "conf_low": 7.205955,
        "conf_high": 13.72862,
        "p_value": 3.263824e-06,
    }
    for name, value in printed.items():
        assert row[name] == pytest.approx(value, rel=CLOSE), name


@pytest.mark.parametrize("name", REFERENCE["joint"])
def test_several_coefficients_at_once(name):
    fit, published = fit_of(name), REFERENCE["joint"][name]
    rows = np.eye(len(fit.fixef))[1:]
    estimates = rows @ fit.params.beta
    ours = freedom(fit, "satterthwaite").test(rows, estimates)
    theirs = published["satterthwaite"]
    assert ours.df1 == theirs["NumDF"]
    assert ours.df2 == pytest.approx(theirs["DenDF"], rel=CLOSE)
    assert ours.statistic == pytest.approx(theirs["F value"], rel=CLOSE)
    assert ours.p_value == pytest.approx(theirs["Pr(>F)"], rel=10 * CLOSE)
    scaled = freedom(fit, "kenward-roger").test(rows, estimates)
    assert scaled.statistic == pytest.approx(published["kr_F"], rel=CLOSE)
    assert scaled.df2 == pytest.approx(published["kr_df2"], rel=CLOSE)


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
def test_a_test_depends_on_the_span_of_its_rows_only(ddf):
    method, beta = freedom(fit_of("cake"), ddf), fit_of("cake").params.beta
    rows = np.eye(6)[[1, 2, 4]]
    turned = np.array([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0], [2.0, 0.0, 1.0], [1.0, 1.0, 1.0]]) @ rows
    first, second = method.test(rows, rows @ beta), method.test(turned, turned @ beta)
    np.testing.assert_allclose(first, second, rtol=1e-7)


def _profiled(fit: lf.Fit, theta: np.ndarray) -> tuple[float, np.ndarray]:
    """Log-likelihood (restricted for REML fits), and C, from dense matrices at covariance elements theta."""
    X, _, _, blocks = dense(fit)
    design = fit.model.design
    weights = np.ones(design.n) if design.weights is None else design.weights
    V = theta[-1] * np.diag(1.0 / weights)
    for block, elements in zip(blocks, _covariances(fit, theta), strict=True):
        k = len(elements)
        V = V + block @ np.kron(np.eye(block.shape[1] // k), elements) @ block.T
    inverse = np.linalg.inv(V)
    C = np.linalg.inv(X.T @ inverse @ X)
    y = design.y - design.offset
    rest = y - X @ (C @ X.T @ inverse @ y)
    value = -0.5 * (np.linalg.slogdet(V)[1] + rest @ inverse @ rest)
    if fit.reml:
        value -= 0.5 * np.linalg.slogdet(X.T @ inverse @ X)[1]
    return float(value), C


def _covariances(fit: lf.Fit, theta: np.ndarray) -> list[np.ndarray]:
    found, start = [], 0
    for covariance in fit.params.covariances:
        k = len(covariance)
        size = k * (k + 1) // 2
        matrix = np.zeros((k, k))
        matrix[np.tril_indices(k)] = theta[start : start + size]
        found.append(matrix + np.tril(matrix, -1).T)
        start += size
    return found


def _elements(fit: lf.Fit) -> np.ndarray:
    parts = [cov[np.tril_indices(len(cov))] for cov in fit.params.covariances]
    return np.concatenate([*parts, [fit.params.residual_sd**2]])


@pytest.mark.parametrize("reml", [True, False])
def test_satterthwaite_against_dense_differences_with_weights_and_crossed_factors(reml):
    fit = small_fit(reml=reml)
    theta = _elements(fit)
    row = np.array([1.0, 0.5])
    steps = 1e-4 * np.maximum(np.abs(theta), 0.1)
    m = len(theta)

    def at(*moves: tuple[int, int]) -> tuple[float, np.ndarray]:
        there = theta.copy()
        for place, sign in moves:
            there[place] += sign * steps[place]
        return _profiled(fit, there)

    hessian = np.empty((m, m))
    for i, j in itertools.product(range(m), repeat=2):
        signs = itertools.product((1, -1), repeat=2)
        corners = [a * b * at((i, a), (j, b))[0] for a, b in signs]
        hessian[i, j] = sum(corners) / (4 * steps[i] * steps[j])
    slope = np.array(
        [(row @ (at((i, 1))[1] - at((i, -1))[1]) @ row) / (2 * steps[i]) for i in range(m)]
    )
    variance = row @ _profiled(fit, theta)[1] @ row
    expected = 2 * variance**2 / (slope @ np.linalg.inv(-hessian) @ slope)
    assert freedom(fit, "satterthwaite").df(row[None])[0] == pytest.approx(expected, rel=1e-3)


def test_kenward_roger_against_the_equations_written_with_dense_matrices():
    # Kenward and Roger (1997), equations (3) to (5), in the elements of the covariances.
    fit = small_fit()
    X, _, V, blocks = dense(fit)
    inverse = np.linalg.inv(V)
    phi = np.linalg.inv(X.T @ inverse @ X)
    slopes = []
    for place in range(len(_elements(fit)) - 1):
        unit = np.zeros(len(_elements(fit)))
        unit[place] = 1.0
        parts = zip(blocks, _covariances(fit, unit), strict=True)
        slopes.append(sum(b @ np.kron(np.eye(b.shape[1] // len(c)), c) @ b.T for b, c in parts))
    slopes.append(np.diag(1.0 / fit.model.design.weights))
    P = [-X.T @ inverse @ s @ inverse @ X for s in slopes]
    Q = [[X.T @ inverse @ s @ inverse @ t @ inverse @ X for t in slopes] for s in slopes]
    m = len(slopes)
    information = np.empty((m, m))
    for i, j in itertools.product(range(m), repeat=2):
        information[i, j] = 0.5 * (
            np.trace(inverse @ slopes[i] @ inverse @ slopes[j])
            - 2.0 * np.trace(phi @ Q[i][j])
            + np.trace(phi @ P[i] @ phi @ P[j])
        )
    W = np.linalg.inv(information)
    middle = sum(
        W[i, j] * (Q[i][j] - P[i] @ phi @ P[j]) for i, j in itertools.product(range(m), repeat=2)
    )
    expected = phi + 2.0 * phi @ middle @ phi
    np.testing.assert_allclose(freedom(fit, "kenward-roger").vcov, expected, rtol=1e-9)


def test_the_adjustment_depends_on_no_parametrisation():
    # Two columns with two variances and a correlation: cs is us, by other parameters.
    frame = data("thin").assign(
        early=lambda d: (d.Days < 5) * 1.0, late=lambda d: (d.Days > 4) * 1.0
    )
    us, cs = (
        freedom(lf.fit(f"Reaction ~ Days + {term}", frame, reml=True), "kenward-roger")
        for term in ("(0 + early + late | Subject)", "cs(0 + early + late | Subject)")
    )
    np.testing.assert_allclose(cs.vcov, us.vcov, rtol=1e-5)
    np.testing.assert_allclose(cs.df(np.eye(2)), us.df(np.eye(2)), rtol=1e-5)
    assert (np.diag(us.vcov) > np.diag(us.unadjusted)).all()


def test_a_variance_on_its_bound_counts_as_known():
    # Dyestuff2's batch variance is zero: what is left is a mean of 30 independent rows.
    fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff2"), reml=True)
    assert fit.singular
    assert freedom(fit, "satterthwaite").df(np.eye(1))[0] == pytest.approx(29.0, rel=1e-5)


def test_without_degrees_of_freedom_tests_are_walds():
    fit = fit_of("cbpp")
    found = freedom(fit).test(np.eye(4)[1:], fit.params.beta[1:])
    inner = np.linalg.inv(fit.fixed_vcov[1:, 1:])
    assert found.statistic * 3 == pytest.approx(fit.params.beta[1:] @ inner @ fit.params.beta[1:])
    assert np.isinf(found.df2)
    assert FTest(3.841459 / 1, 1, np.inf).p_value == pytest.approx(0.05, rel=1e-6)


def test_a_single_coefficient_has_the_degrees_of_freedom_of_its_t_test():
    for ddf in ("satterthwaite", "kenward-roger"):
        method = freedom(fit_of("cake"), ddf)
        row = np.eye(6)[[3]]
        assert method.test(row, np.ones(1)).df2 == pytest.approx(method.df(row)[0], rel=1e-10)


@pytest.mark.parametrize(
    ("name", "ddf", "problem"),
    [
        ("cbpp", "satterthwaite", "of a binomial fit"),
        ("thin_ml", "kenward-roger", "for REML fits"),
        ("thin", "between-within", "ddf is 'between-within'"),
    ],
)
def test_methods_that_do_not_apply_are_refused(name, ddf, problem):
    with pytest.raises(ModelError, match=problem):
        freedom(fit_of(name), ddf)


def test_tidy_and_summary_show_degrees_of_freedom_when_asked():
    fit = fit_of("thin")
    frame = fit.tidy(ddf="kenward-roger").set_index("term")
    published = TESTS["thin"]
    assert frame.loc["Days", "df"].iloc[0] == pytest.approx(published["kr_df"][1], rel=CLOSE)
    assert frame.loc["Days", "std_error"].iloc[0] == pytest.approx(published["kr_se"][1], rel=CLOSE)
    assert "Kenward-Roger" in repr(fit.summary(ddf="kenward-roger"))
    # By default those of lmerTest; none are of the normal distribution.
    usual = fit.tidy().set_index("term").loc["Days"].iloc[0]
    assert usual["df"] == pytest.approx(published["df"][1], rel=CLOSE)
    assert "Satterthwaite" in repr(fit.summary())
    pd.testing.assert_frame_equal(fit.tidy(ddf="none"), fit.tidy(ddf=None), rtol=1e-9)
    normal = fit.tidy(ddf=None).set_index("term").loc["Days"].iloc[0]
    assert normal["p_value"] == pytest.approx(2 * scipy.stats.norm.sf(abs(normal["statistic"])))
    assert "p " not in repr(fit.summary(ddf=None)).partition("Fixed effects")[2]


WITHOUT = {
    "other rows than normal": lambda: lf.fit(
        "incidence | trials(size) ~ period + (1 | herd)", lf.datasets.load("cbpp"), "binomial"
    ),
    "heavy tails": lambda: lf.fit(
        "Yield ~ 1 + (1 | gr(Batch, dist = 'student'))", lf.datasets.load("dyestuff"), seed=1
    ),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_others_have_z_and_no_word_of_it(name):
    fit = WITHOUT[name]()
    assert "df" not in fit.tidy()
    assert usual(fit) == ("none", "")


def test_a_fit_that_could_have_them_says_why_it_has_not(monkeypatch, tmp_path):
    fit = fit_of("sleep")
    loaded = lf.load(fit.save(tmp_path / "fit"))
    assert "degrees of freedom need the rows" in repr(loaded.summary())
    assert loaded.tidy().equals(fit.tidy(ddf="none"))
    monkeypatch.setattr("lmeformula.inference.ddf.MOST_ROWS", 100)
    assert 'ddf="satterthwaite"' in repr(fit.summary())
    monkeypatch.setattr("lmeformula.inference.ddf.can_be_factored", lambda model: False)
    assert "too large for degrees" in repr(fit.summary())


@pytest.mark.parametrize("name", [n for n in RANDOM if n not in LOWER])
def test_random_designs_crossed_nested_weighted_and_singular_agree_with_lmertest(name):
    published, (formula, seed) = RANDOM[name], name.rsplit("_", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the column that is dropped
        fit = lf.fit(
            FORMULAS[formula],
            frame(formula, int(seed)),
            reml=True,
            weights="w" if formula == "weights" else None,
        )
    assert fit.loglik.value == pytest.approx(published["logLik"], abs=1e-7)
    assert fit.singular == published["singular"]
    # R's optimiser and its differences are good to about four digits where sds are hardly determined.
    rows = np.eye(len(fit.fixef))
    df = freedom(fit, "satterthwaite").df(rows)
    np.testing.assert_allclose(df, published["satterthwaite"], rtol=2e-4)
    if "kr_df" in published:
        method = freedom(fit, "kenward-roger")
        np.testing.assert_allclose(method.df(rows), published["kr_df"], rtol=CLOSE)
        errors = np.sqrt(np.diag(method.vcov))
        np.testing.assert_allclose(errors, published["kr_se"], rtol=CLOSE)


def test_the_random_designs_are_all_there():
    assert set(RANDOM) == {f"{name}_{seed}" for name in FORMULAS for seed in SEEDS}
    assert sum(RANDOM[name]["singular"] for name in RANDOM) >= 10


@pytest.mark.filterwarnings("ignore:W_DUPLICATE_RANDOM", "ignore:W_ALIASED_GROUP")
@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
@pytest.mark.parametrize(
    ("doubled", "plain"),
    [
        ("(1 | Subject) + (Days | Subject)", "(Days | Subject)"),
        ("(1 | Subject) + (1 | S2)", "(1 | Subject)"),
        ("(Days | Subject) + (Days | S2)", "(Days | Subject)"),
        ("(1 | Subject) + diag(1 + Days | S2)", "(Days || Subject)"),
    ],
)
def test_variances_that_cannot_be_told_apart_change_nothing(doubled, plain, ddf):
    frame = data("thin")
    frame = frame.assign(S2=frame["Subject"].astype(str) + "'")
    fits = [lf.fit(f"Reaction ~ Days + {terms}", frame, reml=True) for terms in (doubled, plain)]
    assert fits[0].loglik.value == pytest.approx(fits[1].loglik.value, abs=1e-6)
    found, expected = (freedom(fit, ddf) for fit in fits)
    np.testing.assert_allclose(found.df(np.eye(2)), expected.df(np.eye(2)), rtol=1e-3)
    np.testing.assert_allclose(found.vcov, expected.vcov, rtol=1e-3)


@pytest.mark.parametrize("formula", ["slopes", "both", "nested"])
@pytest.mark.parametrize("seed", [1, 4])
def test_large_and_small_solvers_have_one_information(formula, seed):
    # Seed 4 is singular, where the large one takes covariances of full rank nearby.
    fit = lf.fit(FORMULAS[formula], frame(formula, seed), reml=True)
    space, params = fit.model.space, fit.params
    small = sums(fit.model.design)
    assert small.dense is not None
    large = small._replace(dense=None)
    terms = roots(small, space, params)
    free = np.append(np.concatenate([t.moving for t in terms]), True)
    ours, theirs = (
        generalised_inverse(
            information(part, space, params.residual_sd, terms, reml=True)[np.ix_(free, free)], 1e-7
        )
        for part in (small, large)
    )
    np.testing.assert_allclose(theirs, ours, atol=1e-4 * np.abs(ours).max())


@pytest.mark.parametrize("kind", ["us", "cs", "homcs", "ar1", "hetar1", "diag", "homdiag"])
@pytest.mark.parametrize("size", [0.0, 0.5, 3.0])
def test_every_structure_has_finite_degrees_of_freedom(kind, size):
    r = np.random.default_rng([int(10 * size), *kind.encode()])
    g, t = np.repeat(np.arange(20), 6), np.tile(np.arange(6) % 3, 20)
    y = 1.0 + size * r.normal(size=20)[g] + r.normal(size=120)
    y += 0.5 * size * r.normal(size=(20, 3))[g, t]
    rows = {"y": y, "g": [f"g{i}" for i in g], "t": [f"t{i}" for i in t]}
    fit = lf.fit(f"y ~ t + {kind}(0 + t | g)", rows, reml=True)
    for ddf in ("satterthwaite", "kenward-roger"):
        df = freedom(fit, ddf).df(np.eye(3))
        assert np.isfinite(df).all()
        assert (df > 5).all()
        assert (df < 125).all()
