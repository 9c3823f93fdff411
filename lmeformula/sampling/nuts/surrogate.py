"""A distribution near a target's density, by its evidence lower bound (ELBO): variational inference.

The coordinates are the sampler's, in which the density is near N(0, I) about the fit that it starts from: the
first guess is that, and effects follow the parameters as the coordinates have them. So a normal distribution
there is none of parameters and effects themselves.

Parameters are bent besides, by Johnson's transformation: of them a standard normal number z is sinh(a z + e)
first, shifted and scaled to be z near zero, whose skew e and tails a are learned. The logarithm of a standard
deviation that may be zero has an exponential tail, of which a normal distribution knows nothing: its importance
ratios would be without bound. Those of a bent one, whose tails are those of a log-normal, are not.

Steps are Adam's, by the gradient of the ELBO from a few draws, without the part whose mean is zero: its noise
vanishes where the normal distribution is the density's own. What is kept is the mean over the last steps.

References: Kucukelbir, Tran, Ranganath, Gelman, Blei (2017), J. Mach. Learn. Res. 18(14); Roeder, Wu, Duvenaud
(2017), arXiv:1703.09194, for the gradient; Dhaka, Catalina, Andersen, Magnusson, Huggins, Vehtari (2020),
arXiv:2009.00666, for the mean over steps; Johnson (1949), Biometrika 36, 149-176, for the bend.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lmeformula.arrays import Floats, Tensor
from lmeformula.em.cached_program import Kept
from lmeformula.sampling.nuts.run import kept_programs
from lmeformula.sampling.nuts.target import Given, Metric, Target

# Steps of one call of the program, and draws of each.
STEPS, SAMPLES = 100, 16
# Lengths of steps, one after the other, and calls at each: at least, and at most.
RATES, LEAST_BLOCKS, MOST_BLOCKS = (0.05, 0.015, 0.004), 2, 30
# How much parameters are bent at first.
FIRST_BEND = 0.2
# Adam's own.
FIRST, SECOND, TINY = 0.9, 0.99, 1e-8
# Numbers of rows times draws that are worked out at a time.
CHUNK = 2**22
LOG_2PI = float(np.log(2.0 * np.pi))


class Free(NamedTuple):
    """What is learned.

    Attributes:
      mean: (d,).
      spread: (d,) logarithms of standard deviations; or (d, d): those on the diagonal, and below it the rest of
        the covariance's lower-triangular factor.
      skew: (p,) e of the parameters, which are the first coordinates.
      tails: (p,) logarithms of a.
    """

    mean: Tensor
    spread: Tensor
    skew: Tensor
    tails: Tensor


class Progress(NamedTuple):
    """Where the steps are: the numbers, both moments of their gradients, and how many steps there were."""

    free: Free
    first: Free
    second: Free
    count: Tensor


class Fitted(NamedTuple):
    """A distribution that was fitted.

    Attributes:
      free: its numbers.
      elbo: (b,) mean of each call's steps, up to a constant.
      has_settled: whether it no longer rises.
      was_interrupted: whether Ctrl-C has ended it early.
    """

    free: Free
    elbo: Floats
    has_settled: bool
    was_interrupted: bool = False


class Sample(NamedTuple):
    """Draws from it.

    Attributes:
      coordinates: (m, d) of the parameters.
      effects: (m, l, k) of each term.
      log_target: (m,) log density of parameters, unconstrained, effects and rows.
      log_ratios: (m,) of the target's density to the fitted one: their mean is the ELBO.
    """

    coordinates: Floats
    effects: tuple[Floats, ...]
    log_target: Floats
    log_ratios: Floats


def factored_metric(metric: Metric) -> Metric:
    """The same place and standard deviations, with all parameters by themselves."""
    sd = np.sqrt(np.square(np.asarray(metric.root)).sum(axis=1))
    return metric._replace(root=np.diag(sd))


def start_of(size: int, num_params: int, *, is_full: bool) -> Free:
    """N(0, I), or next to it."""
    spread = np.zeros((size, size) if is_full else size)
    return Free(
        np.zeros(size), spread, np.zeros(num_params), np.full(num_params, np.log(FIRST_BEND))
    )


def _factor(spread: Tensor) -> Tensor:
    """(d, d) lower-triangular factor."""
    strict = tf.linalg.band_part(spread, -1, 0) - tf.linalg.diag(tf.linalg.diag_part(spread))
    return strict + tf.linalg.diag(tf.exp(tf.linalg.diag_part(spread)))


def _moved(free: Free, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Draws (m, d) from noise (m, d), and their log densities (m,), in which the numbers are held."""
    held = Free(*(tf.stop_gradient(each) for each in free))
    p = free.skew.shape[0]
    bend, skew = tf.exp(free.tails), free.skew
    bent = (tf.sinh(bend * noise[:, :p] + skew) - tf.sinh(skew)) / (bend * tf.cosh(skew))
    bent = tf.concat([bent, noise[:, p:]], axis=1)
    if free.spread.shape.rank == 1:
        w = free.mean + tf.exp(free.spread) * bent
        back, logs = (w - held.mean) * tf.exp(-held.spread), held.spread
    else:
        w = free.mean + tf.linalg.matmul(bent, _factor(free.spread), transpose_b=True)
        moved = tf.transpose(w - held.mean)
        back = tf.transpose(tf.linalg.triangular_solve(_factor(held.spread), moved))
        logs = tf.linalg.diag_part(held.spread)
    # From what is bent to normal numbers, and the derivative of that.
    bend, skew = tf.exp(held.tails), held.skew
    inside = tf.asinh(bend * tf.cosh(skew) * back[:, :p] + tf.sinh(skew))
    normal = tf.concat([(inside - skew) / bend, back[:, p:]], axis=1)
    log_q = -0.5 * tf.reduce_sum(normal * normal, axis=1) - tf.reduce_sum(logs)
    log_q += tf.reduce_sum(tf.math.log(tf.cosh(skew) / tf.cosh(inside)), axis=1)
    return w, log_q - 0.5 * float(noise.shape[1]) * LOG_2PI


