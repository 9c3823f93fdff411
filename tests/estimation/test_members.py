"""Rows with several levels of one factor, mm(g, h): against dense algebra, and models coded otherwise."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

import lmeformula as lf
from lmeformula.algebra import meetings
from lmeformula.algebra.crossproducts import layout
from lmeformula.algebra.sparse_factor import Arrangement
from lmeformula.errors import FormulaDataError, LmeFormulaError, ModelError

FORMULA = "y ~ x + (x | mm(g, h, weights = cbind(w, v)))"
BY_ONE = "(1 | mm(g, other, weights = cbind(one, zero)))"


@functools.cache
def rows() -> pd.DataFrame:
    r = np.random.default_rng(8)
    n, levels = 90, np.array([f"s{i}" for i in range(12)])
    data = pd.DataFrame(
        {
            "g": levels[np.arange(n) % 12],
            "h": levels[r.integers(0, 12, n)],
            "w": r.uniform(0.2, 2.0, n).round(2),
            "v": r.uniform(0.2, 2.0, n).round(2),
            "x": r.normal(size=n).round(2),
            "one": 1.0,
            "zero": 0.0,
            "a": np.array(list("uv"))[np.arange(n) // 3 % 2],
        }
    )
    data["other"] = levels[(np.arange(n) + 5) % 12]
    effect = dict(zip(levels, r.normal(size=12), strict=True))
    data["y"] = 0.5 * data["x"] + data["g"].map(effect) + data["h"].map(effect) * 0.5
    slope = dict(zip(levels, r.normal(size=12), strict=True))
    data["y"] += 0.6 * r.normal(size=n) + data["x"] * data["g"].map(slope)
    data["yes"] = (r.random(n) < 1.0 / (1.0 + np.exp(-data["y"]))).astype(int)
    return data


def fitted(formula: str, *args, **options) -> lf.Fit:
    return lf.fit(formula, rows(), *args, progress=False, **options)


@functools.cache
def whole() -> lf.Fit:
    return fitted(FORMULA)


def read(fit: lf.Fit, data: pd.DataFrame) -> np.ndarray:
    """(n, 12, 2) what rows read of the levels' effects."""
    levels = list(fit.model.design.terms[0].levels)
    shares = data[["w", "v"]].to_numpy() / data[["w", "v"]].sum(axis=1).to_numpy()[:, None]
    found = np.zeros((len(data), len(levels), 2))
    columns = np.column_stack([np.ones(len(data)), data["x"]])
    for member, name in enumerate(("g", "h")):
        for row, level in enumerate(data[name]):
            if level in levels:
                found[row, levels.index(level)] += shares[row, member] * columns[row]
    return found


def test_likelihood_modes_and_errors_are_those_of_dense_algebra():
    fit, data = whole(), rows()
    Z = read(fit, data).reshape(len(data), -1)
    X = np.column_stack([np.ones(len(data)), data["x"]])
    G = np.kron(np.eye(12), fit.params.covariances[0])
    V = Z @ G @ Z.T + fit.sigma**2 * np.eye(len(data))
    mean = X @ fit.fixef.to_numpy()
    assert float(fit.loglik) == pytest.approx(multivariate_normal.logpdf(data["y"], mean, V))
    turned = np.linalg.solve(V, np.column_stack([X, data["y"] - mean]))
    np.testing.assert_allclose(X.T @ turned[:, 2], 0.0, atol=1e-6)
    modes = G @ Z.T @ turned[:, 2]
    np.testing.assert_allclose(fit.modes[0].ravel(), modes, atol=1e-9)
    np.testing.assert_allclose(fit.predict(), mean + Z @ modes, atol=1e-9)
    np.testing.assert_allclose(fit.fixed_vcov, np.linalg.inv(X.T @ turned[:, :2]), rtol=1e-6)
    hat = np.eye(len(data)) - fit.sigma**2 * (
        np.linalg.inv(V) - turned[:, :2] @ np.linalg.solve(X.T @ turned[:, :2], turned[:, :2].T)
    )
    np.testing.assert_allclose(fit.augment()[".hat"], np.diag(hat), atol=1e-8)


