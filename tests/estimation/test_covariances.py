"""Covariance structures and linked terms, fitted: against the dense likelihood, and against each other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

import lmeformula as lf
from tests.simulate import dense, dense_log_likelihood, frame


def simulated(
    seed: int, kind: str, rho: float, k: int = 4, sd: float = 1.0, num_levels: int = 10
) -> dict[str, np.ndarray]:
    """`num_levels` groups of k times with two rows each, of which a fifth is lost when the seed is odd."""
    rng = np.random.default_rng(seed)
    apart = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    correlation = rho**apart if kind == "ar1" else np.where(apart, rho, 1.0)
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    effects = sd * rng.normal(size=(num_levels, k)) @ root.T
    g, t = np.divmod(np.arange(num_levels * k * 2) // 2, k)
    x = rng.normal(size=len(g))
    y = 1.0 + 0.5 * x + effects[g, t] + rng.normal(size=len(g))
    kept = rng.uniform(size=len(g)) < (0.8 if seed % 2 else 1.1)
    return {name: column[kept] for name, column in {"y": y, "x": x, "g": g, "t": t}.items()}


TERMS = [
    f"{kind}(0 + factor(t) | g, hom = {hom})" for kind in ("cs", "ar1") for hom in ("TRUE", "FALSE")
]
# Effects with correlations inside their interval, on both of its ends, and none at all.
TRUTHS = [(0, 0.5, 1.0), (1, 0.5, 1.0), (2, 1.0, 1.0), (3, -0.3, 1.0), (5, 0.0, 0.0)]


@pytest.mark.parametrize(("seed", "rho", "sd"), TRUTHS)
@pytest.mark.parametrize("term", TERMS)
def test_the_maximum_is_that_of_the_dense_likelihood(term, seed, rho, sd):
    data = simulated(seed, term.partition("(")[0], rho, sd=sd)
    fit = lf.fit(f"y ~ x + {term}", data, method="exact")
    space, design = fit.model.space, fit.model.design
    assert fit.converged
    value = dense_log_likelihood(design, fit.params)
    assert float(fit.loglik) == pytest.approx(value, abs=1e-7)
    assert fit.loglik.df == space.size == len(fit.param_names)

    structure, term_block = space.terms[0].structure, design.terms[0]
    Z, levels = dense(design).Z, len(term_block.levels)

    def deviance(theta):
        """-2 log-likelihood by the definition, relative to sigma, at the best fixed effects and sigma."""
        scaled = Z @ np.kron(np.eye(levels), structure.cholesky(theta, 4))
        root = np.linalg.cholesky(scaled @ scaled.T + np.eye(design.n))
        X, y = np.linalg.solve(root, design.X), np.linalg.solve(root, design.y)
        residual = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
        variance = residual @ residual / design.n
        log_det = 2.0 * np.log(np.diag(root)).sum()
        return log_det + design.n * (np.log(2.0 * np.pi * variance) + 1.0)

    num_sds = structure.num_sds(4)
    bounds = [(-9, 3)] * num_sds + [(-15, 15)]
    starts = [[*[log_sd] * num_sds, z] for log_sd, z in [(-1.0, -1.5), (-0.5, 0.5), (0.0, 2.0)]]
    best = min(minimize(deviance, s, method="L-BFGS-B", bounds=bounds).fun for s in starts)
    # L-BFGS-B with differences stops within 1e-4; the bounds, short of zero, only lower what it finds.
    assert -2 * float(fit.loglik) < best + 1e-4


@pytest.mark.parametrize("structure", ["cs", "ar1"])
def test_two_coefficients_with_their_own_variances_are_unstructured(structure):
    data = {**frame(), "t": frame()["c"] % 2}
    us = lf.fit("v ~ x + (0 + factor(t) | g)", data)
    same = lf.fit(f"v ~ x + {structure}(0 + factor(t) | g, hom = FALSE)", data)
    assert float(same.loglik) == pytest.approx(float(us.loglik), abs=1e-8)
    np.testing.assert_allclose(same.params.covariances[0], us.params.covariances[0], rtol=1e-4)
    np.testing.assert_allclose(same.param_stderr, us.param_stderr, rtol=1e-3)


def test_compound_symmetry_is_an_intercept_and_an_interaction():
    """With a correlation of zero or more, (1 | g) + (1 | g:t) is the same model; below, it is less."""
    data = simulated(4, "cs", 0.6)
    cs = lf.fit("y ~ x + cs(0 + factor(t) | g, hom = TRUE)", data)
    two = lf.fit("y ~ x + (1 | g) + (1 | g:t)", data)
    assert float(cs.loglik) == pytest.approx(float(two.loglik), abs=1e-8)
    between, within = (c[0, 0] for c in two.params.covariances)
    values = dict(zip(cs.param_names, cs.param_values, strict=True))
    assert values["sd(g)"] ** 2 == pytest.approx(between + within, rel=1e-4)
    assert values["cor(g)"] == pytest.approx(between / (between + within), rel=1e-4)
    negative = simulated(3, "cs", -0.3)
    cs = lf.fit("y ~ x + cs(0 + factor(t) | g, hom = TRUE)", negative)
    two = lf.fit("y ~ x + (1 | g) + (1 | g:t)", negative)
    assert two.singular
    assert dict(zip(cs.param_names, cs.param_values, strict=True))["cor(g)"] < 0
    assert float(cs.loglik) > float(two.loglik) + 0.1


@pytest.mark.parametrize("kind", ["cs", "ar1"])
def test_a_correlation_at_its_bound_is_singular_and_has_no_standard_error(kind):
    data = simulated(8, kind, 1.0, num_levels=25)
    fit = lf.fit(f"y ~ x + {kind}(0 + factor(t) | g, hom = TRUE)", data)
    common = lf.fit("y ~ x + (1 | g)", data)
    values = dict(zip(fit.param_names, fit.param_values, strict=True))
    if values["cor(g)"] == 1.0:  # then it is one random intercept
        assert float(fit.loglik) == pytest.approx(float(common.loglik), abs=1e-8)
    # A covariance is computed from its factor: of a correlation of one the last digit is rounding.
    assert fit.singular == (values["cor(g)"] > 1.0 - 1e-14)
    place = fit.param_names.index("cor(g)")
    assert np.isnan(fit.param_stderr[place]) == fit.singular
    assert np.isfinite(np.delete(fit.param_stderr, place)).all()


LINKED = [
    "(1 | p | g) + (0 + x | p | g)",
    "(0 + x | p | g) + (1 | p | g)",
    "(0 + x | p | g) + (1 | h) + (1 | p | g)",
]


@pytest.mark.parametrize("method", ["exact", "laplace"])
@pytest.mark.parametrize("linked", LINKED)
def test_linked_terms_are_one_term(linked, method):
    data = frame()
    family = "gaussian"
    if method == "laplace":
        data, family = {**data, "y": np.round(np.exp(0.5 * data["y"]))}, "poisson"
    whole = "(1 + x | g)" + (" + (1 | h)" if "h" in linked else "")
    expected = lf.fit(f"y ~ x + {whole}", data, family, method=method)
    found = lf.fit(f"y ~ x + {linked}", data, family, method=method)
    assert float(found.loglik) == pytest.approx(float(expected.loglik), abs=1e-7)
    assert found.loglik.df == expected.loglik.df
    keys = ["group", "level", "term"]
    modes, others = (f.ranef().set_index(keys).sort_index() for f in (found, expected))
    np.testing.assert_allclose(modes, others, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        found.coef()["g"][["Intercept", "x"]], expected.coef()["g"][["Intercept", "x"]], rtol=1e-4
    )
    new = {"x": [0.3, -1.0], "g": [2, 99], "h": [1, 0]}
    options = {"new_levels": "population"}
    np.testing.assert_allclose(
        found.predict(new, **options), expected.predict(new, **options), rtol=1e-4
    )
    shown = found.varcorr.to_frame()
    (correlation,) = shown["corr"].dropna()
    assert correlation == pytest.approx(
        found.params.covariances[0][1, 0] / np.prod(np.sqrt(np.diag(found.params.covariances[0])))
    )


def test_one_correlation_is_shown_once():
    fit = lf.fit("v ~ x + ar1(0 + factor(c) | g)", frame())
    rows = fit.varcorr.to_frame()
    assert rows["group"].tolist() == ["g"] * 4 + ["Residual"]
    assert np.ptp(rows["sd"].iloc[:3]) < 1e-12
    values = dict(zip(fit.param_names, fit.param_values, strict=True))
    assert rows["corr"].dropna().tolist() == [pytest.approx(values["cor(g)"])]
    assert fit.params.covariances[0][2, 0] / fit.params.covariances[0][0, 0] == pytest.approx(
        values["cor(g)"] ** 2
    )
    assert "corr" in str(fit.summary())
    tidy = fit.tidy().set_index("name") if "name" in fit.tidy() else fit.tidy()
    assert len(tidy) == len(fit.param_names)