def program(target: Target, *, is_full: bool) -> Kept:
    """The compiled steps; see `nuts.run.program`."""
    return kept_programs.get(("vi", target.structure, is_full), lambda: _program(target))


def _program(target: Target) -> Kept:
    def run(at: Progress, rate: Tensor, seed: Tensor, metric: Metric, given: Given) -> Any:
        size = at.free.mean.shape[0]

        def step(number: Tensor, at: Progress, total: Free, values: Any) -> Any:
            key = tf.stack([seed[0], seed[1] + number])
            noise = tf.random.stateless_normal([SAMPLES, size], key, dtype=at.free.mean.dtype)
            with tf.GradientTape() as tape:
                tape.watch(list(at.free))
                w, log_q = _moved(at.free, noise)
                ratios = target.log_prob(w, metric, given) - log_q
                value = tf.reduce_mean(ratios)
            slopes = [_finite(each) for each in tape.gradient(value, list(at.free))]
            at = _adam(at, Free(*slopes), rate)
            total = Free(*(a + b for a, b in zip(total, at.free, strict=True)))
            return number + 1, at, total, values.write(number, value)

        nothing = Free(*(tf.zeros_like(each) for each in at.free))
        values = tf.TensorArray(at.free.mean.dtype, STEPS)
        _, at, total, values = tf.while_loop(
            lambda number, *_: number < STEPS,
            step,
            (tf.constant(0), at, nothing, values),
            maximum_iterations=STEPS,
        )
        return at, Free(*(each / STEPS for each in total)), values.stack()

    return Kept(run)


def _finite(slope: Tensor) -> Tensor:
    """A gradient without what overflowed."""
    return tf.where(tf.math.is_finite(slope), slope, tf.zeros_like(slope))


