"""The E-step's two compiled programs: one draws latents, one works out scores at draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from lmeformula.arrays import Tensor
from lmeformula.em.estep import hmc
from lmeformula.em.padding import padding_of
from lmeformula.em.types import Evaluated, Options, Problem

# With fewer latents than these steps are long, and successive draws may as well have nothing in common.
MANY_LATENTS = 5_000


def course_of(problem: Problem) -> hmc.Course:
    """How the chains' trajectories go."""
    is_large = problem.geometry is not None and padding_of(problem).num_latents >= MANY_LATENTS
    return hmc.PAIRED if is_large else hmc.PLAIN


class Control(NamedTuple):
    """What the host decides before each call; tensors, so that no value of it compiles again.

    Attributes:
      seed: (2,) int32.
      first: () int32 number of the first transition, so that a later call goes on with other random numbers.
      num_warmup: () int32 transitions that tune the step size and are thrown away.
      num_draws: () int32 draws of each chain, at most the capacity.
      ranks: (q,) the number of each latent among those of the problem, see `hmc.momenta`.
      params: (d,) parameters.
      arrays: the Geometry's arrays.
    """

    seed: Tensor
    first: Tensor
    num_warmup: Tensor
    num_draws: Tensor
    ranks: Tensor
    params: Tensor
    arrays: Any


class Walk(NamedTuple):
    """Successive draws; those beyond num_draws are zeros.

    Attributes:
      positions: (capacity, q, c).
      values: (capacity, c) log density there.
      acceptance: (capacity, c) acceptance probabilities.
      diverged: (capacity, c) bool.
      step_size: () after warm-up.
      last: where the chains are then.
    """

    positions: Tensor
    values: Tensor
    acceptance: Tensor
    diverged: Tensor
    step_size: Tensor
    last: hmc.Chain


class Evaluation(NamedTuple):
    """What the problem's functions say at draws.

    Attributes:
      values: (capacity, c) log density.
      raw: (capacity, d, c) complete-data scores.
      controlled: (capacity, d, c) with control variates.
      latents: (q,) sum of the latents.
      latent_squares: (q,) sum of their squares.
      gradient: (q,) sum of the gradients.
      gradient_squares: (q,) sum of their squares.
      position_gradient: (q,) sum of position times gradient.
      position: (q,) sum of the positions.
      information: (d, d) sum of the complete-data information over the draws that it was worked out at; zeros
        where the problem brings its own.
      watched: (capacity, w) watched latents of the first chain.
    """

    values: Tensor
    raw: Tensor
    controlled: Tensor
    latents: Tensor
    latent_squares: Tensor
    gradient: Tensor
    gradient_squares: Tensor
    position_gradient: Tensor
    position: Tensor
    information: Tensor
    watched: Tensor


def information_stride(num_params: int) -> int:
    """The complete information costs d further gradients: once in d draws it costs as much as the scores."""
    return max(1, num_params)


def build_walk(problem: Problem, options: Options, capacity: int) -> Callable[..., Walk]:
    """The program that draws: (control, chain, step_size, data) -> Walk, to be compiled.

    Where the whitening is known a chain may be `hmc.unseen` before a warm-up; elsewhere its position is enough.
    """
    may_be_unseen = problem.geometry is not None
    is_padded = problem.padding is not None
    course = course_of(problem)

    def walk(control: Control, chain: hmc.Chain, step_size: Tensor, data: Any) -> Walk:
        def density(z: Tensor) -> tuple[Tensor, Tensor]:
            return problem.density(control.params, z, control.arrays, data)

        def body(
            number: Tensor, chain: hmc.Chain, size: Tensor, stores: tuple[Any, ...]
        ) -> tuple[Any, ...]:
            fold = tf.random.experimental.stateless_fold_in(control.seed, control.first + number)
            chain, went = hmc.transition(
                density,
                fold,
                chain,
                size,
                options.num_leapfrog,
                control.ranks if is_padded else None,
                course,
            )
            rate = tf.pow(1.0 + tf.cast(control.first + number, size.dtype), -0.6)
            tuned = hmc.tune(size, went.acceptance, options.target_acceptance, rate, course)
            is_tuning = number < control.num_warmup
            if may_be_unseen:
                # The first transition may have been accepted unseen.
                is_tuning &= number > 0
            size = tf.where(is_tuning, tuned, size)
            # Warm-up writes to the first place, which the first draw then takes.
            place = tf.maximum(number - control.num_warmup, 0)
            kept = (chain.position, chain.value, went.acceptance, went.diverged)
            stores = tuple(
                store.write(place, value) for store, value in zip(stores, kept, strict=True)
            )
            return number + 1, chain, size, stores

        position = chain.position
        first = chain if may_be_unseen else hmc.start(density, position)
        many = position.shape
        stores = tuple(
            tf.TensorArray(dtype, capacity, element_shape=shape, clear_after_read=False)
            for dtype, shape in (
                (position.dtype, many),
                (position.dtype, many[1:]),
                (position.dtype, many[1:]),
                (tf.bool, many[1:]),
            )
        )
        end = control.num_warmup + control.num_draws
        _, last, size, stores = tf.while_loop(
            lambda number, *_: number < end, body, (tf.constant(0), first, step_size, stores)
        )
        positions, values, acceptance, diverged = (store.stack() for store in stores)
        return Walk(positions, values, acceptance, diverged, size, last)

    return walk