def test_joint_distribution_reads_members():
    fit, data = whole(), rows()
    joint = fit.model.at(fit.params).joint
    effects = multivariate_normal.logpdf(fit.modes[0], np.zeros(2), fit.params.covariances[0]).sum()
    residual = data["y"] - fit.predict()
    density = -0.5 * (residual @ residual) / fit.sigma**2
    density -= len(data) * np.log(fit.sigma * np.sqrt(2.0 * np.pi))
    (part,) = (name for name in joint.model if name != "y")
    found = joint.log_prob({part: fit.modes[0], "y": data["y"].to_numpy()})
    assert float(found) == pytest.approx(effects + density)


def test_many_levels_are_factored_sparse(monkeypatch):
    monkeypatch.setattr(meetings, "MOST_WHOLE", 1)
    assert isinstance(meetings.find_meetings(layout(whole().model.stack.terms)), Arrangement)
    for args, formula in (
        (("gaussian",), FORMULA),
        (("bernoulli",), FORMULA.replace("y ~", "yes ~")),
    ):
        sparse = fitted(formula, *args, **({"method": "laplace"} if args != ("gaussian",) else {}))
        monkeypatch.setattr(meetings, "MOST_WHOLE", 1500)
        dense = whole() if args == ("gaussian",) else fitted(formula, *args, method="laplace")
        monkeypatch.setattr(meetings, "MOST_WHOLE", 1)
        assert float(sparse.loglik) == pytest.approx(float(dense.loglik), abs=1e-7)
        np.testing.assert_allclose(sparse.stderr, dense.stderr, rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "reml"), [("gaussian", False), ("gaussian", True), ("bernoulli", False)]
)
def test_members_with_all_the_weight_are_levels(family, reml):
    left = "y" if family == "gaussian" else "yes"
    options = {"reml": True} if reml else {"method": "exact" if left == "y" else "laplace"}
    found, expected = (
        fitted(f"{left} ~ x + a + {term}", family, **options) for term in (BY_ONE, "(1 | g)")
    )
    assert float(found.loglik) == pytest.approx(float(expected.loglik), abs=1e-8)
    np.testing.assert_allclose(found.stderr, expected.stderr, rtol=1e-5)
    new = rows().head(6).assign(g=["s1", "s2", "never", "s3", "never", "other"])
    new = new.assign(other="s11")
    for ask in (
        lambda f: f.predict(new, new_levels="population"),
        lambda f: f.predict(new, new_levels="sample", interval="confidence"),
        lambda f: f.simulate(2, newdata=new, new_levels="sample", seed=3),
        lambda f: f.predict(new, kind="draws", num_draws=3, new_levels="sample"),
        lambda f: f.residuals("quantile"),
        lambda f: f.tidy()[["estimate", "std_error"]],
        lambda f: f.r2(),
        lambda f: f.emmeans("a").to_frame().select_dtypes("number"),
    ):
        np.testing.assert_allclose(ask(found), ask(expected), rtol=1e-4, atol=1e-4)


def test_unseen_members_vary_by_their_shares():
    fit, data = whole(), rows().head(3).assign(g=["s1", "new", "new"], h=["new", "s2", "new"])
    covariance = fit.params.covariances[0]
    sds = (
        fit.predict(data, interval="prediction", new_levels="population").diff(axis=1)["upper"],
        fit.predict(data, interval="prediction", new_levels="sample").diff(axis=1)["upper"],
    )
    assert (sds[1] > sds[0]).all()
    drawn = fit.simulate(4000, newdata=data, new_levels="sample", re_form="NA", seed=1)
    columns = np.column_stack([np.ones(3), data["x"]])
    of_one = np.einsum("na,ab,nb->n", columns, covariance, columns)
    shares = data[["w", "v"]].to_numpy() / data[["w", "v"]].sum(axis=1).to_numpy()[:, None]
    squares = np.where([False, False, True], 1.0, (shares**2).sum(axis=1))
    expected = squares * of_one + fit.sigma**2
    # A variance of m normal draws has the relative error sqrt(2 / m).
    assert (np.abs(drawn.var(axis=1) / expected - 1.0) < 4.0 * np.sqrt(2.0 / 4000)).all()


