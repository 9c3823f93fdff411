"""The judge of the campaign is itself held to what is known otherwise."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.linalg as sl
import scipy.stats as st

import lmeformula as lf

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from truth.covariances import Climbing, Shape
from truth.densities import FAMILIES, derivatives, from_free, to_free
from truth.differences import gradient, hessian
from truth.integral import Integral
from truth.laplace import Laplace
from truth.matrices import Effects, Matrices, column, matrices, spanning
from truth.normal import Normal, climb, coordinates
from truth.quadrature import Quadrature
from truth.spec import Random, Spec
from truth.working import Working, at_boundary

SLEEP = Spec(("Days",), (Random(True, ("Days",), "Subject"),))
NAMES = (("Intercept", "Days"), (("Intercept", "Days"),))


def sleep() -> pd.DataFrame:
    return lf.datasets.load("sleepstudy").rename(columns={"Reaction": "y"})


def of_sleep() -> Matrices:
    return matrices(sleep(), SLEEP, *NAMES)


def covariance(intercept: float, slope: float, correlation: float) -> np.ndarray:
    return Shape("us", 2).matrix(np.array([intercept, slope, correlation]))


def test_the_dense_likelihood_is_lme4s():
    # lme4 1.1-31, lmer(Reaction ~ Days + (Days | Subject), sleepstudy), REML = FALSE and TRUE
    parts = of_sleep()
    ml = Normal(parts, reml=False)
    estimates = [covariance(23.7798, 5.7168, 0.0813)]
    assert ml.profile(estimates, 25.5919) == pytest.approx(-875.9697, abs=1e-4)
    assert ml.at(np.array([251.4051, 10.4673]), estimates, 25.5919).value == pytest.approx(
        -875.9697, abs=1e-4
    )
    reml = Normal(parts, reml=True)
    assert reml.profile([covariance(24.7407, 5.9221, 0.0656)], 25.5918) == pytest.approx(
        -871.8141, abs=1e-4
    )


def test_a_climb_finds_lme4s_maximum_from_anywhere():
    model = Normal(of_sleep(), reml=False)
    for seed in range(4):
        start = coordinates(model.parts).random(np.random.default_rng(seed), at_zero=seed % 2 == 1)
        assert climb(model, None, start)[0] == pytest.approx(-875.9697, abs=1e-4)


def test_the_slope_of_the_profile_is_its_difference():
    for reml, sigma in ((False, None), (True, None), (True, 25.0)):
        model = Normal(of_sleep(), reml)
        chart = coordinates(model.parts)
        scale = 1.0 if sigma is None else sigma**2
        at = chart.random(np.random.default_rng(3), at_zero=False)

        def value(here, model=model, scale=scale, chart=chart, sigma=sigma):
            return model.profile([scale * matrix for matrix in chart.matrices(here)], sigma)

        _, slopes = model.slope([scale * matrix for matrix in chart.matrices(at)], sigma)
        changes = scale * gradient(chart.flat, at, np.full(len(at), 1e-3))
        right = gradient(value, at, np.full(len(at), 1e-3))
        np.testing.assert_allclose(changes @ slopes[0].ravel(), right, rtol=1e-7)


def test_columns_are_read_from_their_names():
    data = pd.DataFrame({"a": ["u", "v", "v"], "x": [1.0, 2.0, 3.0]})
    assert column(data, "Intercept").tolist() == [1, 1, 1]
    assert column(data, "a[T.v]:x").tolist() == [0, 2, 3]
    assert column(data, "a[u]").tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match="no column"):
        column(data, "z")
    span = spanning(data.assign(y=0.0), Spec(("a", "a:x"), ()))
    assert span.shape == (3, 5)
    assert np.linalg.matrix_rank(span) == 3


def test_differences():
    def f(at):
        return np.exp(at[0]) * np.sin(at[1])

    at, steps = np.array([0.3, 0.7]), np.array([0.02, 0.02])
    e, s, c = np.exp(0.3), np.sin(0.7), np.cos(0.7)
    np.testing.assert_allclose(gradient(f, at, steps), [e * s, e * c], rtol=1e-6)
    np.testing.assert_allclose(hessian(f, at, steps), [[e * s, e * c], [e * c, -e * s]], rtol=1e-5)


PLACES = {
    "bernoulli": (st.bernoulli, lambda mu, own: (mu,), "logit", ()),
    "bernoulli(probit)": (st.bernoulli, lambda mu, own: (mu,), "probit", ()),
    "bernoulli(cloglog)": (st.bernoulli, lambda mu, own: (mu,), "cloglog", ()),
    "poisson": (st.poisson, lambda mu, own: (mu,), "log", ()),
    "nbinom2": (st.nbinom, lambda mu, own: (own[0], own[0] / (own[0] + mu)), "log", (1.7,)),
    "nbinom1": (st.nbinom, lambda mu, own: (mu / own[0], 1 / (1 + own[0])), "log", (1.7,)),
    "gamma": (st.gamma, lambda mu, own: (own[0], 0, mu / own[0]), "log", (1.7,)),
    "beta": (st.beta, lambda mu, own: (mu * own[0], (1 - mu) * own[0]), "logit", (4.0,)),
    "lognormal": (st.lognorm, lambda mu, own: (own[0], 0, np.exp(mu)), "identity", (0.6,)),
    "student": (st.t, lambda mu, own: (own[1], mu, own[0]), "identity", (0.6, 4.0)),
    "inverse_gaussian": (st.invgauss, lambda mu, own: (mu / own[0], 0, own[0]), "log", (1.7,)),
}
BACK = {
    "logit": lambda eta: 1 / (1 + np.exp(-eta)),
    "probit": st.norm.cdf,
    "cloglog": lambda eta: -np.expm1(-np.exp(eta)),
    "log": np.exp,
    "identity": lambda eta: eta,
}


@pytest.mark.parametrize("name", PLACES)
def test_densities_are_scipys(name):
    distribution, arguments, link, own = PLACES[name]
    eta, own = np.array([-1.2, 0.1, 0.9]), np.array(own)
    y = np.array([0.0, 1.0, 1.0]) if distribution is st.bernoulli else np.array([1.0, 2.0, 5.0])
    y = np.array([0.2, 0.5, 0.9]) if name == "beta" else y
    right = distribution(*arguments(BACK[link](eta), own))
    right = (
        right.logpmf(y)
        if hasattr(right, "logpmf") and distribution.name in DISCRETE
        else right.logpdf(y)
    )
    found = FAMILIES[name].log_density(y, np.ones(3), eta, own)
    np.testing.assert_allclose(found, right, rtol=1e-10)


DISCRETE = ("bernoulli", "poisson", "nbinom")


def test_counts_add_up_to_one():
    y = np.arange(0.0, 200.0)
    for name, own in (
        ("zero_inflated_poisson", [0.3]),
        ("hurdle_poisson", [0.3]),
        ("nbinom1", [2.0]),
    ):
        found = FAMILIES[name].log_density(y, np.ones(200), np.full(200, 1.1), np.array(own))
        assert np.exp(found).sum() == pytest.approx(1.0, abs=1e-10)
    y = np.arange(0.0, 10.0)
    for name, own in (("binomial", []), ("beta_binomial", [3.0])):
        found = FAMILIES[name].log_density(y, np.full(10, 9.0), np.full(10, 0.4), np.array(own))
        assert np.exp(found).sum() == pytest.approx(1.0, abs=1e-12)
    for name in ("cumulative", "cumulative(probit)"):
        ends = np.array([-1.0, 0.5, 30.0])
        found = FAMILIES[name].log_density(np.arange(1.0, 5.0), np.ones(4), np.full(4, 0.4), ends)
        assert np.exp(found).sum() == pytest.approx(1.0, abs=1e-12)
        assert np.isfinite(found).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_derivatives_in_the_predictor(name):
    family = FAMILIES[name]
    own = np.array([-0.8, 0.6] if family.own == ("threshold",) else [0.5, 5.0][: len(family.own)])
    eta, y = np.array([-0.4, 0.3]), np.array([0.4, 0.7]) if name == "beta" else np.array([1.0, 2.0])
    y = np.array([0.0, 1.0]) if name.startswith("bernoulli") else y
    trials = np.array([3.0, 3.0])
    _, first, second = derivatives(family, y, trials, eta, own)

    def value(at):
        return float(family.log_density(y, trials, eta + at, own).sum())

    steps = np.full(2, 3e-3)
    assert first.sum() == pytest.approx(
        gradient(lambda s: value(s[0]), np.zeros(1), steps[:1])[0], rel=1e-7
    )
    assert second.sum() == pytest.approx(
        hessian(lambda s: value(s[0]), np.zeros(1), steps[:1])[0, 0], rel=1e-5
    )


def test_own_parameters_go_back_and_forth():
    for kind, value in (
        ("positive", 2.0),
        ("chance", 0.2),
        ("above one", 4.0),
        ("threshold", -1.0),
    ):
        assert from_free(kind, to_free(kind, value)) == pytest.approx(value)


def one_factor() -> tuple[Matrices, np.ndarray]:
    rng = np.random.default_rng(4)
    index = np.repeat(np.arange(8), 5)
    X = np.column_stack([np.ones(40), rng.normal(size=40)])
    effects = (Effects(np.ones((40, 1)), index, 8, Shape("us", 1)),)
    parts = Matrices(np.zeros(40), X, effects, np.ones(40), np.zeros(40))
    return parts, X @ [0.5, 1.0] + rng.normal(size=8)[index] + rng.normal(size=40)


def test_laplace_and_quadrature_of_a_gaussian_model_are_exact():
    parts, y = one_factor()
    beta, sd, sigma = np.array([0.4, 0.9]), 0.8, 1.1
    exact = Normal(parts._replace(y=y), reml=False).at(beta, [np.array([[sd**2]])], sigma).value
    arguments = parts, FAMILIES["gaussian"], y, np.ones(40)
    laplace = Laplace(*arguments).at(beta, [np.array([[sd**2]])], np.array([sigma]))
    assert laplace == pytest.approx(exact, abs=1e-8)
    assert Quadrature(*arguments).at(beta, sd, np.array([sigma])) == pytest.approx(exact, abs=1e-8)


@pytest.mark.parametrize("nested", [False, True])
def test_integrals_of_two_effects_of_a_gaussian_model_are_exact(nested):
    parts, y = one_factor()
    index = parts.effects[0].index
    if nested:
        inner = np.arange(40) // 3
        outer = inner // 4
        effects = tuple(
            Effects(np.ones((40, 1)), each, each.max() + 1, Shape("us", 1))
            for each in (inner, outer)
        )
        matrices_here = [np.array([[0.5]]), np.array([[1.3]])]
    else:
        effects = (Effects(parts.X, index, 8, Shape("us", 2)),)
        matrices_here = [covariance(0.8, 0.5, 0.6)]
    parts = parts._replace(y=y, effects=effects)
    beta, sigma = np.array([0.4, 0.9]), 1.1
    exact = Normal(parts, reml=False).at(beta, matrices_here, sigma).value
    found = Integral(parts, FAMILIES["gaussian"], y, np.ones(40))
    assert found.settle(beta, matrices_here, np.array([sigma]))
    given = found.posterior(beta, matrices_here, np.array([sigma]))
    assert given.value == pytest.approx(exact, abs=1e-7)
    # Means and sds of the effects given the data, by their joint normal distribution.
    A = np.hstack([term.dense for term in effects])
    prior = sl.block_diag(
        *(np.kron(np.eye(t.levels), S) for t, S in zip(effects, matrices_here, strict=True))
    )
    V = A @ prior @ A.T + sigma**2 * np.eye(40)
    means = prior @ A.T @ np.linalg.solve(V, y - parts.X @ beta)
    left = prior - prior @ A.T @ np.linalg.solve(V, A @ prior)
    np.testing.assert_allclose(np.concatenate([m.ravel() for m in given.means]), means, atol=1e-6)
    sds = np.sqrt(np.diag(left))
    np.testing.assert_allclose(np.concatenate([s.ravel() for s in given.sds]), sds, rtol=1e-6)


def test_quadrature_of_skewed_posteriors_has_settled():
    # One group of ones alone, sd 6: a posterior with one tail; by scipy's adaptive rule.
    from scipy.integrate import quad

    index = np.zeros(3, int)
    effects = (Effects(np.ones((3, 1)), index, 1, Shape("us", 1)),)
    parts = Matrices(np.zeros(3), np.ones((3, 1)), effects, np.ones(3), np.zeros(3))
    found = Quadrature(parts, FAMILIES["bernoulli"], np.ones(3), np.ones(3)).at(
        np.zeros(1), 6.0, np.zeros(0)
    )
    right, _ = quad(lambda u: st.norm.pdf(u) / (1 + np.exp(-6 * u)) ** 3, -12, 12, epsabs=1e-13)
    assert found == pytest.approx(np.log(right), abs=1e-8)


@pytest.mark.parametrize("kind", ["us", "diag", "homdiag", "cs", "homcs", "ar1", "hetar1"])
def test_covariances_go_back_and_forth(kind):
    shape = Shape(kind, 3)
    values = np.concatenate([np.arange(1.0, 1.0 + shape.num_sds), np.full(shape.num_cors, 0.3)])
    matrix = shape.matrix(values)
    np.testing.assert_allclose(shape.report(matrix), values)
    assert np.linalg.eigvalsh(matrix)[0] > 0
    working = Working((shape,), values, np.ones(shape.size, bool))
    np.testing.assert_allclose(working.report(working.start), values)
    chart = Climbing((shape,), (np.ones(3),))
    at = chart.random(np.random.default_rng(1), at_zero=False)
    assert np.linalg.eigvalsh(chart.matrices(at)[0])[0] > -1e-12
    assert not at_boundary(shape, values, np.ones(3)).any()


def test_boundaries_are_known():
    us = Shape("us", 2)
    assert at_boundary(us, np.array([1.0, 0.0, 0.3]), np.ones(2)).tolist() == [False, True, True]
    assert at_boundary(us, np.array([1.0, 1.0, -1.0]), np.ones(2)).tolist() == [False, False, True]
    assert at_boundary(Shape("cs", 3), np.array([1.0, 1.0, 1.0, -0.5]), np.ones(3)).tolist() == [
        *[False] * 3,
        True,
    ]
