"""A fit's joint distribution: at the estimates, of its rows and of new ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf

rng = np.random.default_rng(3)
n = 60
ROWS = pd.DataFrame(
    {
        "x": rng.normal(size=n),
        "g": rng.permutation(np.arange(n) % 6).astype(str),
        "h": rng.permutation(np.arange(n) % 5).astype(str),
        "t": rng.integers(3, 9, n),
    }
)
EFFECT = rng.normal(size=6)[ROWS["g"].astype(int)]
ROWS["y"] = 1.0 + 0.5 * ROWS["x"] + EFFECT + 0.3 * rng.normal(size=n)
ROWS["count"] = rng.poisson(np.exp(0.5 + 0.5 * EFFECT))
ROWS["won"] = rng.binomial(ROWS["t"], 1 / (1 + np.exp(-EFFECT)))
ROWS["grade"] = pd.Categorical(np.digitize(EFFECT + rng.logistic(size=n), [-1, 1]), ordered=True)
CASES = {
    "gaussian": ("y ~ x + (x | g) + (1 | h)", {}),
    "singular": ("y ~ x + (x + h | g)", {}),
    "fixed sigma": ("y ~ x + (1 | g)", {"sigma": 0.3}),
    "poisson": ("count ~ x + (1 | g)", {"family": "poisson", "method": "laplace"}),
    "binomial": ("won | trials(t) ~ x + (1 | g)", {"family": "binomial", "method": "laplace"}),
    "cumulative": ("grade ~ x + (1 | g)", {"family": "cumulative", "method": "laplace"}),
}


@pytest.fixture(scope="module")
def fits():
    return {
        name: lf.fit(formula, ROWS, progress=False, **options)
        for name, (formula, options) in CASES.items()
    }


@pytest.mark.parametrize("case", CASES)
def test_its_variables_hold_the_estimates(fits, case):
    fit = fits[case]
    found = {name: np.asarray(v + 0.0) for name, v in fit.model.tfp_joint.variables.items()}
    beta = [v for name, v in found.items() if name == "intercept" or name.startswith("effect_")]
    np.testing.assert_allclose(beta, fit.fixef, rtol=1e-10)
    sds = np.sqrt(np.diag(fit.params.covariances[0]))
    np.testing.assert_allclose(np.atleast_1d(found["stddev_g"]), sds, rtol=1e-6, atol=2e-6)
    if "sigma" in found:
        assert float(found["sigma"]) == pytest.approx(fit.sigma, rel=1e-10)
    if "thresholds" in found:
        np.testing.assert_allclose(found["thresholds"], fit.params.own, rtol=1e-10)
    assert fit.joint is fit.model.joint
    assert np.isfinite(fit.joint.log_prob(fit.joint.sample(seed=2)))


def test_two_fits_of_a_model_have_their_own_and_the_model_keeps_its_start():
    model = lf.compile(lf.design("count ~ x + (1 | g)", ROWS), "poisson")
    start = float(model.tfp_joint.variables["intercept"])
    one = lf.estimate(model, method="laplace", progress=False)
    other = one.refit(ROWS["count"] + 3)
    values = [float(fit.model.tfp_joint.variables["intercept"]) for fit in (one, other)]
    assert values == pytest.approx([one.fixef.iloc[0], other.fixef.iloc[0]])
    assert float(model.tfp_joint.variables["intercept"]) == start


@pytest.mark.parametrize("case", ["gaussian", "singular", "poisson", "binomial"])
def test_new_rows_at_the_posterior_means_are_predicted(fits, case):
    fit, new = fits[case], ROWS.iloc[[3, 20, 41]]
    joint = fit.joint_for(new)
    parts, values = joint.sample_distributions(value=fit.joint_effects, seed=1)
    mean = parts[fit.model.tfp_joint.response].mean()
    if case == "binomial":
        mean = mean / new["t"].to_numpy()
    np.testing.assert_allclose(mean, fit.predict(new), rtol=1e-10)
    assert np.isfinite(joint.log_prob(values))


def test_new_levels_come_after_those_of_the_fit(fits):
    fit = fits["gaussian"]
    new = pd.DataFrame({"x": [0.0, 1.0, 2.0], "g": ["new", "0", "other"], "h": ["0", "1", "2"]})
    joint = fit.joint_for(new)
    assert joint.event_shape["g"] == (8, 2)
    assert joint.event_shape["h"] == (5,)
    effects = {**fit.joint_effects, "g": np.vstack([fit.joint_effects["g"], np.zeros((2, 2))])}
    parts, _ = joint.sample_distributions(value=effects, seed=1)
    expected = fit.predict(new, new_levels="population")
    np.testing.assert_allclose(parts["y"].mean(), expected, rtol=1e-10)


def test_the_posterior_predictive_has_the_spread_of_draws(fits):
    """Averaged over draws of the effects given the data, means and variances are those of predictions."""
    fit, new = fits["gaussian"], ROWS.iloc[[3, 20]]
    joint = fit.joint_for(new)
    g, h = fit.joint_effects["g"], fit.joint_effects["h"]
    draws = np.random.default_rng(1)
    many = 4000
    # Marginally exact, level by level; correlation between terms is left out, so only the mean is held.
    spread = np.linalg.cholesky(fit.mode_cov[0] + 1e-12 * np.eye(2))
    value = {
        "g": g + np.einsum("lij,mlj->mli", spread, draws.normal(size=(many, *g.shape))),
        "h": h + np.sqrt(fit.mode_cov[1][:, 0, 0]) * draws.normal(size=(many, *h.shape)),
    }
    parts, _ = joint.sample_distributions(value=value, seed=1)
    means = np.asarray(parts["y"].mean())
    assert means.shape == (many, 2)
    error = means.std(axis=0) / np.sqrt(many)
    assert (np.abs(means.mean(axis=0) - fit.predict(new)) < 5 * error).all()
