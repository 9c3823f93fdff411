"""Densities written by hand, against maxima known otherwise: estimates, standard errors, reported errors."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import lmeformula as lf
from lmeformula.em import Options, Outcome, from_joint, from_log_joint, run
from tests.em import hand_written
from tests.em.hand_written import MODELS, Model, maximum

tfb, tfd = tfp.bijectors, tfp.distributions


def grouped(rows: int = 3) -> Model:
    """Gaussian groups with a centred prior: quick to compile, known in closed form."""
    rng = np.random.default_rng(11)
    y = 1.0 + 0.8 * rng.normal(size=(10, 1)) + rng.normal(size=(10, rows))
    given = tf.constant(y)

    def log_joint(p, u):
        prior = -0.5 * tf.reduce_sum((u * tf.exp(-p[1])) ** 2) - 10 * p[1]
        return prior - 0.5 * tf.reduce_sum((given - p[0] - u[:, None]) ** 2)

    def loglik(p):
        covariance = np.exp(2 * p[1]) + np.eye(rows)
        residual = y - p[0]
        squares = np.sum(residual * np.linalg.solve(covariance, residual.T).T)
        return float(-0.5 * (10 * np.linalg.slogdet(covariance)[1] + squares))

    return Model(log_joint, np.array([0.0, 0.0]), np.zeros(10), loglik)


def off(found, problem, model, start):
    """Distances to the maximum in standard errors, and in reported errors."""
    at, information = maximum(model, start)
    stderr = np.sqrt(np.diag(np.linalg.inv(information)))
    distance = problem.report(found.params)[0] - at
    return distance / stderr, distance / found.mc_error, stderr


@pytest.mark.parametrize(
    "start",
    [
        (5.0, 3.0),
        pytest.param((0.0, 0.0), marks=pytest.mark.slow),
        pytest.param((1.0, -3.0), marks=pytest.mark.slow),
    ],
)
def test_a_gaussian_density_is_exact_from_any_start(start):
    model = grouped()
    problem = from_log_joint(model.log_joint, list(start), model.latents, names=["mean", "log_sd"])
    found = run(problem, seed=1)
    assert (found.outcome, found.method) == (Outcome.CONVERGED, "dense")
    in_stderr, in_error, stderr = off(found, problem, model, found.params)
    assert (np.abs(in_stderr) < 1e-4).all()
    assert (np.abs(in_error) < 5).all()
    np.testing.assert_allclose(
        np.sqrt(np.diag(np.linalg.inv(found.information))), stderr, rtol=1e-3
    )
    # A second run finds its programs compiled, and another seed's answer is as good.
    again = run(problem, seed=2)
    assert again.num_traces == found.num_traces
    assert (np.abs(off(again, problem, model, again.params)[0]) < 1e-4).all()


SCHOOLS = {
    "zero mean": (tfb.Exp(), 1.0),
    "centred": (tfb.Exp(), 8.0),
    "non-centred": (tfb.Exp(), 0.1),
    "softplus": (tfb.Softplus(), 5.0),
}


@pytest.mark.parametrize(
    "case",
    [
        "zero mean",
        pytest.param("centred", marks=pytest.mark.slow),
        pytest.param("non-centred", marks=pytest.mark.slow),
        pytest.param("softplus", marks=pytest.mark.slow),
    ],
)
def test_eight_schools_end_at_a_standard_deviation_of_zero(case):
    y, stderr = hand_written.eight_schools()
    bijector, start = SCHOOLS[case]
    zero, one = tf.zeros([], tf.float64), tf.ones([], tf.float64)
    mu = tf.Variable(0.0, dtype=tf.float64, name="mu")
    tau = tfp.util.TransformedVariable(start, bijector, dtype=tf.float64, name="tau")
    prior, mean = {
        "centred": (tfd.Normal(mu, tau), lambda theta: theta),
        "non-centred": (tfd.Normal(zero, one), lambda theta: mu + tau * theta),
    }.get(case, (tfd.Normal(zero, tau), lambda theta: mu + theta))
    joint = tfd.JointDistributionNamed(
        {
            "theta": tfd.Sample(prior, 8),
            "y": lambda theta: tfd.Independent(tfd.Normal(mean(theta), stderr), 1),
        }
    )
    problem = from_joint(joint.experimental_pin(y=y), [mu, tau])
    found = run(problem)
    assert (found.outcome, found.method) == (Outcome.BOUNDARY, "dense")
    assert "tau" in str((found.held, found.without_information))
    values, jacobian = problem.report(found.params)
    errors = np.sqrt(np.diag(jacobian @ found.mc_covariance @ jacobian.T))
    weights = stderr**-2.0
    assert values[0] == pytest.approx(weights @ y / weights.sum(), abs=1e-3 * weights.sum() ** -0.5)
    # Not told from zero, and far below what the data could tell.
    assert 0.0 < values[1] < min(0.05, 1.5 * errors[1])
    assert errors[0] > 0.0


def test_a_parameter_without_information_is_named_and_has_no_error():
    y = tf.constant([1.0, 2.0, 4.0], tf.float64)

    def log_joint(p, u):  # only the sum of the first two parameters matters
        rows = (y - p[0] - p[1] - u) ** 2 + (p[2] - 3.0) ** 2
        return -0.5 * tf.reduce_sum(u**2 + rows)

    problem = from_log_joint(log_joint, [0.0, 0.5, 0.0], np.zeros(3), names=["a", "b", "c"])
    found = run(problem)
    assert found.outcome is Outcome.UNIDENTIFIED
    assert found.without_information == ("a", "b")
    assert np.isnan(found.mc_error[:2]).all()
    assert found.mc_error[2] > 0
    assert found.params[0] + found.params[1] == pytest.approx(7 / 3, abs=1e-4)
    assert found.params[2] == pytest.approx(3.0, abs=1e-4)


def test_a_large_density_that_is_not_gaussian_is_refused():
    n = 2000
    y = tf.constant(np.arange(n) % 2, tf.float64)

    def log_joint(p, u):
        eta = p[0] + tf.exp(p[1]) * u
        return tf.reduce_sum(y * eta - tf.math.softplus(eta)) - 0.5 * tf.reduce_sum(u**2)

    problem = from_log_joint(log_joint, [0.0, 0.0], np.zeros(n))
    with pytest.raises(lf.ModelError, match="2,000 latents, is not Gaussian in them") as caught:
        run(problem)
    assert "Write a larger one as a formula" in caught.value.hint


def large_groups(groups: int) -> Model:
    """Two crossed factors, of which one has few levels: y = mean + u[i] + v[j] + e."""
    rng = np.random.default_rng(12)
    few, n = 15, 4 * groups
    i, j = np.arange(n) % groups, rng.integers(0, few, n)
    y = 2.0 + 0.7 * rng.normal(size=groups)[i] + 0.5 * rng.normal(size=few)[j] + rng.normal(size=n)
    given = tf.constant(y)

    def log_joint(p, u):
        eta = p[0] + tf.gather(u["many"], i) + tf.gather(u["few"], j)
        prior = -0.5 * tf.reduce_sum((u["many"] * tf.exp(-p[1])) ** 2) - groups * p[1]
        prior += -0.5 * tf.reduce_sum((u["few"] * tf.exp(-p[2])) ** 2) - few * p[2]
        rows = -0.5 * tf.reduce_sum(((given - eta) * tf.exp(-p[3])) ** 2) - n * p[3]
        return prior + rows

    latents = {"many": np.zeros(groups), "few": np.zeros(few)}
    model = Model(log_joint, np.array([y.mean(), -0.7, -0.7, 0.0]), latents, lambda p: 0.0)
    return model, {"y": y, "i": i.astype(str), "j": j.astype(str)}


@pytest.mark.slow
def test_a_large_gaussian_density_by_products_alone():
    model, data = large_groups(2000)
    names = ["mean", "log_many", "log_few", "log_sigma"]
    problem = from_log_joint(model.log_joint, model.params, model.latents, names=names)
    fit = lf.fit("y ~ 1 + (1 | i) + (1 | j)", data, progress=False)
    right = np.concatenate([fit.fixef, np.log(fit.param_values[1:])])
    stderr = fit.param_stderr / np.append(1.0, fit.param_values[1:])
    distances = []
    for seed in range(8):
        found = run(problem, Options(tolerance=0.05), seed=seed)
        assert (found.outcome, found.method) == (Outcome.CONVERGED, "matrix-free")
        np.testing.assert_allclose(
            np.sqrt(np.diag(np.linalg.inv(found.information))), stderr, rtol=0.05
        )
        assert (found.mc_error < 0.06 * stderr).all()
        distances.append((found.params - right) / found.mc_error)
    # Errors from 24 probes or more: Student's t, hardly wider than normal.
    squares = np.sum(np.square(distances), axis=0)
    assert (squares < stats.chi2(8).ppf(1 - 1e-3) * 1.1).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_reported_errors_are_calibrated_over_seeds_and_starts(name):
    """Distances to the maximum, in reported errors, over seeds and two starts."""
    model = MODELS[name]()
    rng = np.random.default_rng(1)
    squared, largest = [], []
    at = None
    for start in (model.params, model.params + 0.5 * rng.normal(size=len(model.params))):
        problem = from_log_joint(model.log_joint, start, model.latents)
        for seed in range(6):
            found = run(problem, seed=seed)
            assert (found.outcome, found.method) == (Outcome.CONVERGED, "dense")
            if at is None:
                at, information = maximum(model, found.params)
                stderr = np.sqrt(np.diag(np.linalg.inv(information)))
            reported = np.sqrt(np.diag(np.linalg.inv(found.information)))
            np.testing.assert_allclose(reported, stderr, rtol=0.05)
            distance = found.params - at
            assert (np.abs(distance) < 0.06 * stderr).all()
            assert (found.mc_error > 0).all()
            squared.append((distance / found.mc_error) ** 2)
            largest.append(found.mc_error / stderr)
    # Each parameter's mean square over the 12 runs: chi-square, its reported variance from some 30 batches, and
    # a bound for all parameters at once.
    mean = np.mean(squared, axis=0)
    bound = stats.f(12, 30).ppf(1 - 1e-3 / len(at))
    assert (mean < bound).all()
    # The tolerance, and what a last step of a third of a standard error may leave.
    assert np.max(largest) < np.hypot(0.0101, 0.25 / 27)
