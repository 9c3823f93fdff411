"""Hamiltonian Monte Carlo in whitened coordinates, several chains side by side, inside a compiled program.

References: Neal (2011), MCMC using Hamiltonian dynamics, Handbook of MCMC, chapter 5;
Hoffman and Gelman (2014), JMLR 15, section 3.2, for tuning the step size to an acceptance probability.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from lmeformula.em.types import Tensor

Density = Callable[[Tensor], tuple[Tensor, Tensor]]


class Chain(NamedTuple):
    """Where the chains are.

    Attributes:
      position: (q, c).
      value: (c,) log density there.
      gradient: (q, c) its gradient.
    """

    position: Tensor
    value: Tensor
    gradient: Tensor


class Transition(NamedTuple):
    """How one transition went.

    Attributes:
      acceptance: (c,) acceptance probabilities.
      diverged: (c,) whether the end's energy was not finite.
    """

    acceptance: Tensor
    diverged: Tensor


def start(density: Density, position: Tensor) -> Chain:
    """Evaluate the density where the chains start."""
    value, gradient = density(position)
    return Chain(position, value, gradient)


def transition(
    density: Density, seed: Tensor, chain: Chain, step_size: Tensor, num_leapfrog: int
) -> tuple[Chain, Transition]:
    """One Metropolis-adjusted leapfrog trajectory for each chain, with unit masses.

    Args:
      density: position (q, c) -> (log density (c,), gradient (q, c)).
      seed: (2,) integers.
      chain: where the chains are.
      step_size: () leapfrog step; jittered by up to a fifth, so that no coordinate keeps turning full circles.
      num_leapfrog: steps, at least 1.
    Returns:
      Where the chains are next, and how it went.
    """
    for_momentum, for_accept, for_jitter = tf.unstack(
        tf.random.experimental.stateless_split(seed, 3), num=3
    )
    dtype = chain.position.dtype
    momentum = tf.random.stateless_normal(tf.shape(chain.position), for_momentum, dtype=dtype)
    jitter = tf.random.stateless_uniform([], for_jitter, 0.8, 1.2, dtype=dtype)
    step = step_size * jitter
    energy = chain.value - 0.5 * tf.reduce_sum(momentum**2, axis=0)

    def leap(count: Tensor, position: Tensor, moving: Tensor) -> tuple[Tensor, ...]:
        # Only the gradient is used here, and the compiler drops the value: it is needed at the end alone.
        moving = moving + step * density(position)[1]
        return count + 1, position + step * moving, moving

    half = momentum + 0.5 * step * chain.gradient
    _, position, half = tf.while_loop(
        lambda count, *_: count < num_leapfrog,
        leap,
        (tf.constant(1), chain.position + step * half, half),
    )
    value, gradient = density(position)
    moved = half + 0.5 * step * gradient
    change = value - 0.5 * tf.reduce_sum(moved**2, axis=0) - energy
    diverged = ~tf.math.is_finite(change)
    change = tf.where(diverged, -tf.ones_like(change) * float("inf"), change)
    acceptance = tf.exp(tf.minimum(change, 0.0))
    uniform = tf.random.stateless_uniform(tf.shape(acceptance), for_accept, dtype=dtype)
    accepted = uniform < acceptance
    following = Chain(
        tf.where(accepted, position, chain.position),
        tf.where(accepted, value, chain.value),
        tf.where(accepted, gradient, chain.gradient),
    )
    return following, Transition(acceptance, diverged)


def tune(step_size: Tensor, acceptance: Tensor, target: float, rate: Tensor) -> Tensor:
    """Move the log step size towards the target acceptance probability, by stochastic approximation."""
    return step_size * tf.exp(rate * (tf.reduce_mean(acceptance) - target))
