"""Fits by quadrature: against other programs, and against dense integrals written here."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, gammaln, logsumexp

import lmeformula as lf
from lmeformula.em.types import Options
from lmeformula.estimation.dispatch import best_method
from lmeformula.likelihood.quadrature import marginal

GRID = np.linspace(-9.0, 9.0, 601)
LEVELS, ROWS = 50, 10


class Reference(NamedTuple):
    """Estimates and standard errors of fixed effects, the effects' sd, and where they are from."""

    data: str
    formula: str
    family: str
    fixed: tuple[float, ...]
    stderr: tuple[float, ...]
    sd: float
    loglik: float | None


REFERENCES = [
    # lme4 1.1-31: glmer(..., binomial, nAGQ = 25). Its log-likelihood is less that of a saturated model.
    Reference(
        "cbpp",
        "cbind(incidence, size - incidence) ~ period + (1 | herd)",
        "binomial",
        (-1.39922551, -0.99139006, -1.12783411, -1.57944319),
        (0.23351007, 0.30676675, 0.32676968, 0.42759009),
        0.64751314,
        None,
    ),
    # lme4 1.1-31: glmer(..., poisson, nAGQ = 25)
    Reference(
        "grouseticks",
        "TICKS ~ YEAR + (1 | BROOD)",
        "poisson",
        (0.35210035, 1.34326639, -0.90150716),
        (0.23649003, 0.31192545, 0.33758530),
        1.27534541,
        None,
    ),
    # ordinal 2022.11-16: clmm(rating ~ temp + contact + (1 | judge), wine, nAGQ = 25)
    Reference(
        "wine",
        "rating ~ temp + contact + (1 | judge)",
        "cumulative",
        (3.0618910, 1.8334334),
        (0.59507561, 0.51217093),
        1.134783297,
        -81.532460711,
    ),
]


@pytest.mark.parametrize("case", REFERENCES, ids=lambda case: case.data)
def test_fits_of_other_programs(case):
    fit = lf.fit(case.formula, lf.datasets.load(case.data), case.family, method="quadrature")
    assert fit.converged
    assert fit.method == "quadrature"
    np.testing.assert_allclose(fit.fixef, case.fixed, atol=1e-4 * max(case.stderr))
    np.testing.assert_allclose(fit.stderr, case.stderr, rtol=1e-4)
    assert np.sqrt(fit.params.covariances[0][0, 0]) == pytest.approx(case.sd, rel=1e-4)
    if case.loglik is not None:
        assert fit.loglik.value == pytest.approx(case.loglik, abs=1e-6)


class Case(NamedTuple):
    """A model whose likelihood is integrated here.

    Attributes:
      formula, family: of the model.
      density: (data, predictors (m, N) by name, parameters by name) -> log densities (m, N).
      draw: (predictor, random numbers) -> responses.
      loads: (m,) of each effect, by the data, of at most two: (predictor, column).
    """

    formula: Any
    family: str
    density: Callable[..., Any]
    draw: Callable[..., Any]
    loads: tuple[tuple[str, str], ...] = (("mu", "one"),)


def bernoulli(y, eta, own):
    return y * eta["mu"] - np.logaddexp(0.0, eta["mu"])


def nbinom2(y, eta, own):
    size, eta = own["dispersion"], eta["mu"]
    rows = gammaln(y + size) - gammaln(size) - gammaln(y + 1.0)
    return rows + y * eta + size * np.log(size) - (y + size) * np.logaddexp(eta, np.log(size))


def gamma(y, eta, own):
    return stats.gamma.logpdf(y, own["shape"], scale=np.exp(eta["mu"]) / own["shape"])


def beta(y, eta, own):
    mean, precision = expit(eta["mu"]), own["precision"]
    return stats.beta.logpdf(y, mean * precision, (1.0 - mean) * precision)


def zero_inflated(y, eta, own):
    counts = stats.poisson.logpmf(y, np.exp(eta["mu"]))
    rows = np.log(expit(-eta["zi"])) + counts
    return np.where(y == 0, np.logaddexp(np.log(expit(eta["zi"])), rows), rows)


def _by_group(random):
    return 1.0 + np.repeat(random.normal(size=LEVELS), ROWS)


