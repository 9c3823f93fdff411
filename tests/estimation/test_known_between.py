"""propto(0 + a | g, A) and equalto(): covariances that are known, against dense algebra and meta-analyses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.optimize as so

import lmeformula as lf

LEVELS = list("abcde")


def rows(groups: int = 12) -> tuple[pd.DataFrame, np.ndarray]:
    """Two rows for each of five levels in each group, and the matrix between the levels."""
    random = np.random.default_rng(1)
    root = np.tril(random.normal(size=(5, 5))) * 0.5 + np.eye(5)
    matrix = root @ root.T
    group, level = np.repeat(np.arange(groups), 10), np.tile(np.repeat(np.arange(5), 2), groups)
    effects = 0.8 * random.multivariate_normal(np.zeros(5), matrix, size=groups)
    x = random.normal(size=10 * groups)
    y = 1.0 + 0.5 * x + effects[group, level] + 0.7 * random.normal(size=len(x))
    count = random.poisson(np.exp(0.5 + 0.3 * effects[group, level]))
    data = {"y": y, "x": x, "g": group, "t": np.array(LEVELS)[level], "count": count}
    return pd.DataFrame(data), matrix


def named(matrix: np.ndarray) -> pd.DataFrame:
    """In another order, with a level besides that the data do not have."""
    names = ["z", *LEVELS[::-1]]
    found = np.eye(6)
    found[1:, 1:] = matrix[::-1, ::-1]
    return pd.DataFrame(found, index=names, columns=names)


def dense(data: pd.DataFrame, matrix: np.ndarray, scale: float, sigma: float, reml: bool) -> float:
    """The log-likelihood, or the restricted one, of all rows together."""
    Z = (data["t"].to_numpy()[:, None] == np.array(LEVELS)).astype(float)
    same = data["g"].to_numpy()[:, None] == data["g"].to_numpy()
    V = scale**2 * (Z @ matrix @ Z.T) * same + sigma**2 * np.eye(len(data))
    root = np.linalg.cholesky(V)
    X = np.linalg.solve(root, np.column_stack([np.ones(len(data)), data["x"]]))
    y = np.linalg.solve(root, data["y"])
    left = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
    value = -0.5 * (len(y) - 2 * reml) * np.log(2 * np.pi)
    value -= np.log(np.diag(root)).sum() + 0.5 * left @ left
    return value - 0.5 * reml * np.linalg.slogdet(X.T @ X)[1]


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("kind", ["propto", "equalto"])
def test_gaussian_fits_are_those_of_dense_algebra(kind, reml):
    data, matrix = rows()
    matrix = matrix if kind == "propto" else 0.7 * matrix
    start = [0.0, 0.0] if kind == "propto" else [0.0]

    def fall(logs):
        scale = np.exp(logs[0]) if kind == "propto" else 1.0
        return -dense(data, matrix, scale, np.exp(logs[-1]), reml)

    best = so.minimize(fall, start, tol=1e-12)
    fit = lf.fit(f"y ~ x + {kind}(0 + t | g, A)", data, covariances={"A": named(matrix)}, reml=reml)
    assert fit.certificate.holds
    assert fit.loglik.df == 3 + (kind == "propto")
    assert float(fit.loglik) == pytest.approx(-best.fun, abs=1e-8)
    expected = np.exp(best.x[0]) ** 2 * matrix if kind == "propto" else matrix
    np.testing.assert_allclose(fit.params.covariances[0], expected, rtol=1e-4)
    assert fit.sigma == pytest.approx(np.exp(best.x[-1]), rel=1e-5)
    again = fit.update("~ .")
    assert float(again.loglik) == pytest.approx(float(fit.loglik), abs=1e-9)


def test_scale_one_is_the_same_known_or_estimated_there():
    data, matrix = rows()
    free = lf.fit("count ~ 1 + propto(0 + t | g, A)", data, "poisson", method="laplace",
                  covariances={"A": named(matrix)})  # fmt: skip
    scale = np.exp(free.model.space.to_free(free.params)[1])
    held = lf.fit("count ~ 1 + equalto(0 + t | g, A)", data, "poisson", method="laplace",
                  covariances={"A": named(scale**2 * matrix)})  # fmt: skip
    assert float(held.loglik) == pytest.approx(float(free.loglik), abs=1e-8)
    assert held.loglik.df == free.loglik.df - 1


def test_one_group_is_levels_of_known_covariance():
    """propto(0 + t | one, A) is (1 | gr(t, cov = A))."""
    data, matrix = rows()
    data["one"] = 1
    given = {"A": named(matrix)}
    fit = lf.fit("y ~ x + propto(0 + t | one, A)", data, covariances=given)
    related = lf.fit("y ~ x + (1 | gr(t, cov = A))", data, covariances=given)
    assert float(fit.loglik) == pytest.approx(float(related.loglik), abs=1e-9)


# BCG vaccine trials: log relative risks and their variances (Colditz et al. 1994, JAMA 271, 698-702).
TREATED = np.array([[4, 119], [6, 300], [3, 228], [62, 13536], [33, 5036], [180, 1361], [8, 2537], [505, 87886],
                    [29, 7470], [17, 1699], [186, 50448], [5, 2493], [27, 16886]])  # fmt: skip
CONTROL = np.array([[11, 128], [29, 274], [11, 209], [248, 12619], [47, 5761], [372, 1079], [10, 619],
                    [499, 87892], [45, 7232], [65, 1600], [141, 27197], [3, 2338], [29, 17825]])  # fmt: skip
LATITUDE = np.array([44, 55, 42, 52, 13, 44, 19, 13, 27, 42, 18, 33, 33])


def trials() -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    treated, control = TREATED.sum(axis=1), CONTROL.sum(axis=1)
    y = np.log(TREATED[:, 0] / treated) - np.log(CONTROL[:, 0] / control)
    variance = 1 / TREATED[:, 0] - 1 / treated + 1 / CONTROL[:, 0] - 1 / control
    names = [f"trial {number}" for number in range(13)]
    data = pd.DataFrame({"y": y, "trial": names, "one": 1, "latitude": LATITUDE})
    return data, {"V": pd.DataFrame(np.diag(variance), index=names, columns=names)}


def test_a_meta_analysis_is_metafors():
    """rma(yi, vi, data = dat.bcg): 0.3132, -0.7145 (0.1798); with mods = ~ ablat: 0.0764, 0.2515, -0.0291."""
    data, given = trials()
    for mods, tau2, fixed, errors in [
        ("1", 0.3132, [-0.7145], [0.1798]),
        ("latitude", 0.0764, [0.2515, -0.0291], [0.2491, 0.0072]),
    ]:
        formula = f"y ~ {mods} + (1 | trial) + equalto(0 + trial | one, V)"
        fit = lf.fit({"mu": formula, "sigma": "~ 0"}, data, covariances=given, reml=True)
        assert fit.certificate.holds
        assert float(fit.params.covariances[0][0, 0]) == pytest.approx(tau2, abs=6e-5)
        np.testing.assert_allclose(fit.fixef, fixed, atol=6e-5)
        np.testing.assert_allclose(fit.stderr, errors, atol=6e-5)


def test_fixed_effects_alone_beside_known_variances():
    """No covariance parameter at all: generalised least squares."""
    data, given = trials()
    formula = "y ~ latitude + equalto(0 + trial | one, V)"
    fit = lf.fit({"mu": formula, "sigma": "~ 0"}, data, covariances=given)
    weights = 1.0 / np.diag(given["V"])
    X = np.column_stack([np.ones(13), LATITUDE])
    information = X.T @ (weights[:, None] * X)
    np.testing.assert_allclose(fit.fixef, np.linalg.solve(information, X.T @ (weights * data["y"])))
    np.testing.assert_allclose(fit.stderr, np.sqrt(np.diag(np.linalg.inv(information))), rtol=1e-8)
    assert fit.loglik.df == 2


def test_satterthwaite_of_equal_known_variances_is_students():
    """Of equal variances v + tau^2 is that of a sample."""
    data, given = trials()
    given = {"V": given["V"] * 0 + 0.05 * np.eye(13)}
    formula = "y ~ 1 + (1 | trial) + equalto(0 + trial | one, V)"
    fit = lf.fit({"mu": formula, "sigma": "~ 0"}, data, covariances=given, reml=True)
    for ddf in ("satterthwaite", "kenward-roger"):
        table = fit.tidy(ddf=ddf)
        assert float(table["df"].iloc[0]) == pytest.approx(12.0, rel=1e-5)


def test_everything_after_the_fit(tmp_path):
    data, matrix = rows()
    given = {"A": named(matrix)}
    for kind in ("propto", "equalto"):
        fit = lf.fit(f"y ~ x + {kind}(0 + t | g, A)", data, covariances=given)
        fit.save(tmp_path / kind)
        loaded = lf.load(tmp_path / kind)
        np.testing.assert_array_equal(loaded.predict(data), fit.predict(data))
        new = pd.DataFrame({"x": [0.5], "g": [99], "t": ["a"]})
        assert np.isfinite(fit.predict(new, new_levels="population")).all()
        refits = fit.refit(fit.simulate(1, seed=1))
        assert np.isfinite(refits.values).all()
        assert "Σ_g" in str(fit.model.equation())
    with pytest.raises(lf.ModelError, match="where a covariance is known"):
        fit.tidy(ddf="satterthwaite")


def test_wrong_input_is_refused_before_anything_slow():
    data, matrix = rows()
    without = named(matrix).iloc[:-1, :-1]
    with pytest.raises(lf.FormulaDataError, match="lacks 1 of the 5 levels of 't' in the data: a"):
        lf.fit("y ~ x + propto(0 + t | g, A)", data, covariances={"A": without})
    with pytest.raises(lf.FormulaDataError, match="needs the name of a matrix"):
        lf.fit("y ~ x + propto(0 + t | g)", data)
    with pytest.raises(lf.FormulaDataError, match="which is not given"):
        lf.fit("y ~ x + equalto(0 + t | g, A)", data)
    with pytest.raises(lf.FormulaDataError, match="levels of one factor, which 'A' has"):
        lf.fit("y ~ x + equalto(0 + x | g, A)", data, covariances={"A": named(matrix)})
    with pytest.raises(lf.FormulaDataError, match=r"2 factors for 1 column, x"):
        lf.fit("y ~ x + rr(0 + x | g)", data)
    with pytest.raises(lf.ModelError, match="does not draw covariances that are known"):
        lf.fit("count ~ 1 + equalto(0 + t | g, A)", data, "poisson", method="nuts",
               covariances={"A": named(matrix)})  # fmt: skip
