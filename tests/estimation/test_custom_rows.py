"""Families of the user's own with formulas, trials and weights: each a built-in one written by hand."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import lmeformula as lf
from lmeformula.family import family as built_in
from lmeformula.family import log_density
from lmeformula.family.predicted import with_predictors

tfb, tfd = tfp.bijectors, tfp.distributions
GROUPS, ROWS = 20, 12
NEW = {"g": [3, 5], "x": [0.2, -1.0], "z": [0.5, 0.1], "n": [4, 9], "w": [1.0, 2.0]}


def positive(*names: str) -> dict[str, tuple[float, float]]:
    return dict.fromkeys(names, (0, np.inf))


def zeros_inflated(mu, zi):
    none = tf.zeros_like(mu)
    return tfd.Inflated(tfd.Poisson(mu), inflated_loc_probs=zi + none, inflated_loc=none)


# A built-in family written by hand, by the name of that one and what is new in it.
BY_HAND = {
    "gaussian": {
        "distribution": lambda mu, sigma: tfd.Normal(mu, sigma),
        "parameters": positive("sigma"),
    },
    "gaussian, log sigma": {
        "distribution": lambda mu, log_sigma: tfd.Normal(mu, tf.exp(log_sigma)),
        "parameters": {"log_sigma": tfb.Identity()},
    },
    "beta": {
        "distribution": lambda mu, precision: tfd.Beta(mu * precision, (1 - mu) * precision),
        "link": "logit",
        "parameters": positive("precision"),
        "support": "unit",
        "start": {"precision": 10.0},
    },
    "nbinom2": {
        "distribution": lambda mu, dispersion: (
            tfd.NegativeBinomial.experimental_from_mean_dispersion(mu, 1 / dispersion)
        ),
        "link": "log",
        "parameters": positive("dispersion"),
        "support": "count",
    },
    "zero_inflated_poisson": {
        "distribution": zeros_inflated,
        "link": "log",
        "parameters": {"zi": (0, 1)},
        "support": "count",
    },
    "binomial": {
        "distribution": lambda mu, trials: tfd.Binomial(trials, probs=mu),
        "link": "logit",
        "support": "trials",
    },
    "beta_binomial": {
        "distribution": lambda mu, precision, trials: tfd.BetaBinomial(
            trials, mu * precision, (1 - mu) * precision
        ),
        "link": "logit",
        "parameters": {"precision": tfb.Softplus()},
        "support": "trials",
        "start": {"precision": 3.0},
    },
    "poisson": {"distribution": tfd.Poisson, "link": "log", "support": "count", "weights": True},
    "binomial, weighted": {
        "distribution": lambda mu, trials: tfd.Binomial(trials, probs=mu),
        "link": "logit",
        "support": "trials",
        "weights": True,
    },
    "gaussian, weighted": {
        "distribution": lambda mu, sigma: tfd.Normal(mu, sigma),
        "parameters": positive("sigma"),
        "weights": True,
    },
}


@cache
def mine(which: str) -> lf.model.Family:
    return lf.Family("my_" + which.partition(",")[0], **BY_HAND[which])


@cache
def data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    n = GROUPS * ROWS
    g, x, z = np.arange(n) % GROUPS, rng.normal(size=n), rng.normal(size=n)
    eta = 0.3 + 0.5 * x + 0.7 * rng.normal(size=GROUPS)[g]
    chance, size, trials = 1 / (1 + np.exp(-eta)), np.exp(1.5 + 0.4 * z), rng.integers(1, 12, n)
    shape = 2.0 * np.exp(0.4 * z)
    successes = rng.binomial(trials, rng.beta(4 * chance, 4 * (1 - chance)))
    return {
        "g": g,
        "x": x,
        "z": z,
        "n": trials,
        "w": rng.integers(1, 4, n).astype(float),
        "y": eta + np.exp(0.3 * z) * rng.normal(size=n),
        "share": np.clip(rng.beta(chance * size, (1 - chance) * size), 1e-4, 1 - 1e-4),
        "count": rng.negative_binomial(shape, shape / (shape + np.exp(eta))),
        "some": rng.poisson(np.exp(eta)) * (rng.uniform(size=n) < 1 / (1 + np.exp(-1 - z))),
        "s": successes,
        "f": trials - successes,
    }


def both(formula, known, which=None, **options):
    """Fits of the built-in family and of mine, whose formula may have another name for a parameter."""
    which = which or known
    own = formula
    if which == "gaussian, log sigma":
        own = {"mu": formula["mu"], "log_sigma": formula["sigma"]}
    if known == "zero_inflated_poisson":
        formula = {"mu": formula["mu"], "zero_probability": formula["zi"]}
    return (
        lf.fit(own, data(), mine(which), method="laplace", **options),
        lf.fit(formula, data(), known, method="laplace", **options),
    )


def check_alike(found, expected):
    assert found.converged
    assert found.loglik.value == pytest.approx(expected.loglik.value, abs=1e-8)
    assert found.loglik.df == expected.loglik.df
    np.testing.assert_allclose(found.param_values, expected.param_values, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.param_stderr, expected.param_stderr, rtol=1e-4)


# Formulas, the built-in family, and mine. What one of these shows the others do: they take a while to compile.
FITS = {
    "gaussian": ({"mu": "y ~ x + (1 | g)", "sigma": "~ z"}, "gaussian", None),
    "identity": ({"mu": "y ~ x + (1 | g)", "sigma": "~ z"}, "gaussian", "gaussian, log sigma"),
    "beta": ({"mu": "share ~ x + (1 | g)", "precision": "~ z"}, "beta", None),
    "nbinom2": ({"mu": "count ~ x + (1 | g)", "dispersion": "~ z + (1 | g)"}, "nbinom2", None),
    "inflated": ({"mu": "some ~ x + (1 | g)", "zi": "~ z"}, "zero_inflated_poisson", None),
    "columns": ("cbind(s, f) ~ x + (1 | g)", "binomial", None),
    "trials": ("s | trials(n) ~ x + (1 | g)", "beta_binomial", None),
}
SLOW = ("beta", "nbinom2", "inflated")


@cache
def fitted(case):
    return both(*FITS[case])


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=[pytest.mark.slow] * (c in SLOW)) for c in FITS]
)
def test_a_built_in_family_written_by_hand_has_its_fit(case):
    found, expected = fitted(case)
    check_alike(found, expected)
    if case not in ("identity", "inflated"):
        assert found.param_names == expected.param_names


# Predictors of rows, (K, n): the density of each, before anything is compiled.
DENSITIES = {
    "beta": ("share", "precision", "beta"),
    "nbinom2": ("count", "dispersion", "nbinom2"),
    "gaussian": ("y", "sigma", "gaussian"),
    "gaussian, log sigma": ("y", "log_sigma", "gaussian"),
    "zero_inflated_poisson": ("some", "zi", "zero_inflated_poisson"),
}


@pytest.mark.parametrize("which", DENSITIES)
def test_densities_with_several_predictors_are_those_of_the_built_in_family(which):
    response, own, known = DENSITIES[which]
    design = lf.design(f"{response} ~ 1 + (1 | g)", data())
    theirs = built_in(known)
    eta = tf.constant(np.random.default_rng(2).normal(size=(2, design.n, 1)))
    found = []
    for family, name in ((mine(which), own), (theirs, theirs.predicted[-1].name)):
        several = with_predictors(family, (name,))
        response_arrays = tuple(map(tf.constant, family.response(design)))
        with tf.GradientTape() as tape:
            tape.watch(eta)
            value = log_density(several, eta, response_arrays, ())
        found.append((value, tape.gradient(value, eta)))
    for ours, known_values in zip(*found, strict=True):
        np.testing.assert_allclose(ours, known_values, rtol=1e-8, atol=1e-8)


def test_what_follows_a_fit_with_formulas_is_that_of_the_built_in_family(tmp_path):
    found, expected = fitted("gaussian")
    for options in ({}, {"interval": "confidence"}, {"kind": "link"}):
        np.testing.assert_allclose(
            found.predict(NEW, **options), expected.predict(NEW, **options), rtol=1e-4, atol=1e-5
        )
    for kind in ("response", "pearson", "quantile"):
        np.testing.assert_allclose(found.residuals(kind), expected.residuals(kind), atol=1e-4)
    np.testing.assert_allclose(found.r2(), expected.r2(), rtol=1e-4)
    assert "my_gaussian, identity link; mu, sigma" in str(found.summary())
    assert "log(sigma_i) = effect_sigma_Intercept" in str(found.model.equation())
    effects = {part: tf.constant(values) for part, values in found.joint_effects.items()}
    given = {"y": tf.constant(data()["y"]), **effects}
    density = found.joint.log_prob(**given)
    np.testing.assert_allclose(density, expected.joint.log_prob(**given), atol=1e-4)
    again = lf.load(found.save(tmp_path / "fit.zip"), family=mine("gaussian"))
    np.testing.assert_array_equal(again.predict(NEW), found.predict(NEW))
    np.testing.assert_array_equal(again.simulate(2, newdata=NEW), found.simulate(2, newdata=NEW))
    assert str(again.summary()) == str(found.summary())


def test_what_follows_a_fit_of_successes_is_that_of_the_built_in_family(tmp_path):
    found, expected = fitted("trials")
    for kind in ("response", "pearson", "quantile"):
        np.testing.assert_allclose(
            found.residuals(kind, seed=1), expected.residuals(kind, seed=1), atol=1e-3
        )
    for options in ({}, {"interval": "prediction", "seed": 2}):
        np.testing.assert_allclose(
            found.predict(NEW, **options), expected.predict(NEW, **options), rtol=1e-4
        )
    np.testing.assert_array_equal(found.simulate(2, newdata=NEW), expected.simulate(2, newdata=NEW))
    assert "MyBetaBinomial(trials_i, μ_i, precision)" in str(found.model.equation())
    again = lf.load(found.save(tmp_path / "fit.zip"), family=mine("beta_binomial"))
    np.testing.assert_array_equal(again.simulate(2, newdata=NEW), found.simulate(2, newdata=NEW))


# A formula, mine, and the built-in family of the rows repeated.
WEIGHTED = {
    "poisson": ("count ~ x + (1 | g)", "poisson", "poisson"),
    "binomial": ("cbind(s, f) ~ x + (1 | g)", "binomial, weighted", "binomial"),
    "gaussian": ({"mu": "y ~ x + (1 | g)", "sigma": "~ z"}, "gaussian, weighted", "gaussian"),
}


@pytest.mark.parametrize("case", WEIGHTED)
def test_a_row_of_weight_w_counts_as_w_rows(case):
    formula, which, known = WEIGHTED[case]
    often = np.repeat(np.arange(GROUPS * ROWS), data()["w"].astype(int))
    repeated = {name: values[often] for name, values in data().items()}
    found = lf.fit(formula, data(), mine(which), method="laplace", weights="w")
    expected = lf.fit(formula, repeated, known, method="laplace")
    ways = lf.fit(formula, repeated, mine(which), method="laplace")
    # Each of the repeated rows has a binomial coefficient of its own, as the weighted one has so many times.
    check_alike(found, expected)
    check_alike(ways, expected)


def test_weighted_rows_have_the_joint_density_of_the_likelihood_and_draws_of_one():
    formula, which, known = WEIGHTED["poisson"]
    found = lf.fit(formula, data(), mine(which), method="laplace", weights="w")
    plain = lf.fit(formula, data(), known, method="laplace")
    effects = {part: tf.constant(values) for part, values in found.joint_effects.items()}
    y = tf.constant(data()["count"], tf.float64)
    apart = found.joint.log_prob(**effects, count=y) - found.joint.log_prob(
        **effects, count=tf.zeros_like(y)
    )
    eta = found.predict(kind="link").to_numpy()
    rows = tfd.Poisson(log_rate=tf.constant(eta))
    expected = data()["w"] @ np.asarray(rows.log_prob(y) - rows.log_prob(0.0))
    assert float(apart) == pytest.approx(expected, rel=1e-10)
    drawn = found.joint.sample(400, seed=1)
    means, effects_drawn = drawn["count"].numpy(), drawn["g"].numpy()[:, data()["g"]]
    fixed = found.predict(kind="link", re_form="NA").to_numpy()
    scores = (means - np.exp(fixed + effects_drawn)) / np.exp(0.5 * (fixed + effects_drawn))
    # Means of 96,000 standardized counts, whose variance is one whatever the weights are.
    assert abs(scores.mean()) < 5 / np.sqrt(scores.size)
    assert abs((scores**2).mean() - 1.0) < 5 * (scores**2).std() / np.sqrt(scores.size)
    assert "MyPoisson(μ_i)^weights_i" in str(found.model.equation())
    assert "weights" not in str(plain.model.equation())
    again = found.refit(found.simulate(1, seed=3)["sim_1"])
    assert again.converged


REFUSED = {
    "weights of counts": (
        ("count ~ x + (1 | g)", {"weights": "w"}, "nbinom2"),
        "does not take prior weights",
        "weights=True",
    ),
    "weights besides trials": (
        ("cbind(s, f) ~ x + (1 | g)", {"weights": "w"}, "binomial"),
        "my_binomial family takes prior weights for numbers of trials",
        "Leave the weights out",
    ),
    "shares of weights": (
        ("share ~ x + (1 | g)", {"weights": "w"}, "binomial, weighted"),
        "needs successes out of trials",
        "cbind",
    ),
    "numbers for successes": (
        ("y ~ x + (1 | g)", {}, "binomial"),
        "needs successes out of trials",
        "cbind",
    ),
    "trials for counts": (
        ("s | trials(n) ~ x + (1 | g)", {}, "nbinom2"),
        "needs counts",
        "support",
    ),
    "a formula of no parameter": (
        ({"mu": "count ~ x + (1 | g)", "phi": "~ z"}, {}, "nbinom2"),
        "no parameter 'phi'",
        "mu, dispersion",
    ),
    "a formula where there is none": (
        ({"mu": "count ~ x + (1 | g)", "phi": "~ z"}, {}, "poisson"),
        "no parameter 'phi'",
        "Write one formula, for mu",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_fitted_is_said(case):
    (formula, options, which), problem, cure = REFUSED[case]
    with pytest.raises(lf.ModelError, match=problem) as caught:
        lf.fit(formula, data(), mine(which), method="laplace", **options)
    assert cure in str(caught.value)


def test_built_in_families_do_not_ignore_weights_besides_trials():
    with pytest.raises(lf.ModelError, match="takes prior weights for numbers of trials"):
        lf.fit("cbind(s, f) ~ x + (1 | g)", data(), "binomial", weights="w", method="laplace")