def _adam(at: Progress, slopes: Free, rate: Tensor) -> Progress:
    """A step up. Reference: Kingma, Ba (2015), arXiv:1412.6980."""
    count = at.count + 1.0
    first = [FIRST * a + (1.0 - FIRST) * b for a, b in zip(at.first, slopes, strict=True)]
    second = [SECOND * a + (1.0 - SECOND) * b**2 for a, b in zip(at.second, slopes, strict=True)]
    up, across = 1.0 - FIRST**count, 1.0 - SECOND**count
    free = [
        each + rate * (a / up) / (tf.sqrt(b / across) + TINY)
        for each, a, b in zip(at.free, first, second, strict=True)
    ]
    return Progress(Free(*free), Free(*first), Free(*second), count)


def fitted(target: Target, given: Given, metric: Metric, seed: int, *, is_full: bool) -> Fitted:
    """Fit a distribution to a target.

    Args:
      target: the density.
      given: what it is of.
      metric: the coordinates.
      seed: of all random numbers.
      is_full: whether with all covariances; else each coordinate by itself.
    """
    run = program(target, is_full=is_full)
    start = start_of(target.size, target.coordinates.size, is_full=is_full)
    nothing = Free(*(np.zeros_like(each) for each in start))
    at = Progress(start, nothing, nothing, np.zeros(()))
    best, calls, has_settled = start, 0, False
    told: list[float] = []
    try:
        for rate in RATES:
            values: list[tuple[float, float]] = []
            has_settled = False
            while len(values) < MOST_BLOCKS and not has_settled:
                key = np.array([seed % 2**31, calls * STEPS], np.int32)
                at, best, elbos = run(at, np.asarray(rate), key, metric, given)
                elbos = np.asarray(elbos)
                calls += 1
                values.append((float(elbos.mean()), float(elbos.var() / STEPS)))
                told.append(values[-1][0])
                has_settled = len(values) >= LEAST_BLOCKS and _is_level(values[-2], values[-1])
    except KeyboardInterrupt:
        if not told:
            raise
        return Fitted(_as_arrays(best), np.array(told), False, was_interrupted=True)
    return Fitted(_as_arrays(best), np.array(told), has_settled)


def _as_arrays(free: Free) -> Free:
    return Free(*(np.asarray(each, float) for each in free))


def _is_level(before: tuple[float, float], now: tuple[float, float]) -> bool:
    """Whether a mean is no longer above the one before it by more than their errors."""
    return bool(now[0] - before[0] < 2.0 * np.sqrt(before[1] + now[1]))


def sample(
    target: Target, given: Given, metric: Metric, free: Free, count: int, seed: int
) -> Sample:
    """Draw from a distribution that was fitted, with its importance ratios.

    Args:
      target, given, metric: as of `fitted`.
      free: the distribution.
      count: m.
      seed: of the draws.
    """
    noise = np.random.default_rng([seed, 12]).standard_normal((count, target.size))
    n = len(given.offset)
    at_a_time = max(1, CHUNK // max(n, target.size))
    parts = []
    for start in range(0, count, at_a_time):
        w, log_q = _moved(
            Free(*map(tf.constant, free)), tf.constant(noise[start : start + at_a_time])
        )
        there = target.unwhitened(tf.transpose(w), metric, given)
        log_target = target.log_prob(w, metric, given) - 0.5 * target.num_effects * LOG_2PI
        parts.append(
            (
                there.x.numpy().T,
                tuple(np.moveaxis(b.numpy(), -1, 0) for b in there.effects),
                log_target.numpy(),
                log_q.numpy(),
            )
        )
    x, effects, log_target, log_q = zip(*parts, strict=True)
    # The density is that of unconstrained parameters and spherical effects; the fitted one of w.
    unit = np.log(np.diag(metric.root)).sum() + np.log(np.asarray(metric.scales)).sum()
    whole = np.concatenate(log_target)
    return Sample(
        np.concatenate(x),
        tuple(np.concatenate(each) for each in zip(*effects, strict=True)),
        whole,
        whole + unit - np.concatenate(log_q),
    )