CASES = {
    "bernoulli": Case(
        "y ~ x + (1 | g)", "bernoulli", bernoulli, lambda e, r: (r.random(len(e)) < expit(e)) * 1
    ),
    "nbinom2": Case(
        "y ~ x + (1 | g)", "nbinom2", nbinom2, lambda e, r: r.poisson(np.exp(e) * r.gamma(2, 0.5))
    ),
    "gamma": Case("y ~ x + (1 | g)", "gamma", gamma, lambda e, r: r.gamma(3.0, np.exp(e) / 3.0)),
    "beta": Case(
        "y ~ x + (1 | g)",
        "beta",
        beta,
        lambda e, r: np.clip(r.beta(4 * expit(e), 4 * expit(-e)), 1e-3, 1 - 1e-3),
    ),
    "slopes": Case(
        "y ~ x + (x | g)",
        "bernoulli",
        bernoulli,
        lambda e, r: (r.random(len(e)) < expit(e)) * 1,
        (("mu", "one"), ("mu", "x")),
    ),
    "two predictors": Case(
        {"mu": "y ~ x + (1 | p | g)", "zi": "~ 1 + (1 | p | g)"},
        "zero_inflated_poisson",
        zero_inflated,
        lambda e, r: r.poisson(np.exp(e)) * (r.random(len(e)) < expit(_by_group(r))),
        (("mu", "one"), ("zi", "one")),
    ),
}
# Of two effects a fine grid is large.
COARSE = {"slopes": np.linspace(-8.0, 8.0, 81), "two predictors": np.linspace(-8.0, 8.0, 161)}


@functools.cache
def data_of(name: str) -> pd.DataFrame:
    rng = np.random.default_rng([sum(map(ord, name))])
    g = np.repeat(np.arange(LEVELS), ROWS)
    x = rng.normal(size=len(g))
    eta = 0.4 + 0.5 * x + 0.9 * rng.normal(size=LEVELS)[g] + 0.8 * x * rng.normal(size=LEVELS)[g]
    return pd.DataFrame({"y": CASES[name].draw(eta, rng), "x": x, "g": g, "one": 1.0})


@functools.cache
def fit_of(name: str):
    case = CASES[name]
    return lf.fit(case.formula, data_of(name), case.family, method="quadrature")


def dense(name: str, values: np.ndarray) -> float:
    """The log-likelihood at reported estimates, by the trapezoidal rule on a fixed grid."""
    return float(logsumexp(logs_on_grid(name, values)[0], axis=1).sum())


