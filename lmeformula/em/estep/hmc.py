"""Hamiltonian Monte Carlo in whitened coordinates, several chains side by side, inside a compiled program.

The integrator is split: a density close to N(0, I) leaves only the gradient of its ratio to N(0, I) as a force,
and between two kicks of that force position and momentum turn exactly as under N(0, I). The error of a step is
that of the ratio alone, so that a quarter of a turn, which makes two draws of a Gaussian independent, takes
two or three gradients in thousands of dimensions where plain leapfrog takes eight.

To first order in the force what the kicks add up to is its integral along the turn: with the weights 1/2, 1,
..., 1/2 by the trapezoidal rule, with 1/3, 4/3, 2/3, ..., 1/3 by Simpson's, at the same number of gradients.
Where the density is close to N(0, I) that leaves an error of the fourth order in the step.

References: Neal (2011), MCMC using Hamiltonian dynamics, Handbook of MCMC, chapter 5; Shahbaba, Lan, Johnson,
Neal (2014), Split Hamiltonian Monte Carlo, Stat. Comput. 24, 339-349; McLachlan (1995), BIT 35, 258-268, and
Laskar and Robutel (2001), Celest. Mech. Dyn. Astron. 80, 39-62, for other weights of the kicks; Hoffman and
Gelman (2014), JMLR 15, section 3.2, for tuning the step size to an acceptance probability.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from lmeformula.arrays import Tensor

Density = Callable[[Tensor], tuple[Tensor, Tensor]]

# A quarter of a turn: then the end has nothing to do with the start where the density is N(0, I).
PATH = 0.5 * math.pi


class Course(NamedTuple):
    """How a trajectory goes.

    Attributes:
      shortest: angle that it turns by at least, where that takes no more steps than are allowed.
      together: steps come in groups of so many: 1 or 2.
      first_kick: share of a step's two kicks that the first one has; in the second step of a pair the second.
    """

    shortest: float
    together: int
    first_kick: float


# Kicks by the trapezoidal rule, which stay stable where the density is nothing like N(0, I).
PLAIN = Course(PATH, 1, 0.5)
# By Simpson's rule, for coordinates that whiten. At the end of this shorter path a part of third degree has a
# correlation of .16 with its start, and what control variates leave of scores is of no lower one.
PAIRED = Course(1.0, 2, 1.0 / 3.0)
# Where tuning begins in coordinates that whiten: of two such steps a draw hardly remembers the one before.
FIRST_STEP = 0.7


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


def unseen(position: Tensor) -> Chain:
    """Chains where the density has not been evaluated, for a first transition that is thrown away.

    It goes as under N(0, I), which whitened positions follow closely, and is always accepted: the density need
    not be compiled a second time for the start alone.
    """
    value = tf.fill(tf.shape(position)[1:], 0.25 * position.dtype.min)
    return Chain(position, value, -position)


def num_steps(step_size: Tensor, most: int, course: Course = PLAIN) -> Tensor:
    """Steps () of at most `step_size` that make the shortest path, but not more than `most`."""
    groups = tf.math.ceil((course.shortest / step_size - 1e-3) / course.together)
    most_groups = float(max(1, most // course.together))
    return course.together * tf.cast(tf.clip_by_value(groups, 1.0, most_groups), tf.int32)


def transition(
    density: Density,
    seed: Tensor,
    chain: Chain,
    step_size: Tensor,
    most_steps: int,
    ranks: Tensor | None = None,
    course: Course = PLAIN,
) -> tuple[Chain, Transition]:
    """One Metropolis-adjusted trajectory for each chain, with unit masses, of up to a quarter of a turn.

    Args:
      density: position (q, c) -> (log density (c,), gradient (q, c)).
      seed: (2,) integers.
      chain: where the chains are.
      step_size: () longest step, an angle; jittered by up to a fifth, so that no coordinate keeps turning full
        circles.
      most_steps: steps, at least 1; a step size that asks for more gets a shorter path.
      ranks: (q,) see `momenta`; None where every coordinate moves.
      course: how trajectories go.
    Returns:
      Where the chains are next, and how it went.
    """
    for_momentum, for_accept, for_jitter = tf.unstack(
        tf.random.experimental.stateless_split(seed, 3), num=3
    )
    dtype = chain.position.dtype
    momentum = momenta(for_momentum, chain.position, ranks)
    jitter = tf.random.stateless_uniform([], for_jitter, 0.8, 1.2, dtype=dtype)
    steps = num_steps(step_size, most_steps, course)
    step = jitter * tf.minimum(step_size, PATH / tf.cast(steps, dtype))
    along, across = tf.cos(step), tf.sin(step)
    shares = tf.constant([course.first_kick, 1.0 - course.first_kick], dtype)
    energy = chain.value - 0.5 * tf.reduce_sum(momentum**2, axis=0)

    def move(count: Tensor, moving: Tensor, at: Chain) -> tuple[Tensor, ...]:
        # The force is the gradient of the log density plus |z|^2 / 2.
        share = tf.gather(shares, count % course.together)
        kick = share * step
        moving = moving + kick * (at.gradient + at.position)
        position = along * at.position + across * moving
        moving = along * moving - across * at.position
        value, gradient = density(position)
        moving = moving + (step - kick) * (gradient + position)
        return count + 1, moving, Chain(position, value, gradient)

    _, moved, end = tf.while_loop(
        lambda count, *_: count < steps, move, (tf.constant(0), momentum, chain)
    )
    change = end.value - 0.5 * tf.reduce_sum(moved**2, axis=0) - energy
    diverged = ~tf.math.is_finite(change)
    change = tf.where(diverged, -tf.ones_like(change) * float("inf"), change)
    acceptance = tf.exp(tf.minimum(change, 0.0))
    uniform = tf.random.stateless_uniform(tf.shape(acceptance), for_accept, dtype=dtype)
    accepted = uniform < acceptance
    following = Chain(*(tf.where(accepted, new, old) for new, old in zip(end, chain, strict=True)))
    return following, Transition(acceptance, diverged)


def momenta(seed: Tensor, position: Tensor, ranks: Tensor | None) -> Tensor:
    """Momenta (q, c) of the coordinates that move, the same whatever stands between them.

    Args:
      seed: (2,) integers.
      position: (q, c).
      ranks: (q,) the number of each coordinate among those that move; -1 of one that does not, which gets no
        momentum. None where all do.
    """
    if ranks is None:
        return tf.random.stateless_normal(tf.shape(position), seed, dtype=position.dtype)
    q, c = position.shape
    # Normal numbers are made in pairs: of an even number of rows, and then the first ones of any number of rows
    # are the same.
    drawn = tf.random.stateless_normal([q + q % 2, c], seed, dtype=position.dtype)
    moves = ranks[:, None] >= 0
    return tf.where(moves, tf.gather(drawn, tf.maximum(ranks, 0)), tf.zeros_like(position))


def tune(
    step_size: Tensor, acceptance: Tensor, target: float, rate: Tensor, course: Course = PLAIN
) -> Tensor:
    """Move the log step size towards the target acceptance probability, by stochastic approximation.

    Steps that together are longer than a quarter of a turn are of no use.
    """
    moved = step_size * tf.exp(rate * (tf.reduce_mean(acceptance) - target))
    return tf.minimum(moved, tf.cast(PATH / course.together, step_size.dtype))