def build_evaluate(problem: Problem, capacity: int) -> Callable[..., Evaluation]:
    """The program that evaluates draws: (params, arrays, positions, number, watched, data) -> Evaluation.

    To be compiled; `number` () is that of the draws, `watched` (w,) are places of latents. It works out the
    density that the walk had already: the scores share most of that, and draws from elsewhere need it.
    """
    stride = information_stride(len(problem.params))

    def one_by_one(params: Tensor, z: Tensor, arrays: Any, data: Any) -> Evaluated:
        value, gradient = problem.density(params, z, arrays, data)
        scores = problem.score(params, z, gradient, arrays, data)
        return Evaluated(value, gradient, scores, problem.to_latents(z, arrays, data))

    evaluated = one_by_one if problem.evaluated is None else problem.evaluated

    def evaluate(
        params: Tensor, arrays: Any, positions: Tensor, number: Tensor, watched: Tensor, data: Any
    ) -> Evaluation:
        d, q, dtype = len(problem.params), positions.shape[1], positions.dtype
        chains = positions.shape[2]

        def body(place: Tensor, sums: Evaluation) -> tuple[Any, ...]:
            z = positions[place]
            value, gradient, (raw, controlled), latents = evaluated(params, z, arrays, data)
            information = sums.information
            if problem.geometry is None:
                assert problem.information is not None
                needed = problem.information
                information += tf.cond(
                    place % stride == 0,
                    lambda: needed(params, z, arrays, data),
                    lambda: tf.zeros([d, d], dtype),
                )
            return place + 1, Evaluation(
                values=sums.values.write(place, value),
                raw=sums.raw.write(place, raw),
                controlled=sums.controlled.write(place, controlled),
                latents=sums.latents + tf.reduce_sum(latents, axis=1),
                latent_squares=sums.latent_squares + tf.reduce_sum(latents**2, axis=1),
                gradient=sums.gradient + tf.reduce_sum(gradient, axis=1),
                gradient_squares=sums.gradient_squares + tf.reduce_sum(gradient**2, axis=1),
                position_gradient=sums.position_gradient + tf.reduce_sum(z * gradient, axis=1),
                position=sums.position + tf.reduce_sum(z, axis=1),
                information=information,
                watched=sums.watched.write(place, tf.gather(latents[:, 0], watched)),
            )

        def store(*shape: int) -> Any:
            return tf.TensorArray(dtype, capacity, element_shape=shape, clear_after_read=False)

        none = tf.zeros([q], dtype)
        empty = Evaluation(
            values=store(chains),
            raw=store(d, chains),
            controlled=store(d, chains),
            latents=none,
            latent_squares=none,
            gradient=none,
            gradient_squares=none,
            position_gradient=none,
            position=none,
            information=tf.zeros([d, d], dtype),
            watched=store(watched.shape[0]),
        )
        _, found = tf.while_loop(lambda place, _: place < number, body, (tf.constant(0), empty))
        return Evaluation(
            *(part.stack() if isinstance(part, tf.TensorArray) else part for part in found)
        )

    return evaluate