def logs_on_grid(name: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(l, N) logarithms that add up to each group's likelihood, and (k, N) effects that they are of."""
    case, data, fit = CASES[name], data_of(name), fit_of(name)
    named = dict(zip(fit.param_names, values, strict=True))
    sds = [value for key, value in named.items() if key.startswith("sd(")]
    others = [value for key, value in named.items() if key.startswith("cor(")]
    correlation = others[0] if others else 0.0
    if len(case.loads) == 1:
        u, factor, step = GRID[None], np.array([[sds[0]]]), GRID[1] - GRID[0]
    else:
        grid = COARSE[name]
        u = np.stack(np.meshgrid(grid, grid, indexing="ij")).reshape(2, -1)
        covariance = np.outer(sds, sds) * np.array([[1.0, correlation], [correlation, 1.0]])
        factor, step = np.linalg.cholesky(covariance), (grid[1] - grid[0]) ** 2
    effects = factor @ u
    names = dict.fromkeys(predictor for predictor, _ in case.loads)
    eta = {}
    for predictor in names:
        prefix = "" if predictor == "mu" else f"{predictor}_"
        fixed = named[f"{prefix}Intercept"]
        slope = named.get(f"{prefix}x", 0.0)
        eta[predictor] = np.repeat((fixed + slope * data["x"].to_numpy())[:, None], u.shape[1], 1)
    for (predictor, column), effect in zip(case.loads, effects, strict=True):
        eta[predictor] = eta[predictor] + data[column].to_numpy()[:, None] * effect
    rows = case.density(data["y"].to_numpy()[:, None], eta, named)
    total = rows.reshape(LEVELS, ROWS, -1).sum(axis=1) - 0.5 * (u**2).sum(axis=0)
    total -= 0.5 * len(u) * np.log(2.0 * np.pi)
    return total + np.log(step), effects


@pytest.mark.parametrize(
    "name",
    # The grid that two predictors take has many points.
    [pytest.param(name, marks=pytest.mark.slow) if "two" in name else name for name in CASES],
)
def test_the_estimates_are_the_maximum_and_the_errors_its_curvature(name):
    fit = fit_of(name)
    assert fit.converged
    here = dense(name, fit.param_values)
    assert fit.loglik.value == pytest.approx(here, abs=1e-6)
    # In standard errors, of which a step of 0.02 leaves next to nothing of higher derivatives.
    steps = 0.02 * np.diag(fit.param_stderr)
    above = np.array([dense(name, fit.param_values + step) for step in steps])
    below = np.array([dense(name, fit.param_values - step) for step in steps])
    slopes, curvatures = (above - below) / 0.04, (2.0 * here - above - below) / 0.02**2
    np.testing.assert_allclose(slopes, 0.0, atol=1e-3)
    information = np.diag(np.linalg.inv(fit.param_vcov)) * fit.param_stderr**2
    np.testing.assert_allclose(curvatures, information, rtol=1e-3)


@pytest.mark.parametrize("name", ["bernoulli", "gamma", "slopes"])
def test_effects_are_their_means_and_deviations_given_the_data(name):
    logs, effects = logs_on_grid(name, fit_of(name).param_values)
    shares = np.exp(logs - logsumexp(logs, axis=1)[:, None])
    means = shares @ effects.T
    sds = np.sqrt(shares @ (effects**2).T - means**2)
    found = fit_of(name).ranef()
    np.testing.assert_allclose(found["value"], means.ravel(), atol=1e-6)
    np.testing.assert_allclose(found["sd"], sds.ravel(), rtol=1e-5)


# ---- nested factors -------------------------------------------------------------------------------


@functools.cache
def nested_data() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    outer, inner = np.repeat(np.arange(25), 16), np.repeat(np.arange(100), 4)
    # Levels of the inner factor in no order of the outer one's.
    names = rng.permutation(100)
    x = rng.normal(size=400)
    eta = -0.2 + 0.6 * x + rng.normal(size=25)[outer] + 0.8 * rng.normal(size=100)[inner]
    y = (rng.random(400) < expit(eta)) * 1
    data = pd.DataFrame({"y": y, "x": x, "outer": outer, "inner": names[inner], "n": eta})
    data["n"] = rng.poisson(np.exp(eta))
    return data.sample(frac=1.0, random_state=1).reset_index(drop=True)


def nested_dense(data, response, density, values):
    """The log-likelihood, and the effects' means: the inner factor's given each value of the outer one's."""
    intercept, slope, inner_sd, outer_sd = values
    grid = np.linspace(-8.0, 8.0, 161)
    logs = -0.5 * grid**2 - 0.5 * np.log(2.0 * np.pi) + np.log(grid[1] - grid[0])
    effects = outer_sd * grid[:, None] + inner_sd * grid
    total, means = 0.0, {}
    for level, rows in data.groupby("outer"):
        given, inside = logs.copy(), {}
        for name, few in rows.groupby("inner"):
            fixed = (intercept + slope * few["x"].to_numpy())[:, None, None]
            each = density(few[response].to_numpy()[:, None, None], {"mu": fixed + effects}, {})
            joint = each.sum(axis=0) + logs
            inner = logsumexp(joint, axis=1)
            inside[name] = np.exp(joint - inner[:, None]) @ grid
            given += inner
        log_integral = float(logsumexp(given))
        shares = np.exp(given - log_integral)
        total += log_integral
        means["outer", level] = outer_sd * float(shares @ grid)
        means.update(
            {("inner", name): inner_sd * float(shares @ at) for name, at in inside.items()}
        )
    return total, means


def poisson(y, eta, own):
    return y * eta["mu"] - np.exp(eta["mu"]) - gammaln(y + 1.0)


@pytest.mark.parametrize(
    ("response", "family", "density"),
    [("y", "bernoulli", bernoulli), ("n", "poisson", poisson)],
    ids=["bernoulli", "poisson"],
)
def test_nested_factors(response, family, density):
    data = nested_data()
    formula = f"{response} ~ x + (1 | inner) + (1 | outer)"
    fit = lf.fit(formula, data, family, method="quadrature")
    assert fit.converged
    assert list(fit.param_names) == ["Intercept", "x", "sd(inner)", "sd(outer)"]
    here, means = nested_dense(data, response, density, fit.param_values)
    effects = fit.ranef()
    expected = [means[row.group, int(row.level)] for row in effects.itertuples()]
    np.testing.assert_allclose(effects["value"], expected, atol=1e-5)

    def dense(values):
        return nested_dense(data, response, density, values)[0]

    assert fit.loglik.value == pytest.approx(here, abs=1e-5)
    steps = 0.02 * np.diag(fit.param_stderr)
    above = np.array([dense(fit.param_values + step) for step in steps])
    below = np.array([dense(fit.param_values - step) for step in steps])
    slopes, curvatures = (above - below) / 0.04, (2.0 * here - above - below) / 0.02**2
    np.testing.assert_allclose(slopes, 0.0, atol=1e-3)
    information = np.diag(np.linalg.inv(fit.param_vcov)) * fit.param_stderr**2
    np.testing.assert_allclose(curvatures, information, rtol=1e-3)


@pytest.mark.parametrize(
    ("formula", "count"),
    [("y ~ x + (1 | inner) + (1 | x2)", "hang together"), ("y ~ (x + x2 | outer)", "here 3")],
)
def test_larger_blocks_are_refused(formula, count):
    data = nested_data().assign(x2=lambda d: np.arange(400) % 7)
    with pytest.raises(lf.ModelError, match=count):
        lf.fit(formula, data, "bernoulli", method="quadrature")


# ---- the method that is taken ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "family", "choices", "method"),
    [
        ("y ~ x + (1 | outer)", "bernoulli", {}, "quadrature"),
        ("n ~ x + (x | outer)", "poisson", {}, "quadrature"),
        ("n ~ x + (1 | outer) + (1 | inner)", "poisson", {}, "quadrature"),
        ("n ~ x + (1 | outer) + (1 | other)", "poisson", {}, "mcem"),
        ("y ~ x + (x + n | outer)", "bernoulli", {}, "mcem"),
        ("y ~ x + (1 | outer)", "bernoulli", {"solver": "iterative"}, "mcem"),
        ("y ~ x + (1 | outer)", "bernoulli", {"options": Options(num_draws=30)}, "mcem"),
        ("y ~ x + (1 | outer)", "bernoulli", {"options": Options()}, "quadrature"),
        ('y ~ x + (1 | gr(outer, dist = "student"))', "bernoulli", {}, "mcem"),
        ("x ~ n + (1 | outer)", "gaussian", {}, "exact"),
    ],
)
def test_the_most_exact_method_is_taken(formula, family, choices, method):
    data = nested_data().assign(other=np.arange(400) % 7)
    assert best_method(lf.compile(lf.design(formula, data), family), **choices) == method


