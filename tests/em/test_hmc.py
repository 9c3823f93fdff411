"""Hamiltonian Monte Carlo leaves its target as it is.

Chains side by side are independent given the step size. So tens of thousands of chains that start in the
target must be in it after any number of transitions, and their moments have exact Monte Carlo errors.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from lmeformula.em.estep import hmc

CHAINS = 20_000
SHAPES = np.array([0.7, 2.0, 9.0])


def normal(position):
    return -0.5 * tf.reduce_sum(position**2, axis=0), -position


def log_gamma(position):
    """x with exp(x) ~ Gamma(a): skew, with one light and one heavy tail."""
    a = tf.constant(SHAPES, position.dtype)[:, None]
    return tf.reduce_sum(a * position - tf.exp(position), axis=0), a - tf.exp(position)


def draw_normal(rng):
    return rng.normal(size=(3, CHAINS))


def draw_log_gamma(rng):
    return np.log(rng.gamma(SHAPES[:, None], size=(3, CHAINS)))


@tf.function(jit_compile=True)
def move(target: bool, position, seed, step_size, num_transitions, num_leapfrog: int, paired: bool):
    density, course = log_gamma if target else normal, hmc.PAIRED if paired else hmc.PLAIN

    def body(count, chain, acceptance):
        fold = tf.random.experimental.stateless_fold_in(seed, count)
        chain, went = hmc.transition(density, fold, chain, step_size, num_leapfrog, course=course)
        return count + 1, chain, acceptance + tf.reduce_mean(went.acceptance)

    _, chain, acceptance = tf.while_loop(
        lambda count, *_: count < num_transitions,
        body,
        (tf.constant(0), hmc.start(density, position), tf.constant(0.0, position.dtype)),
    )
    return chain, acceptance / tf.cast(num_transitions, position.dtype)


def moved(
    target,
    start,
    *,
    seed=0,
    step=0.9,
    transitions=12,
    leapfrog=3,
    dtype="float64",
    paired=False,
):
    chain, acceptance = move(
        target,
        tf.constant(start, dtype),
        tf.constant([seed, 1]),
        tf.constant(step, dtype),
        tf.constant(transitions),
        leapfrog,
        paired,
    )
    return hmc.Chain(*(np.asarray(part, float) for part in chain)), float(acceptance)


def check_moments(draws: np.ndarray, mean, variance, fourth) -> None:
    """Mean and variance within 4.5 standard errors of independent draws."""
    error = np.sqrt(variance / CHAINS)
    assert (np.abs(draws.mean(axis=1) - mean) < 4.5 * error).all()
    error = np.sqrt((fourth - variance**2) / CHAINS)
    assert (
        np.abs(((draws - np.reshape(mean, (-1, 1))) ** 2).mean(axis=1) - variance) < 4.5 * error
    ).all()


def check_log_gamma(draws: np.ndarray) -> None:
    variance = special.polygamma(1, SHAPES)
    fourth = special.polygamma(3, SHAPES) + 3 * variance**2
    check_moments(draws, special.digamma(SHAPES), variance, fourth)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("step", [0.3, 0.9, 1.6])
def test_normal_stays_normal(step, paired):
    start = draw_normal(np.random.default_rng(1))
    chain, acceptance = moved(False, start, step=step, paired=paired)
    # The integrator solves a normal density exactly.
    assert acceptance == pytest.approx(1.0)
    check_moments(chain.position, np.zeros(3), np.ones(3), 3 * np.ones(3))
    for row in chain.position:
        assert stats.kstest(row, "norm").pvalue > 1e-4
    # The chains have moved, and have not gone one way.
    for before, after in zip(start, chain.position, strict=True):
        assert np.abs(np.corrcoef(before, after)[0, 1]) < 0.6


@pytest.mark.parametrize(
    ("step", "leapfrog", "paired"),
    [(0.05, 3, False), (0.2, 3, False), (0.2, 4, True), (0.3, 2, True)],
)
def test_a_skew_target_stays(step, leapfrog, paired):
    start = draw_log_gamma(np.random.default_rng(2))
    chain, acceptance = moved(True, start, step=step, leapfrog=leapfrog, paired=paired)
    assert 0.3 < acceptance < 0.9999
    check_log_gamma(chain.position)
    for row, a in zip(chain.position, SHAPES, strict=True):
        assert stats.kstest(np.exp(row), "gamma", args=(a,)).pvalue > 1e-4


@pytest.mark.parametrize(
    ("step_size", "most", "expected"),
    [(2.0, 16, 1), (1.5708, 16, 1), (1.5, 16, 2), (0.2, 16, 8), (0.01, 16, 16), (0.5, 3, 3)],
)
def test_steps_make_a_quarter_of_a_turn(step_size, most, expected):
    assert int(hmc.num_steps(tf.constant(step_size, tf.float64), most)) == expected


@pytest.mark.parametrize(
    ("step_size", "most", "expected"),
    [
        (0.7, 16, 2),
        (0.5, 16, 2),
        (0.49, 16, 4),
        (0.2, 16, 6),
        (0.01, 16, 16),
        (0.1, 5, 4),
        (1, 1, 2),
    ],
)
def test_pairs_of_steps_make_a_shorter_path(step_size, most, expected):
    size = tf.constant(step_size, tf.float64)
    assert int(hmc.num_steps(size, most, hmc.PAIRED)) == expected


@pytest.mark.parametrize(("course", "order"), [(hmc.PLAIN, 2), (hmc.PAIRED, 4)])
def test_the_order_of_the_error_near_a_normal_density(course, order):
    """Of a density that is nearly N(0, I), the energy's error at half the step along the same path."""

    def nearly_normal(position):
        skew, slope = 1e-4 * tf.reduce_sum(position**3, axis=0), 3e-4 * position**2
        return skew - 0.5 * tf.reduce_sum(position**2, axis=0), slope - position

    chain = hmc.start(nearly_normal, tf.constant(draw_normal(np.random.default_rng(1))[:, :2000]))
    refused = []
    for halves in (1, 2):
        size = tf.constant(course.shortest / (2 * halves), tf.float64)
        _, went = hmc.transition(nearly_normal, tf.constant([1, 5]), chain, size, 16, course=course)
        refused.append(float(1.0 - tf.reduce_mean(went.acceptance)))
    assert np.log2(refused[0] / refused[1]) == pytest.approx(order, abs=0.4)