def test_levels_are_those_of_all_columns_in_order():
    data = {"y": [1.0, 2.0, 4.0, 3.0], "g": [2, 10, 2, 3], "h": [10, 1, 1, 1]}
    (term,) = lf.design("y ~ 1 + (1 | mm(g, h))", data).terms
    assert term.levels == ("1", "2", "3", "10")
    assert term.index.tolist() == [[1, 3], [3, 0], [1, 0], [2, 0]]
    assert (term.group, term.shares.tolist()) == ("mm(g, h)", [[0.5, 0.5]] * 4)


def test_weights_are_scaled_or_not():
    data = {
        "y": [1.0, 2.0, 4.0],
        "g": list("abc"),
        "h": list("bca"),
        "w": [1, 2, 3],
        "v": [3, 2, 0],
    }
    for scale, expected in (
        ("", [[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]]),
        (", scale = FALSE", [[1, 3], [2, 2], [3, 0]]),
    ):
        made = lf.design(f"y ~ 1 + (1 | mm(g, h, weights = cbind(w, v){scale}))", data)
        np.testing.assert_allclose(made.terms[0].shares, expected)


def test_saved_and_loaded(tmp_path):
    fit, new = whole(), rows().head(4).assign(g="never")
    for data in (False, True):
        loaded = lf.load(fit.save(tmp_path / f"{data}.zip", data=data))
        found, expected = (f.predict(new, new_levels="population") for f in (loaded, fit))
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(loaded.predict(), fit.predict())
    again = lf.load(tmp_path / "False.zip", data=rows())
    np.testing.assert_array_equal(again.residuals(), fit.residuals())


REFUSED = {
    "w: zero": ("(1 | mm(g, h, weights = cbind(zero, zero)))", "90 rows have weights that are all zero"),
    "w: negative": ("(1 | mm(g, h, weights = cbind(w, 0 - v)))", "rows have negative weights in mm"),
    "w: a factor": ("(1 | mm(g, h, weights = cbind(w, a)))", "'a' is not one a row"),
    "w: the response": ("(1 | mm(g, h, weights = cbind(w, y)))", "the response y also stands"),
    "the same": ("(1 | mm(g, g))", "mm\\(\\) takes two different columns"),
    "other words": ("(1 | mm(g, h, by = a))", "another package's syntax"),
}  # fmt: skip


@pytest.mark.parametrize("id", REFUSED)
def test_what_is_wrong_is_said(id):
    term, problem = REFUSED[id]
    with pytest.raises(LmeFormulaError, match=problem):
        fitted(f"y ~ x + {term}")


OPTIONS = {
    "mcem": ({"method": "mcem"}, ModelError, "share rows"),
    "iterative": ({"solver": "iterative"}, ModelError, "share rows"),
    "nuts": ({"method": "nuts"}, ModelError, "does not draw effects of levels"),
}


@pytest.mark.parametrize("id", OPTIONS)
def test_methods_for_levels_apart_refuse_them(id):
    options, error, problem = OPTIONS[id]
    with pytest.raises(error, match=problem):
        fitted(FORMULA, **options)


def test_what_leaves_levels_out_or_adds_some_refuses_them():
    with pytest.raises(ModelError, match="rows have several levels of mm"):
        whole().cross_validate(by="mm(g, h)")
    with pytest.raises(FormulaDataError, match="rows have several levels of"):
        lf.power(whole(), "x", along="g", num_groups=[20])


def test_permuted_members_are_the_same_model():
    fits = [
        fitted(f"y ~ x + (1 | mm({', '.join(names)}))") for names in itertools.permutations("gh")
    ]
    assert float(fits[0].loglik) == pytest.approx(float(fits[1].loglik), abs=1e-9)
