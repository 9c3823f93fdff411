"""Families of the user's own, fitted: a built-in one written again, and one held to quadrature."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import tensorflow_probability as tfp

import lmeformula as lf
from tests.estimation.quadrature import Truth, climb, integrated

tfb, tfd = tfp.bijectors, tfp.distributions
GROUPS, ROWS, SD, SCALE = 40, 6, 0.8, 0.7


@cache
def my_gamma() -> lf.model.Family:
    return lf.Family(
        "my_gamma",
        lambda mu, shape: tfd.Gamma(shape, shape / mu),
        link="log",
        parameters={"shape": tfb.Exp()},
        support="positive",
    )


@cache
def gumbel() -> lf.model.Family:
    return lf.Family("gumbel", tfd.Gumbel, parameters={"scale": tfb.Exp()})


@cache
def data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    g, x = np.repeat(np.arange(GROUPS), ROWS), rng.normal(size=GROUPS * ROWS)
    eta = 0.4 + 0.7 * x + SD * rng.normal(size=GROUPS)[g]
    return {
        "g": g,
        "x": x,
        "time": rng.gamma(2.5, np.exp(eta) / 2.5),
        "most": rng.gumbel(eta, SCALE),
        "count": rng.poisson(np.exp(eta)),
        "yes": rng.uniform(size=len(x)) < 1 / (1 + np.exp(-eta)),
    }


@cache
def fitted(family: str, method: str) -> lf.Fit:
    record = {"my_gamma": my_gamma, "gumbel": gumbel}.get(family, lambda: family)()
    response = "most" if family == "gumbel" else "time"
    return lf.fit(
        f"{response} ~ x + (1 | g)", data(), record, method=method, seed=1, progress=False
    )


def gumbel_density(apart: np.ndarray) -> np.ndarray:
    return -apart - np.exp(-apart)


@cache
def truth() -> Truth:
    """The maximum of a Gumbel model by quadrature, its density written out."""
    g, x, y = data()["g"], data()["x"], data()["most"][:, None]

    def loglik(values: np.ndarray) -> float:
        def log_density(u: np.ndarray) -> np.ndarray:
            eta = (values[0] + values[1] * x)[:, None] + values[2] * u[g]
            total = np.zeros_like(u)
            np.add.at(total, g, gumbel_density((y - eta) / values[3]) - np.log(values[3]))
            return total

        return integrated(log_density, GROUPS, 41)

    # The climb is Newton's, and ends where it ends whatever it starts from nearby.
    return climb(loglik, fitted("gumbel", "laplace").param_values)


def test_a_built_in_family_written_again_has_its_laplace_fit():
    mine, known = fitted("my_gamma", "laplace"), fitted("gamma", "laplace")
    assert mine.converged
    assert mine.loglik.value == pytest.approx(known.loglik.value, abs=1e-7)
    np.testing.assert_allclose(mine.param_values, known.param_values, rtol=2e-6)
    np.testing.assert_allclose(mine.param_stderr, known.param_stderr, rtol=1e-4)
    assert mine.param_names == known.param_names


def test_a_built_in_family_written_again_has_its_monte_carlo_fit():
    mine, known = fitted("my_gamma", "mcem"), fitted("gamma", "mcem")
    assert mine.converged
    # The same seed draws the same: they differ by where the Laplace fit ended, and rounding.
    np.testing.assert_allclose(mine.param_values, known.param_values, rtol=1e-4)
    error = np.hypot(mine.loglik.mc_error, known.loglik.mc_error)
    assert abs(mine.loglik.value - known.loglik.value) < 4 * error


def test_what_follows_a_fit_is_that_of_the_built_in_family():
    mine, known = fitted("my_gamma", "laplace"), fitted("gamma", "laplace")
    new = {"g": [3, 5], "x": [0.2, -1.0]}
    for options in ({}, {"interval": "confidence"}, {"kind": "link"}):
        np.testing.assert_allclose(
            mine.predict(new, **options), known.predict(new, **options), rtol=1e-5
        )
    for kind in ("response", "pearson", "quantile"):
        np.testing.assert_allclose(
            mine.residuals(kind), known.residuals(kind), rtol=1e-4, atol=1e-5
        )
    np.testing.assert_allclose(mine.simulate(3, seed=2), known.simulate(3, seed=2), rtol=1e-5)
    ours, theirs = mine.confint("wald"), known.confint("wald")
    np.testing.assert_allclose(ours[["lower", "upper"]], theirs[["lower", "upper"]], rtol=1e-4)
    assert "my_gamma, log link" in str(mine.summary())
    assert "MyGamma(μ_i, shape)" in str(mine.model.equation())


def test_laplace_is_near_quadrature():
    found, true = fitted("gumbel", "laplace"), truth()
    assert np.abs((found.param_values - true.values) / true.stderr).max() < 0.1
    np.testing.assert_allclose(found.param_stderr, true.stderr, rtol=0.05)


def test_monte_carlo_is_at_quadrature():
    found, true = fitted("gumbel", "mcem"), truth()
    assert found.converged
    assert (found.param_mc_error < 0.02 * true.stderr).all()
    assert (np.abs(found.param_values - true.values) < 5 * found.param_mc_error).all()
    assert abs(found.loglik.value - true.loglik) < 5 * found.loglik.mc_error
    assert found.param_stderr_error is not None
    within = 5 * found.param_stderr_error + 1e-3 * true.stderr
    assert (np.abs(found.param_stderr - true.stderr) < within).all()


@pytest.mark.parametrize(
    ("response", "family", "known"),
    [
        ("count", {"distribution": tfd.Poisson, "link": "log", "support": "count"}, "poisson"),
        (
            "yes",
            {
                "distribution": lambda mu: tfd.Bernoulli(probs=mu),
                "link": "logit",
                "support": "binary",
            },
            "bernoulli",
        ),
    ],
)
def test_discrete_responses(response, family, known):
    mine = lf.Family("mine", **family)
    found, expected = (
        lf.fit(f"{response} ~ x + (1 | g)", data(), rule, method="laplace")
        for rule in (mine, known)
    )
    np.testing.assert_allclose(found.param_values, expected.param_values, atol=1e-5)
    assert found.loglik.value == pytest.approx(expected.loglik.value, abs=1e-7)
    residuals = found.residuals("quantile", seed=1), expected.residuals("quantile", seed=1)
    np.testing.assert_allclose(*residuals, atol=1e-4)


def test_a_saved_fit_takes_its_family_again(tmp_path):
    fit = fitted("gumbel", "laplace")
    path = fit.save(tmp_path / "fit.zip")
    with pytest.raises(lf.SavedFitError, match=r"gumbel\(identity\).*one of your own") as caught:
        lf.load(path)
    assert caught.match(r"lf\.load\(path, family=\.\.\.\)")
    other = lf.Family(
        "gumbel", lambda mu, spread: tfd.Gumbel(mu, spread), parameters={"spread": tfb.Exp()}
    )
    with pytest.raises(
        lf.SavedFitError, match="parameters scale, and the one that is given spread"
    ):
        lf.load(path, family=other)
    again = lf.load(path, family=gumbel())
    assert str(again.summary()) == str(fit.summary())
    new = {"g": [3, 5], "x": [0.2, -1.0]}
    np.testing.assert_array_equal(again.predict(new), fit.predict(new))
    np.testing.assert_array_equal(again.simulate(2, newdata=new), fit.simulate(2, newdata=new))


def test_single_precision(tmp_path):
    fit = lf.fit(
        "most ~ x + (1 | g)", data(), gumbel(), method="mcem", dtype="float32", progress=False
    )
    assert fit.converged
    error = np.hypot(fit.param_mc_error, fitted("gumbel", "mcem").param_mc_error)
    apart = np.abs(fit.param_values - fitted("gumbel", "mcem").param_values)
    assert (apart < 5 * error + 1e-4 * fit.param_stderr).all()


def test_other_links_and_bounds():
    family = lf.Family(
        "wave",
        lambda mu, power: tfd.Weibull(power, mu),
        link=tfb.Softplus(),
        parameters={"power": (0.5, 5.0)},
        support="positive",
    )
    fit = lf.fit("time ~ x + (1 | g)", data(), family, method="laplace")
    assert fit.converged
    low, high = fit.confint("wald").set_index("parameter").loc["power", ["lower", "upper"]]
    assert 0.5 < low < fit.family_params["power"] < high < 5.0
    assert fit.model.family.written == "wave(softplus)"