def test_the_check_notices_a_wrong_kernel(monkeypatch):
    """Without the accept step the leapfrog integrator's own error stays in the draws."""
    start = draw_log_gamma(np.random.default_rng(1))
    monkeypatch.setattr(
        hmc.tf.random,
        "stateless_uniform",
        lambda shape, seed, *limits, dtype: (
            tf.ones(shape, dtype) if limits else tf.zeros(shape, dtype) - 1.0
        ),
    )
    chain = hmc.start(log_gamma, tf.constant(start))
    for count in range(12):
        chain, _ = hmc.transition(
            log_gamma, tf.constant([count, 2]), chain, tf.constant(0.6, tf.float64), 3
        )
    with pytest.raises(AssertionError):
        check_log_gamma(np.asarray(chain.position))


def test_reaches_the_target_from_elsewhere():
    chain, _ = moved(False, np.full((3, CHAINS), 5.0), transitions=60)
    check_moments(chain.position, np.zeros(3), np.ones(3), 3 * np.ones(3))


def test_one_long_chain_by_its_effective_size():
    """Means along the chains, with the error that the effective number of draws gives them."""
    import tensorflow_probability as tfp

    @tf.function(jit_compile=True)
    def long_chain(position):
        length = 4000
        record = tf.TensorArray(position.dtype, length)

        def body(count, chain, record):
            fold = tf.random.experimental.stateless_fold_in(tf.constant([3, 4]), count)
            chain, _ = hmc.transition(log_gamma, fold, chain, tf.constant(0.4, tf.float64), 4)
            return count + 1, chain, record.write(count, chain.position)

        _, _, record = tf.while_loop(
            lambda count, *_: count < length,
            body,
            (tf.constant(0), hmc.start(log_gamma, position), record),
        )
        return record.stack()

    start = draw_log_gamma(np.random.default_rng(5))[:, :4]
    draws = long_chain(tf.constant(start))  # (4000, 3, 4)
    effective = tfp.mcmc.effective_sample_size(draws).numpy().sum(axis=1)
    assert (effective > 1000).all()
    mean = draws.numpy().mean(axis=(0, 2))
    error = np.sqrt(special.polygamma(1, SHAPES) / effective)
    assert (np.abs(mean - special.digamma(SHAPES)) < 4 * error).all()


