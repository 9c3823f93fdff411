"""Correlations that fall with distance: factors and derivatives, form in TFP, columns, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import lmeformula as lf
from lmeformula.covariance.decaying import Decaying, Ranged
from tests.simulate import differences

POSITIONS = np.array([[0.0, 0.0], [1.0, 0.5], [2.5, -1.0], [4.0, 2.0]])
CLOSE = {"rtol": 1e-6, "atol": 1e-7}
QUIET = {"progress": False}


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("homogeneous", [False, True])
def test_covariances_and_their_derivatives(power, homogeneous):
    structure, k = (
        Ranged(Decaying("exp", POSITIONS, power), homogeneous=homogeneous),
        len(POSITIONS),
    )
    rng = np.random.default_rng(2)
    theta = rng.uniform(-0.5, 0.5, structure.num_params(k))
    factor, report = structure.cholesky(theta, k), structure.to_report(theta, k)
    distances = np.linalg.norm(POSITIONS[:, None] - POSITIONS, axis=2)
    sds = np.broadcast_to(report[:-1], (k,))
    expected = np.outer(sds, sds) * np.exp(-((distances / report[-1]) ** power))
    np.testing.assert_allclose(factor @ factor.T, expected, rtol=1e-9)
    np.testing.assert_allclose(structure.to_free(factor @ factor.T), theta, rtol=1e-8, atol=1e-9)
    by = differences(lambda at: structure.cholesky(at, k), theta)
    np.testing.assert_allclose(structure.cholesky_jacobian(theta, k), by, **CLOSE)
    by = differences(lambda at: structure.to_report(at, k), theta).T
    np.testing.assert_allclose(structure.report_jacobian(theta, k), by, **CLOSE)
    rho = structure.pattern.correlation_of(expected / np.outer(sds, sds))
    in_tfp = structure.tfp_factor(tf.constant(rho, tf.float64), k).numpy()
    np.testing.assert_allclose(sds[:, None] * in_tfp, factor, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_factor_is_smooth_from_no_correlation_to_all_one(power):
    pattern, k = Decaying("exp", POSITIONS, power), len(POSITIONS)

    def at(angle: np.ndarray) -> np.ndarray:
        return pattern.factor(float(np.sin(angle[0])), float(np.cos(angle[0])), k)

    for angle in (0.0, 0.3, 1.2):
        found = at(np.array([angle]))
        by = differences(at, np.array([angle]))[0]
        np.testing.assert_allclose(found[1:], by[:2], **CLOSE)
    np.testing.assert_allclose(at(np.array([0.0]))[0], np.eye(k), atol=1e-9)
    ones = at(np.array([np.pi / 2.0]))[0]
    np.testing.assert_array_equal(ones @ ones.T, np.ones((k, k)))


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    n = 120
    data = pd.DataFrame(
        {"g": np.arange(n) % 12, "t": rng.integers(0, 6, n) / 4.0, "x": rng.normal(size=n)}
    )
    field = rng.normal(size=(12, 6)).cumsum(axis=1)
    data["y"] = data["x"] + field[data["g"], (data["t"] * 4).astype(int)] + rng.normal(size=n)
    data["count"] = rng.poisson(np.exp(0.3 * data["y"]))
    return data


def test_equally_spaced_times_are_those_of_ar1_where_its_correlation_is_positive():
    ou = lf.fit("y ~ x + ou(0 + t | g)", rows(), **QUIET)
    ar1 = lf.fit("y ~ x + ar1(0 + factor(t) | g)", rows(), **QUIET)
    assert float(ou.loglik) == pytest.approx(float(ar1.loglik), abs=1e-7)
    values = dict(zip(ar1.param_names, ar1.param_values, strict=True))
    expected = -0.25 / np.log(values["cor(g)"])
    assert ou.param_values[list(ou.param_names).index("range(g)")] == pytest.approx(
        expected, rel=1e-4
    )
    interval = ou.confint(parm="range(g)").iloc[0]
    assert 0.0 < interval["lower"] < interval["estimate"] < interval["upper"]


def test_saved_rebuilt_and_explained(tmp_path):
    found = lf.fit("y ~ x + exp(0 + t + x | g, hom = TRUE)", rows().round(0), **QUIET)
    again = lf.load(found.save(tmp_path / "field.fit"))
    new = rows().round(0).iloc[:5]
    np.testing.assert_allclose(again.predict(new), found.predict(new), rtol=1e-12)
    with pytest.raises(lf.FormulaDataError, match="no row of the fit is at t, x = 77, 0"):
        again.predict(new.assign(t=77.0, x=0.0))
    assert "effects at each position of t and x" in found.formula.explain()
    assert "range(g) is" in str(found.summary())
    assert "R_{rs} = \\exp(-d_{rs}" in found.model.equation().latex


def test_monte_carlo_em_is_near_laplace_and_the_joint_is_finite():
    text = "count ~ x + ou(0 + t | g)"
    rng = np.random.default_rng(1)
    wave = np.sin(2.5 * rows()["t"] + rows()["g"])
    data = rows().assign(count=rng.poisson(np.exp(0.5 + 0.9 * wave)))
    laplace = lf.fit(text, data, "poisson", method="laplace", **QUIET)
    mcem = lf.fit(text, data, "poisson", method="mcem", tolerance=0.05, **QUIET)
    assert mcem.converged
    away = (mcem.param_values - laplace.param_values) / laplace.param_stderr
    np.testing.assert_allclose(away, 0.0, atol=0.3)


def test_a_correlation_of_one_is_a_bound():
    found = lf.fit("count ~ x + ou(0 + t | g)", rows(), "poisson", method="laplace", **QUIET)
    same = lf.fit(
        "count ~ x + ar1(0 + factor(t) | g)", rows(), "poisson", method="laplace", **QUIET
    )
    assert found.converged
    assert found.singular
    assert float(found.loglik) == pytest.approx(float(same.loglik), abs=1e-8)
    assert found.param_values[-1] == np.inf
    assert np.isnan(found.param_stderr[-1])


@pytest.mark.parametrize(
    ("term", "says"),
    [
        ("ou(0 + letter | g)", "ou.. needs numbers for coordinates"),
        ("exp(0 + wild | g)", "positions of wild, and exp.. takes 400"),
    ],
)
def test_refused(term, says):
    wide = pd.concat([rows()] * 12, ignore_index=True)
    wide = wide.assign(
        wild=np.arange(len(wide)) / 7.0, letter=np.array(list("uvw"))[np.arange(len(wide)) % 3]
    )
    with pytest.raises(lf.LmeFormulaError, match=says):
        lf.design(f"y ~ x + {term}", wide)


def test_a_gaussian_field_takes_more_positions_than_counts_do():
    """Of 150 positions its likelihood is that of dense algebra."""
    rng = np.random.default_rng(3)
    at = rng.uniform(0.0, 9.0, 150).round(3)
    data = pd.DataFrame({"t": np.tile(at, 2), "one": 1})
    data["y"] = np.sin(data["t"]) + 0.3 * rng.normal(size=len(data))
    found = lf.fit("y ~ 1 + exp(0 + t | one)", data, **QUIET)
    assert found.certificate.holds
    sd, scale, sigma = found.param_values[1:]
    apart = np.abs(data["t"].to_numpy()[:, None] - data["t"].to_numpy())
    V = sd**2 * np.exp(-apart / scale) + sigma**2 * np.eye(len(data))
    root = np.linalg.cholesky(V)
    left = np.linalg.solve(root, data["y"] - found.fixef.iloc[0])
    value = -0.5 * len(data) * np.log(2 * np.pi) - np.log(np.diag(root)).sum() - 0.5 * left @ left
    assert float(found.loglik) == pytest.approx(value, abs=1e-7)
    counts = data.assign(y=rng.poisson(1.0, len(data)))
    with pytest.raises(lf.ModelError, match="a poisson model takes 100"):
        lf.fit("y ~ 1 + exp(0 + t | one)", counts, "poisson", **QUIET)


def test_one_level_has_a_field_but_no_intercepts():
    data = rows().assign(one="all")
    assert lf.fit("y ~ x + exp(0 + t | one)", data, **QUIET).converged
    with pytest.raises(lf.FormulaDataError, match="only one level"):
        lf.fit("y ~ x + (1 | one)", data, **QUIET)
