"""Effects of levels with a known covariance: estimates against dense likelihoods, by all ways."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.linalg as sl

import lmeformula as lf
from lmeformula.algebra import meetings
from lmeformula.design.pedigree import pedigree
from lmeformula.errors import FormulaDataError, ModelError
from lmeformula.likelihood.gaussian.likelihood import solve_exactly
from lmeformula.likelihood.gaussian.sums import sums
from tests.design.test_pedigree import born as born_in

QUIET = {"progress": False}


def born(seed: int) -> pd.DataFrame:
    """Fifty animals in three generations."""
    return born_in(seed, founders=8, generations=3, size=14)


@cache
def rows() -> pd.DataFrame:
    """Records of animals of a pedigree, without its founders, in herds."""
    r = np.random.default_rng(7)
    animals = born(1)
    A = known()
    places = r.integers(8, len(animals), 150)
    root = np.linalg.cholesky(A)
    u = root @ r.normal(size=(len(A), 2)) @ np.array([[0.9, 0.3], [0.0, 0.5]])
    x, herd = r.normal(size=150).round(2), r.integers(0, 6, 150)
    eta = 0.4 + 0.6 * x + u[places, 0] + u[places, 1] * x + 0.5 * r.normal(size=6)[herd]
    return pd.DataFrame(
        {
            "y": (eta + 0.8 * r.normal(size=150)).round(4),
            "yes": (r.random(150) < 1.0 / (1.0 + np.exp(-eta))).astype(int),
            "x": x,
            "animal": animals["id"].to_numpy()[places],
            "herd": herd,
            "w": r.uniform(0.5, 2.0, 150).round(2),
        }
    )


@cache
def known() -> np.ndarray:
    """A of the pedigree, in its order."""
    found = pedigree(born(1))
    places = [found.levels.index(name) for name in born(1)["id"]]
    return np.asarray(np.linalg.inv(found.matrix.toarray())[np.ix_(places, places)])


@cache
def related() -> lf.Fit:
    return fitted("y ~ x + (x | gr(animal, cov = A)) + (1 | herd)")


def fitted(formula: Any, family: str = "gaussian", way: str = "pedigree", **options: Any) -> lf.Fit:
    names = list(born(1)["id"])
    given = pedigree(born(1)) if way != "matrix" else pd.DataFrame(known(), names, names)
    return lf.fit(formula, rows(), family, covariances={"A": given}, **options, **QUIET)


def dense(fit: lf.Fit) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """V, X, and Z G of each term, of a Gaussian fit, with the levels of each term in its order."""
    made, params = fit.model.design, fit.params
    V, parts = np.zeros((made.n, made.n)), []
    for term, covariance in zip(made.terms, params.covariances, strict=True):
        count, k = len(term.levels), len(term.columns)
        Z = np.zeros((made.n, count, k))
        Z[np.arange(made.n), term.index] = term.values
        A = np.eye(count)
        if term.relation is not None:
            order = [list(born(1)["id"]).index(name) for name in term.levels]
            A = known()[np.ix_(order, order)]
        G = np.kron(A, covariance)
        flat = Z.reshape(made.n, -1)
        parts.append(flat @ G)
        V += flat @ G @ flat.T
    noise = np.ones(made.n) if made.weights is None else 1.0 / made.weights
    return V + params.residual_sd**2 * np.diag(noise), made.X, parts


ONE, SLOPES = "(1 | gr(animal, cov = A))", "(x | gr(animal, cov = A)) + (1 | herd)"


@pytest.mark.parametrize(
    ("formula", "reml", "way"),
    [
        (ONE, False, "pedigree"),
        (ONE, True, "sparse"),
        (SLOPES, False, "matrix"),
        (SLOPES, True, "pedigree"),
        (SLOPES, False, "sparse"),
        (SLOPES, True, "sparse"),
    ],
    ids=[
        "one",
        "one by REML",
        "slopes",
        "slopes by REML",
        "sparse slopes",
        "sparse slopes by REML",
    ],
)
def test_a_gaussian_fit_is_at_the_maximum_of_the_dense_likelihood(formula, reml, way, monkeypatch):
    if way == "sparse":
        monkeypatch.setattr(meetings, "MOST_WHOLE", 0)
    fit = fitted(f"y ~ x + {formula}", way=way, reml=reml, weights="w")
    assert fit.converged
    assert all(claim.holds for claim in fit.certificate.claims)
    space, y = fit.model.space, fit.model.design.y

    def loglik(psi: np.ndarray) -> float:
        at = fit.model.space.to_natural(psi)
        V, X, _ = dense(_at(fit, at))
        lower = np.linalg.cholesky(V)
        residual = sl.solve_triangular(lower, y - X @ at.beta, lower=True)
        half = sl.solve_triangular(lower, X, lower=True)
        value = residual @ residual + 2.0 * np.log(np.diag(lower)).sum()
        value += (len(y) - reml * X.shape[1]) * np.log(2.0 * np.pi)
        if reml:
            value += np.linalg.slogdet(half.T @ half)[1]
        return -0.5 * float(value)

    psi = space.to_free(fit.params)
    assert float(fit.loglik) == pytest.approx(loglik(psi), abs=1e-7)
    p = 0 if not reml else space.num_fixed
    for place in range(p, space.size):
        step = 1e-4 * np.eye(space.size)[place]
        ahead, behind = loglik(psi + step), loglik(psi - step)
        curvature = (2.0 * loglik(psi) - ahead - behind) / 1e-8
        # What a further step would gain.
        assert ((ahead - behind) / 2e-4) ** 2 / max(curvature, 1e-3) < 1e-6
    V, X, parts = dense(fit)
    residual = np.linalg.solve(V, y - X @ fit.params.beta)
    for modes, part in zip(fit.modes, parts, strict=True):
        np.testing.assert_allclose(modes.ravel(), part.T @ residual, atol=1e-8)
    # The errors of the effects, the fixed ones known.
    for term, cov, part, own in zip(
        fit.model.design.terms, fit.mode_cov, parts, fit.params.covariances, strict=True
    ):
        count, k = len(term.levels), len(term.columns)
        order = [list(born(1)["id"]).index(name) for name in term.levels if term.relation]
        A = known()[np.ix_(order, order)] if order else np.eye(count)
        G = np.kron(A, own) - part.T @ np.linalg.solve(V, part)
        each = np.arange(count)
        np.testing.assert_allclose(cov, G.reshape(count, k, count, k)[each, :, each, :], atol=1e-8)


def _at(fit: lf.Fit, params: Any) -> Any:
    class Other:
        model = fit.model

    Other.params = params  # type: ignore[attr-defined]
    return Other


def test_breeding_values_of_a_published_example():
    """Mrode (2014), Linear Models for the Prediction of Animal Breeding Values, 3rd ed., example 3.1.

    Weights of calves by sex, with a ratio of the residual to the additive variance of 2.
    """
    family = {"id": [4, 5, 6, 7, 8], "sire": [1, 3, 1, 4, 3], "dam": [None, 2, 2, 5, 6]}
    calves = {
        "calf": [4, 5, 6, 7, 8],
        "sex": ["male", "female", "female", "male", "male"],
        "gain": [4.5, 2.9, 3.9, 3.5, 5.0],
    }
    made = lf.design(
        "gain ~ 0 + sex + (1 | gr(calf, cov = A))", calves, covariances={"A": pedigree(family)}
    )
    data = sums(made)
    found = solve_exactly(data, (np.array([[np.sqrt(0.5)]]),))
    values = dict(
        zip(made.terms[0].levels, found.factor.effects(found.u, found.w)[0][:, 0], strict=True)
    )
    published = [0.098, -0.019, -0.041, -0.009, -0.186, 0.177, -0.249, 0.183]
    np.testing.assert_allclose([values[str(i + 1)] for i in range(8)], published, atol=5.1e-4)
    beta = data.ols + np.linalg.solve(data.R, found.gamma)
    np.testing.assert_allclose(
        dict(zip(made.names, beta, strict=True))["sex[male]"], 4.358, atol=5.1e-4
    )
    np.testing.assert_allclose(
        dict(zip(made.names, beta, strict=True))["sex[female]"], 3.404, atol=5.1e-4
    )


@pytest.mark.parametrize("way", ["whole", "sparse"])
def test_laplace_is_that_of_dense_algebra(way, monkeypatch):
    if way == "sparse":
        monkeypatch.setattr(meetings, "MOST_WHOLE", 0)
    fit = fitted("yes ~ x + (1 | gr(animal, cov = A)) + (1 | herd)", "bernoulli")
    assert fit.method == "laplace"
    assert fit.converged
    data, params = rows(), fit.params
    X, y = fit.model.design.X, data["yes"].to_numpy()
    parts = []
    for term, covariance in zip(fit.model.design.terms, params.covariances, strict=True):
        Z = np.eye(len(term.levels))[term.index]
        root = np.eye(len(term.levels)) if term.relation is None else term.relation.dense_root()
        parts.append(Z @ root * np.sqrt(covariance[0, 0]))
    Z = np.hstack(parts)
    u = np.zeros(Z.shape[1])
    for _ in range(50):
        mean = 1.0 / (1.0 + np.exp(-(X @ params.beta + Z @ u)))
        H = Z.T @ (Z * (mean * (1.0 - mean))[:, None]) + np.eye(len(u))
        u = u + np.linalg.solve(H, Z.T @ (y - mean) - u)
    eta = X @ params.beta + Z @ u
    value = y @ eta - np.logaddexp(0.0, eta).sum() - 0.5 * u @ u - 0.5 * np.linalg.slogdet(H)[1]
    assert float(fit.loglik) == pytest.approx(float(value), abs=1e-8)


def test_unrelated_levels_are_those_of_a_plain_term():
    names = sorted(set(rows()["animal"]))
    plain = lf.fit("y ~ x + (x | animal)", rows(), **QUIET)
    eye = pd.DataFrame(np.eye(len(names)), names, names)
    fit = lf.fit("y ~ x + (x | gr(animal, cov = A))", rows(), covariances={"A": eye}, **QUIET)
    assert float(fit.loglik) == pytest.approx(float(plain.loglik), abs=1e-8)
    np.testing.assert_allclose(fit.param_stderr, plain.param_stderr, rtol=1e-4)
    np.testing.assert_allclose(fit.ranef()["value"], plain.ranef()["value"], atol=1e-4)
    new = rows().head(5)
    for interval in ("confidence", "prediction"):
        np.testing.assert_allclose(
            fit.predict(new, interval=interval), plain.predict(new, interval=interval), rtol=1e-4
        )
    np.testing.assert_allclose(fit.icc()["adjusted"], plain.icc()["adjusted"], rtol=1e-4)
    np.testing.assert_allclose(fit.tidy()["df"].dropna(), plain.tidy()["df"].dropna(), rtol=1e-3)


def test_degrees_of_freedom_of_unrelated_levels_are_those_of_a_plain_term():
    names = sorted(set(rows()["animal"]))
    eye = pd.DataFrame(np.eye(len(names)), names, names)
    options: dict[str, Any] = {"reml": True, **QUIET}
    plain = lf.fit("y ~ x + (1 | animal)", rows(), **options)
    fit = lf.fit("y ~ x + (1 | gr(animal, cov = A))", rows(), covariances={"A": eye}, **options)
    for way in ("satterthwaite", "kenward-roger"):
        found, expected = (one.tidy(ddf=way)["df"].dropna() for one in (fit, plain))
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_levels_without_rows_are_predicted_through_relatives():
    fit = related()
    founders = born(1)["id"][:3].to_list()
    new = pd.DataFrame({"x": [0.0, 1.0, -1.0], "animal": founders, "herd": [0, 1, 2]})
    V, X, parts = dense(fit)
    y, term = fit.model.design.y, fit.model.design.terms[0]
    effects = (parts[0].T @ np.linalg.solve(V, y - X @ fit.params.beta)).reshape(-1, 2)
    at = [term.levels.index(name) for name in founders]
    expected = np.column_stack([np.ones(3), new["x"]]) @ fit.params.beta
    expected += effects[at, 0] + effects[at, 1] * new["x"] + fit.modes[1][[0, 1, 2], 0]
    np.testing.assert_allclose(fit.predict(new), expected, atol=1e-8)
    assert np.abs(effects[at]).min() > 1e-3
    with pytest.raises(FormulaDataError, match="does not have: stranger"):
        fit.predict(new.assign(animal="stranger"))
    assert len(fit.predict(new.assign(animal="stranger"), re_form="NA")) == 3


def test_intervals_are_those_of_henderson_s_equations():
    fit = related()
    made, params = fit.model.design, fit.params
    blocks, columns = [], [made.X]
    for term, covariance in zip(made.terms, params.covariances, strict=True):
        Z = np.zeros((made.n, len(term.levels), len(term.columns)))
        Z[np.arange(made.n), term.index] = term.values
        columns.append(Z.reshape(made.n, -1))
        A = np.eye(len(term.levels))
        if term.relation is not None:
            order = [list(born(1)["id"]).index(name) for name in term.levels]
            A = known()[np.ix_(order, order)]
        blocks.append(np.linalg.inv(np.kron(A, covariance)))
    W = np.hstack(columns)
    C = np.linalg.inv(W.T @ W / params.residual_sd**2 + sl.block_diag(np.zeros((2, 2)), *blocks))
    founder = made.terms[0].levels.index("f2")
    z = np.zeros(W.shape[1])
    z[[0, 2 + 2 * founder, 2 + 2 * len(made.terms[0].levels) + 4]] = 1.0
    z[[1, 3 + 2 * founder]] = 0.5
    new = pd.DataFrame({"x": [0.5], "animal": ["f2"], "herd": [4]})
    found = fit.predict(new, interval="confidence", level=0.95)
    width = (found["upper"] - found["lower"]) / (2.0 * 1.959963984540054)
    np.testing.assert_allclose(width, np.sqrt(z @ C @ z), rtol=1e-6)


def test_drawn_responses_have_the_covariance_of_the_model():
    fit = related()
    draws = 4000
    drawn = fit.simulate(draws, seed=3).to_numpy()
    V, X, _ = dense(fit)
    # Along the eigenvectors of the covariance draws are independent.
    values, vectors = np.linalg.eigh(V)
    along = vectors.T @ (drawn - (X @ fit.params.beta)[:, None]) / np.sqrt(values)[:, None]
    z = (np.square(along).mean(axis=1) - 1.0) / np.sqrt(2.0 / draws)
    assert np.abs(z).max() < 5.0
    assert np.abs(z.mean()) < 5.0 / np.sqrt(len(z))


def test_the_joint_density_knows_the_covariance():
    import scipy.stats

    fit = fitted("y ~ x + (x | gr(animal, cov = A))", way="matrix")
    effects = fit.joint_effects
    order = [list(born(1)["id"]).index(name) for name in fit.model.design.terms[0].levels]
    G = np.kron(known()[np.ix_(order, order)], fit.params.covariances[0])
    prior = scipy.stats.multivariate_normal.logpdf(fit.modes[0].ravel(), np.zeros(len(G)), G)
    residual = fit.residuals().to_numpy()
    rows_part = scipy.stats.norm.logpdf(residual, 0.0, fit.params.residual_sd).sum()
    found = float(fit.joint.log_prob(**effects, y=fit.model.design.y))
    assert found == pytest.approx(prior + rows_part, rel=1e-8)


def test_a_saved_fit_knows_it(tmp_path):
    fit = fitted("y ~ x + (1 | gr(animal, cov = A))")
    new = pd.DataFrame({"x": [0.5, 1.0], "animal": ["f2", "g2n4"]})
    loaded = lf.load(fit.save(tmp_path / "fit.zip"))
    np.testing.assert_array_equal(loaded.predict(new), fit.predict(new))
    again = lf.load(tmp_path / "fit.zip", data=rows())
    np.testing.assert_allclose(
        again.predict(new, interval="confidence"), fit.predict(new, interval="confidence")
    )
    assert float(again.update("~ . - x").loglik) == pytest.approx(
        float(fit.update("~ . - x").loglik), abs=1e-9
    )


def test_folds_of_levels_are_predicted_through_relatives():
    fit = fitted("y ~ x + (1 | gr(animal, cov = A))")
    apart = lf.fit("y ~ x + (1 | animal)", rows(), **QUIET)
    found, other = (
        one.cross_validate(by="animal", folds=4, seed=1).elpd.value for one in (fit, apart)
    )
    assert found > other


REFUSED = {
    "mcem": ({"method": "mcem"}, "Monte Carlo EM is for levels that are independent"),
    "nuts": ({"method": "nuts"}, "does not draw effects of levels that are related"),
    "quadrature": ({"method": "quadrature"}, "levels that are related, or share rows, do"),
    "iterative": (
        {"solver": "iterative"},
        "the iterative solver is for levels that are independent",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_takes_levels_for_independent_is_refused(case):
    options, said = REFUSED[case]
    with pytest.raises(ModelError, match=said):
        fitted("yes ~ x + (1 | gr(animal, cov = A))", "bernoulli", **options)


def test_a_covariance_that_is_the_residual_s_is_refused():
    few = rows().drop_duplicates("animal").head(30)
    names = list(few["animal"])
    eye = pd.DataFrame(np.eye(len(names)), names, names)
    with pytest.raises(FormulaDataError, match="as many levels as there are rows"):
        lf.fit("y ~ x + (1 | gr(animal, cov = A))", few, covariances={"A": eye})
    # One record an animal is enough where these are related.
    fit = lf.fit(
        "y ~ x + (1 | gr(animal, cov = A))", few, covariances={"A": pedigree(born(1))}, **QUIET
    )
    assert fit.model.design.n < len(fit.model.design.terms[0].levels)


def test_related_levels_have_no_further_ones():
    fit = fitted("y ~ x + (1 | gr(animal, cov = A))")
    with pytest.raises(
        FormulaDataError, match="levels that are related, or share rows, have no further ones"
    ):
        lf.power(fit, "x", along="animal", num_groups=[80], num_sims=2)


def test_words_for_it():
    fit = related()
    assert "related between levels as A says" in fit.formula.explain()
    assert r"\mathbf{\text{A}} \otimes \Sigma_{1}" in fit.formula._repr_latex_()
    assert "Σ_animal · A" in str(fit.model.equation())
    assert "x A), " in str(fit.model.graph())


@pytest.mark.parametrize("reml", [False, True])
def test_sizes_of_related_effects_go_by_a_factor(reml):
    """gr(g, by = a, cov = A): s_a times effects with covariance A, as brms has it, and dense algebra."""
    r = np.random.default_rng(5)
    A = known()
    sex = np.array(["f", "m"])[r.integers(0, 2, len(A))]
    data = rows().copy()
    where = data["animal"].map({name: place for place, name in enumerate(born(1)["id"])})
    data["sex"] = sex[where]
    size = np.where(data["sex"] == "m", 0.7, 1.5)
    data["y"] = data["x"] + size * (np.linalg.cholesky(A) @ r.normal(size=len(A)))[where]
    data["y"] += 0.6 * r.normal(size=len(data))
    given = {"A": (A, list(born(1)["id"]))}
    formula = "y ~ x + (1 | gr(animal, by = sex, cov = A))"
    fit = lf.fit(formula, data, covariances=given, reml=reml, **QUIET)
    assert fit.certificate.holds
    X = np.column_stack([np.ones(len(data)), data["x"]])

    def value(logs: np.ndarray) -> float:
        sd = np.where(data["sex"] == "m", *np.exp(logs[[1, 0]]))
        V = np.outer(sd, sd) * A[np.ix_(where, where)] + np.exp(2 * logs[2]) * np.eye(len(data))
        root = np.linalg.cholesky(V)
        Q, y = np.linalg.solve(root, X), np.linalg.solve(root, data["y"])
        left = y - Q @ np.linalg.lstsq(Q, y, rcond=None)[0]
        found = -0.5 * (len(y) - 2 * reml) * np.log(2 * np.pi) - np.log(np.diag(root)).sum()
        return found - 0.5 * left @ left - 0.5 * reml * np.linalg.slogdet(Q.T @ Q)[1]

    here = np.log(fit.param_values[2:])
    assert float(fit.loglik) == pytest.approx(value(here), abs=1e-8)
    for step in 1e-3 * np.vstack([np.eye(3), -np.eye(3)]):
        assert value(here + step) < value(here)
    with pytest.raises(ModelError, match="has one coefficient, and this term has 2"):
        lf.fit("y ~ x + (x | gr(animal, by = sex, cov = A))", data, covariances=given, **QUIET)
