"""Sigma at zero, where effects alone account for the responses: a bound, however the model is coded."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

import lmeformula as lf
from lmeformula.likelihood.gaussian.no_residual import runs_away, without_limit, without_residual
from lmeformula.likelihood.gaussian.sums import sums

SLOPES = "y ~ 1 + (1 | g) + (0 + x | row)"


def rows(seed: int) -> pd.DataFrame:
    """Twelve rows whose deviations go with x: a slope of each row's own leaves nothing to sigma."""
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(4), 3), np.tile([0.1, 1.0, 3.0], 4)
    y = rng.normal(size=4)[g] + rng.normal(size=12) * x
    return pd.DataFrame({"y": y, "x": x, "g": g, "row": np.arange(12)})


def parts(data: pd.DataFrame, slopes: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The covariances that the groups' effects and the slopes have alone."""
    g = data["g"].to_numpy()
    return (g[:, None] == g).astype(float), np.diag((slopes * data["x"].to_numpy()) ** 2)


def test_the_likelihood_is_the_normal_density_without_sigma():
    data = rows(0)
    design = lf.fit(SLOPES, data, progress=False).model.design
    found = without_residual(sums(design), (np.eye(1), 0.25 * np.eye(1)), False)
    V = sum(parts(data, 0.5))
    inverse = np.linalg.inv(V)
    mean = float((inverse @ data["y"]).sum() / inverse.sum())
    assert found is not None
    right = stats.multivariate_normal.logpdf(data["y"], np.full(12, mean), V)
    assert found.value == pytest.approx(right, abs=1e-9)
    left = inverse @ (data["y"] - mean)
    assert found.rise == pytest.approx(left @ left / np.trace(inverse) - 1.0, abs=1e-9)


def test_of_a_singular_covariance_there_is_none():
    data = rows(0).assign(h=np.arange(12) % 3)
    design = lf.fit("y ~ 1 + (1 | g) + (1 | h)", data, progress=False).model.design
    assert without_residual(sums(design), (np.eye(1), np.eye(1)), False) is None


@pytest.mark.parametrize("reml", [False, True])
def test_it_ends_there_in_whatever_coding(reml):
    data = rows(0)
    coded = (
        (SLOPES, data),
        (SLOPES, data.assign(x=1e3 * data["x"])),
        (SLOPES, data.assign(y=1e-6 * data["y"])),
        (SLOPES, data.sample(frac=1.0, random_state=1)),
        ("y ~ 1 + (0 + x | row) + (1 | g)", data),
    )
    fits = [lf.fit(formula, given, reml=reml, progress=False) for formula, given in coded]
    for fit in fits:
        assert fit.outcome.name == "BOUNDARY"
        assert fit.certificate.holds
        assert fit.certificate["boundaries"].names == ("sigma",)
        assert np.isnan(fit.param_stderr[-1])
        assert "sigma at 0" in str(fit.summary())
    values, errors = fits[0].param_values[:-1], fits[0].param_stderr[:-1]
    for fit, unit in zip(fits[1:4], ([1.0, 1.0, 1e3], [1e6] * 3, [1.0] * 3), strict=True):
        np.testing.assert_allclose(fit.param_values[:-1] * unit, values, rtol=1e-4)
        np.testing.assert_allclose(fit.param_stderr[:-1] * unit, errors, rtol=1e-3)
    assert fits[0].loglik.value == pytest.approx(highest(data, reml), abs=1e-5)


def highest(data: pd.DataFrame, reml: bool) -> float:
    """The highest log-likelihood without sigma, by dense algebra and without derivatives."""
    y, one = data["y"].to_numpy(), np.ones(12)

    def deviance(logs: np.ndarray) -> float:
        groups, slopes = parts(data, np.exp(logs[1]))
        V = np.exp(2.0 * logs[0]) * groups + slopes
        weighted = np.linalg.solve(V, one)
        left = y - (weighted @ y) / (weighted @ one)
        value = np.linalg.slogdet(V)[1] + left @ np.linalg.solve(V, left)
        value += np.log(weighted @ one) if reml else 0.0
        return float(value + (12 - reml) * np.log(2.0 * np.pi))

    tight = {"xatol": 1e-8, "fatol": 1e-10}
    starts = ([0.0, 0.0], [-1.0, 0.0], [-5.0, 0.0])
    found = [optimize.minimize(deviance, s, method="Nelder-Mead", options=tight) for s in starts]
    return -0.5 * min(float(each.fun) for each in found)


def test_a_likelihood_without_limit_is_told_from_wherever_an_ascent_came():
    # Two effects in each of four groups and four slopes meet twelve rows whatever they are.
    columns = np.random.default_rng(1).normal(size=(4, 12))
    data = rows(0).assign(**{f"z{i}": column for i, column in enumerate(columns)})
    cross = sums(lf.design("y ~ 1 + z0 + z1 + z2 + z3 + (x | g)", data))
    covariances = (np.array([[1.0, 0.2], [0.2, 0.5]]),)
    assert all(runs_away(cross, covariances, sigma, False) for sigma in (1e-3, 1e-6, 1e-9))
    # Of contrasts every dimension has effects, and so has a likelihood a limit.
    assert not any(runs_away(cross, covariances, sigma, True) for sigma in (1.0, 1e-3, 1e-6))
    few = sums(lf.design("y ~ 1 + (x | g)", data))
    assert not any(runs_away(few, covariances, sigma, False) for sigma in (1.0, 1e-3, 1e-6))


def saturated(seed: int) -> dict:
    """Nine groups of twelve rows, and four columns besides: together they are all that twelve rows can show."""
    rng = np.random.default_rng(seed)
    g = np.array([0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8])
    return {
        "y": rng.normal(size=12) + 3.0 * rng.normal(size=9)[g],
        "x": rng.normal(size=12),
        "a": np.array(list("uvw"))[np.arange(12) % 3],
        "g": g,
        "h": g % 4,
    }


@pytest.mark.parametrize("seed", range(3))
def test_terms_that_meet_any_responses_have_no_maximum(seed):
    formula, data = "y ~ 1 + x + a + (1 | h) + (1 | g)", saturated(seed)
    fit = lf.fit(formula, data, progress=False)
    found = sums(fit.model.design)
    # Its groups miss three dimensions, in which four columns leave no residual.
    assert without_limit(found) == (1,)
    assert fit.outcome.name == "PERFECT_FIT"
    # Contrasts miss none: the restricted likelihood has a limit.
    assert lf.fit(formula, data, reml=True, progress=False).outcome.name != "PERFECT_FIT"
    # With a column less, a residual is left.
    assert without_limit(sums(lf.fit("y ~ a + (1 | g)", data, progress=False).model.design)) == ()


def test_errors_do_not_hang_on_the_order_of_the_rows():
    """More effects than rows: in another order derivatives at a sigma of zero have other roundings."""
    y = [-11.51, 0.545, 3.947, -9.521, 5.054, -7.796, -0.733, -0.577, 3.61, -11.499, -9.378, 2.729]
    data = pd.DataFrame(
        {
            "y": y,
            "x": [1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0],
            "h": [4, 0, 5, 2, 5, 1, 4, 1, 1, 3, 2, 4],
            "g": [1, 0, 2, 1, 2, 0, 0, 0, 2, 1, 1, 2],
            "k": [1, 2, 2, 1, 1, 0, 1, 2, 1, 0, 0, 2],
        }
    )
    formula, rng = "y ~ 1 + x + (1 + x | h) + (1 | g:k) + (1 + x | g)", np.random.default_rng(0)
    first = lf.fit(formula, data, progress=False)
    assert first.outcome is lf.Outcome.BOUNDARY
    fit = lf.fit(formula, data.iloc[rng.permutation(12)], progress=False)
    np.testing.assert_allclose(fit.param_stderr, first.param_stderr, rtol=1e-4)