def test_gradient_and_value_belong_to_the_position():
    chain, _ = moved(True, draw_log_gamma(np.random.default_rng(6)), transitions=3)
    value, gradient = log_gamma(tf.constant(chain.position))
    np.testing.assert_allclose(chain.value, value, rtol=1e-10)
    np.testing.assert_allclose(chain.gradient, gradient, rtol=1e-10)


def test_same_seed_same_bits():
    start = draw_normal(np.random.default_rng(1))
    first, again = (moved(False, start, seed=5)[0].position for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (moved(False, start, seed=6)[0].position != first).all()


def test_float32():
    chain, _ = moved(False, draw_normal(np.random.default_rng(1)), dtype="float32")
    check_moments(chain.position, np.zeros(3), np.ones(3), 3 * np.ones(3))


def test_divergent_trajectories_are_refused_and_counted():
    def half_line(position):
        value = tf.reduce_sum(tf.math.log(position) - position, axis=0)  # NaN below zero
        return value, 1.0 / position - 1.0

    start = np.random.default_rng(3).gamma(2.0, size=(2, 500))
    chain = hmc.start(half_line, tf.constant(start))
    chain, went = hmc.transition(
        half_line, tf.constant([1, 1]), chain, tf.constant(1.5, tf.float64), 4
    )
    diverged = np.asarray(went.diverged)
    assert 0 < diverged.sum() < 500
    assert not np.asarray(went.acceptance)[diverged].any()
    np.testing.assert_array_equal(np.asarray(chain.position)[:, diverged], start[:, diverged])
    assert np.isfinite(chain.value).all()


@pytest.mark.parametrize(
    ("acceptance", "direction"), [((0.9, 0.9), 1), ((0.2, 0.4), -1), ((0.7, 0.9), 0)]
)
def test_tuning_moves_towards_the_target(acceptance, direction):
    step = tf.constant(0.2, tf.float64)
    rate = tf.constant(0.5, tf.float64)
    found = float(hmc.tune(step, tf.constant(acceptance, tf.float64), 0.8, rate))
    assert found == pytest.approx(0.2 * np.exp(0.5 * (np.mean(acceptance) - 0.8)))
    assert np.sign(round(found - 0.2, 12)) == direction


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_first_transition_needs_no_density_at_the_start(dtype):
    """It is accepted wherever it ends, and leaves a chain that knows its density."""
    position = tf.constant(np.random.default_rng(2).normal(size=(3, 50)), dtype)
    chain, went = hmc.transition(
        log_gamma, tf.constant([1, 2]), hmc.unseen(position), tf.constant(0.9, dtype), 3
    )
    assert (went.acceptance.numpy() == 1.0).all()
    assert not went.diverged.numpy().any()
    assert (np.abs(chain.position - position).max(axis=0) > 0.01).all()
    value, gradient = log_gamma(chain.position)
    np.testing.assert_allclose(chain.value, value, rtol=1e-5)
    np.testing.assert_allclose(chain.gradient, gradient, rtol=1e-5, atol=1e-5)
