"""The likelihood by other algebra: against a dense covariance matrix of the rows and differences of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.likelihood.gaussian.second_opinion import score, witness_at
from lmeformula.likelihood.gaussian.sums import sums
from lmeformula.model.params import ParamSpace

FORMULAS = (
    "y ~ x + (1 | g)",
    "y ~ x + (x | g) + (1 | h)",
    "y ~ x + diag(x | g) + (0 + x | h)",
    "y ~ 1 + cs(0 + f | g)",
    "y ~ x + (f | g) + (1 | big)",
)


def data() -> pd.DataFrame:
    r = np.random.default_rng(3)
    n = 130
    return pd.DataFrame(
        {
            "y": r.normal(size=n) + np.arange(n) % 5,
            "x": r.normal(size=n) + 3,
            "f": np.array(list("uvw"))[r.integers(0, 3, n)],
            "g": np.arange(n) % 5,
            "h": r.integers(0, 4, n),
            "big": r.permutation(n) % 105,
            "w": r.uniform(0.5, 2.0, n),
        }
    )


def dense(model: lf.Model, psi: np.ndarray, reml: bool) -> float:
    """Log-likelihood from the (n, n) covariance of the rows; fixed effects of psi, or for REML their best."""
    design, space = model.design, model.space
    sigma = space.residual_sd(psi)
    V = np.diag(sigma**2 / design.weights)
    for term, factor in zip(design.terms, space.factors(psi), strict=True):
        levels = np.eye(len(term.levels))[term.index]
        Z = np.einsum("nl,nk->nlk", levels, term.values).reshape(design.n, -1)
        V += Z @ np.kron(np.eye(len(term.levels)), factor @ factor.T) @ Z.T
    X, beta = design.X, psi[: space.num_fixed]
    inverse = np.linalg.inv(V)
    value = np.linalg.slogdet(V)[1]
    if reml:
        beta = np.linalg.solve(X.T @ inverse @ X, X.T @ inverse @ design.y)
        value += np.linalg.slogdet(X.T @ inverse @ X)[1]
    residual = design.y - X @ beta
    freedom = design.n - (X.shape[1] if reml else 0)
    return -0.5 * float(value + residual @ inverse @ residual + freedom * np.log(2 * np.pi))


@pytest.mark.parametrize("reml", [False, True], ids=["ml", "reml"])
@pytest.mark.parametrize("formula", FORMULAS)
def test_value_and_gradient_are_those_of_the_dense_likelihood(formula, reml):
    model = lf.compile(lf.design(formula, data(), weights="w"))
    space: ParamSpace = model.space
    psi = space.to_free(model.start) + 0.1 * np.random.default_rng(1).normal(size=space.size)
    if reml:
        psi[: space.num_fixed] = _best(model, psi)
    prepared, params = sums(model.design), space.to_natural(psi)
    lambdas = tuple(factor / params.residual_sd for factor in space.factors(psi))
    found = witness_at(prepared, params, lambdas, reml)
    assert found.value == pytest.approx(dense(model, psi, reml), abs=1e-9)
    gradient, expected = score(space, prepared, found, psi)
    for i in range(space.num_fixed if reml else 0, space.size):
        step = 1e-5 * np.eye(space.size)[i]
        slope = (dense(model, psi + step, reml) - dense(model, psi - step, reml)) / 2e-5
        assert gradient[i] == pytest.approx(slope, abs=1e-6 + 1e-8 * abs(found.value))
    assert np.isfinite(expected).any() == (prepared.dense is not None)


def _best(model: lf.Model, psi: np.ndarray) -> np.ndarray:
    """Generalised least squares by stacking, through differences of the dense likelihood: it is quadratic."""
    p = model.space.num_fixed
    here = np.array(psi)

    def value(beta: np.ndarray) -> float:
        return dense(model, np.concatenate([beta, here[p:]]), False)

    eye, zero = np.eye(p), np.zeros(p)
    first = np.array([(value(e) - value(-e)) / 2 for e in eye])
    second = np.array(
        [[value(a + b) - value(a) - value(b) + value(zero) for a in eye] for b in eye]
    )
    return np.linalg.solve(second, -first)


def test_it_knows_the_derivative_in_a_variance_at_zero():
    model = lf.compile(lf.design("y ~ x + (1 | g) + (1 | h)", data(), weights="w"))
    space, prepared = model.space, sums(model.design)
    psi = space.to_free(model.start)
    params = space.to_natural(psi)
    lambdas = (np.eye(1) * 0.7, np.zeros((1, 1)))
    found = witness_at(prepared, params, lambdas, False)
    near = [
        witness_at(prepared, params, (np.eye(1) * 0.7, np.eye(1) * np.sqrt(t)), False).value
        for t in (0.0, 1e-6)
    ]
    assert found.in_relative[1][0, 0] == pytest.approx((near[1] - near[0]) / 1e-6, rel=1e-4)


@pytest.mark.parametrize("reml", [False, True], ids=["ml", "reml"])
def test_fits_are_certified_and_a_wrong_end_is_not(reml):
    fit = lf.fit("y ~ x + (x | g) + (1 | h)", data(), weights="w", reml=reml)
    assert fit.converged
    assert fit.certificate.holds
    assert len(fit.certificate.claims) == 5
    assert lf.fit("y ~ x + (1 | big)", data(), reml=reml).certificate.holds