def test_too_many_nodes_are_left_to_draws():
    rows = 2_000_000 // 17**2 + 1
    data = pd.DataFrame(
        {"y": np.arange(rows) % 2, "x": np.arange(rows) % 3, "g": np.arange(rows) % 50}
    )
    assert best_method(lf.compile(lf.design("y ~ x + (x | g)", data), "bernoulli")) == "mcem"
    assert best_method(lf.compile(lf.design("y ~ x + (1 | g)", data), "bernoulli")) == "quadrature"


def test_an_ascent_ends_where_it_has_taken_all_the_work_that_it_is_worth(monkeypatch):
    """As on the way to standard deviations without end, where each evaluation takes ever more nodes."""
    rng = np.random.default_rng(5)
    g = np.arange(120) % 12
    y = rng.poisson(np.exp(0.3 + rng.normal(size=12)[g]))
    data = pd.DataFrame({"y": y, "g": g})
    whole = lf.fit("y ~ 1 + (1 | g)", data, "poisson", method="quadrature")
    assert whole.converged
    monkeypatch.setattr(marginal, "MOST_WORK", 0)
    monkeypatch.setattr(marginal, "MOST_EVALUATIONS", 0)
    ended = lf.fit("y ~ 1 + (1 | g)", data, "poisson", method="quadrature")
    assert not ended.converged
    assert ended.diagnostics.ascent.num_evaluations < whole.diagnostics.ascent.num_evaluations + 60
