"""Fits whose covariances the rows do not tell apart: said so however the model is written."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf

FORMULA = "y ~ 1 + x + (1 + a | g)"


def nested(seed: int, family: str = "gaussian", num_groups: int = 9, rows: int = 8) -> dict:
    """Groups within the levels of a, the first of which does not vary."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(num_groups), rows)
    a, x = g % 3, rng.normal(size=len(g))
    sds = np.array([0.0, 0.8, 1.0])
    predictor = 0.5 + 0.3 * x + (sds[np.arange(num_groups) % 3] * rng.normal(size=num_groups))[g]
    y = (
        rng.poisson(np.exp(predictor))
        if family == "poisson"
        else predictor + rng.normal(size=len(g))
    )
    return {"y": y, "x": x, "g": [f"g{level}" for level in g], "a": np.array(list("uvw"))[a]}


def renamed(data: dict, seed: int) -> dict:
    names = np.random.default_rng(seed).permutation(100)
    return {**data, "g": [f"k{names[int(level[1:])]:02d}" for level in data["g"]]}


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("seed", [0, 3])
def test_codings_of_an_exact_fit(seed, reml):
    data = nested(seed)
    fits = [
        lf.fit(FORMULA, data, reml=reml, contrasts={"a": coding})
        for coding in ("treatment", "sum", "poly")
    ]
    assert {fit.outcome.name for fit in fits} == {"UNIDENTIFIED"}
    first = fits[0]
    for fit in fits:
        assert "say nothing on" in str(fit.certificate)
        assert fit.loglik.value - first.loglik.value == pytest.approx(
            0.5 * (_log_det(first) - _log_det(fit)) if reml else 0.0, abs=1e-6
        )
        np.testing.assert_allclose(fit.fitted(), first.fitted(), atol=1e-4)
        # What the rows do not tell has no standard error.
        loose = next(claim.names for claim in fit.certificate.claims if claim.name == "curvature")
        assert np.isnan(fit.param_stderr[[fit.param_names.index(name) for name in loose]]).all()


def _log_det(fit: lf.Fit) -> float:
    return 2.0 * float(np.log(np.abs(np.diag(np.linalg.qr(fit.model.design.X, mode="r")))).sum())


def test_names_of_groups_in_a_laplace_fit():
    data = nested(3, "poisson")
    fits = [
        lf.fit("y ~ 1 + x + (0 + a | g)", renamed(data, seed), family="poisson", method="laplace")
        for seed in range(3)
    ]
    assert {fit.outcome.name for fit in fits} == {"UNIDENTIFIED"}
    for fit in fits:
        correlation = fit.param_values[fit.param_names.index("cor(g:a[v],a[w])")]
        assert correlation == pytest.approx(0.0, abs=1e-5)
        np.testing.assert_allclose(fit.param_values, fits[0].param_values, atol=1e-4)


@pytest.mark.parametrize(
    ("term", "family", "seed"),
    [
        ("homcs", "gaussian", 0),
        ("cs", "poisson", 0),
        ("cs", "poisson", 2),
        ("ar1", "gaussian", 1),
        ("homtoep", "poisson", 1),
    ],
)
def test_one_correlation_that_no_group_shows(term, family, seed):
    data = nested(seed, family)
    rows = np.random.default_rng(seed).permutation(len(data["y"]))
    method = "exact" if family == "gaussian" else "laplace"
    for given in (data, {name: np.asarray(column)[rows] for name, column in data.items()}):
        fit = lf.fit(f"y ~ x + {term}(0 + a | g)", given, family=family, method=method)
        assert fit.outcome.name == "UNIDENTIFIED"
        loose = fit.certificate["curvature"].names
        assert next(name for name in fit.param_names if name.startswith("cor(")) in loose
        assert not any(name.startswith("cor(") for name in fit.certificate["boundaries"].names)


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_a_monte_carlo_fit_says_it_too(family):
    formula = "y ~ 1 + x + (0 + a | g)"
    options = {"method": "mcem", "tolerance": 0.2, "progress": False}
    fit = lf.fit(formula, nested(5, family), family=family, **options)
    assert fit.outcome.name in ("UNIDENTIFIED", "DRAWS_EXHAUSTED")
    claim = fit.certificate["curvature"]
    assert not claim.holds
    assert "cor(g:a[v],a[w])" in claim.names
    assert np.isnan(fit.param_stderr[fit.param_names.index("cor(g:a[v],a[w])")])


@pytest.mark.parametrize("seed", [3, 8])
def test_what_has_no_variance_is_not_named(seed):
    fit = lf.fit(FORMULA, nested(seed, "poisson"), family="poisson", method="laplace")
    assert fit.outcome.name == "UNIDENTIFIED"
    loose = next(claim.names for claim in fit.certificate.claims if claim.name == "curvature")
    assert loose == ("cor(g:a[T.v],a[T.w])",)
    assert fit.param_values[fit.param_names.index("sd(g:Intercept)")] == 0.0
