"""One iteration of Monte Carlo EM, E-step and M-step, as one compiled program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from lmeformula.em.estep import hmc
from lmeformula.em.mstep import adam, newton
from lmeformula.em.types import Info, Options, Problem, State, Tensor

# Monte Carlo errors come from the means of this many consecutive stretches of each chain.
NUM_BATCHES = 10
# The last draws of the watched latents are kept, in a ring of this length.
KEPT_DRAWS = 1000
# A fraction of observed information below this is taken for none: the parameter is not identified, or at
# its boundary.
LOWEST_FLOOR = 1e-3


class Control(NamedTuple):
    """What the host decides before each iteration; tensors, so that no value of it compiles again.

    Attributes:
      seed: (2,) int32.
      num_warmup: () int32 transitions that tune the step size and are thrown away.
      per_batch: () int32 draws per chain and batch; the iteration takes NUM_BATCHES times as many.
      floor: () least fraction of the complete information in the metric of the step.
      arrays: the Geometry's arrays.
      complete: (d, d) its complete information; zeros where the engine estimates it.
      observed: (d, d) its observed information; zeros where the engine estimates it.
    """

    seed: Tensor
    num_warmup: Tensor
    per_batch: Tensor
    floor: Tensor
    arrays: Any
    complete: Tensor
    observed: Tensor


class Sums(NamedTuple):
    """Sums over the draws of one iteration; see Info for the symbols."""

    controlled: Tensor  # (batches, d, c)
    raw: Tensor  # (batches, d, c)
    raw_products: Tensor  # (d, d)
    controlled_squares: Tensor  # (d,)
    information: Tensor  # (d, d)
    position: Tensor  # (q,)
    gradient: Tensor  # (q,)
    gradient_squares: Tensor  # (q,)
    position_gradient: Tensor  # (q,)
    latents: Tensor  # (q,)
    latent_squares: Tensor  # (q,)
    acceptance: Tensor  # ()
    divergences: Tensor  # ()
    draws: Tensor  # (m, w)
    excess: Tensor  # (m, c)


def build(
    problem: Problem, options: Options
) -> Callable[[Control, State, Any], tuple[State, Info]]:
    """Compile-ready iteration: (control, state, data) -> (state, info).

    Args:
      problem: the density.
      options: chains, leapfrog steps and M-step are built in; everything else arrives in Control.
    Returns:
      A tf.function, traced once for all iterations.
    """

    def iterate(control: Control, state: State, data: Any) -> tuple[State, Info]:
        # Scores are sums over the data at parameters that stay put during the E-step.
        params = state.params

        def density(position: Tensor) -> tuple[Tensor, Tensor]:
            return problem.density(params, position, control.arrays, data)

        for_warmup, for_draws = tf.unstack(
            tf.random.experimental.stateless_split(control.seed, 2), num=2
        )
        chain, step_size = _warm_up(density, for_warmup, state, control.num_warmup, options)
        chain, sums = _draw(
            problem, options, density, for_draws, chain, step_size, control, params, data
        )
        return _advance(problem, options, control, state, data, chain, step_size, sums)

    return tf.function(iterate, jit_compile=True, autograph=False)  # type: ignore[no-any-return]


def _warm_up(
    density: hmc.Density, seed: Tensor, state: State, num_warmup: Tensor, options: Options
) -> tuple[hmc.Chain, Tensor]:
    def body(count: Tensor, chain: hmc.Chain, step_size: Tensor) -> tuple[Tensor, ...]:
        fold = tf.random.experimental.stateless_fold_in(seed, count)
        chain, went = hmc.transition(density, fold, chain, step_size, options.num_leapfrog)
        # Later iterations go on where the last ended, with ever smaller changes.
        rate = tf.pow(1.0 + tf.cast(count + 20 * state.count, step_size.dtype), -0.6)
        return (
            count + 1,
            chain,
            hmc.tune(step_size, went.acceptance, options.target_acceptance, rate),
        )

    _, chain, step_size = tf.while_loop(
        lambda count, *_: count < num_warmup,
        body,
        (tf.constant(0), hmc.start(density, state.position), state.step_size),
    )
    return chain, step_size


def _draw(
    problem: Problem,
    options: Options,
    density: hmc.Density,
    seed: Tensor,
    chain: hmc.Chain,
    step_size: Tensor,
    control: Control,
    params: Tensor,
    data: Any,
) -> tuple[hmc.Chain, Sums]:
    d, c, q = len(problem.params), options.num_chains, len(problem.latents)
    dtype = params.dtype
    watched = tf.constant(options.watched, tf.int32)
    estimates_information = problem.geometry is None

    def draw(batch: Tensor, count: Tensor, chain: hmc.Chain, sums: Sums) -> tuple[Tensor, ...]:
        number = batch * control.per_batch + count
        fold = tf.random.experimental.stateless_fold_in(seed, number)
        chain, went = hmc.transition(density, fold, chain, step_size, options.num_leapfrog)
        raw, controlled = problem.score(
            params, chain.position, chain.gradient, control.arrays, data
        )
        controlled = controlled if options.control_variates else raw
        latents = problem.to_latents(chain.position, control.arrays, data)
        here = tf.one_hot(batch, NUM_BATCHES, dtype=dtype)[:, None, None]
        sums = sums._replace(
            controlled=sums.controlled + here * controlled,
            raw=sums.raw + here * raw,
            raw_products=sums.raw_products + tf.matmul(raw, raw, transpose_b=True),
            controlled_squares=sums.controlled_squares + tf.reduce_sum(controlled**2, axis=1),
            position=sums.position + tf.reduce_sum(chain.position, axis=1),
            gradient=sums.gradient + tf.reduce_sum(chain.gradient, axis=1),
            gradient_squares=sums.gradient_squares + tf.reduce_sum(chain.gradient**2, axis=1),
            position_gradient=sums.position_gradient
            + tf.reduce_sum(chain.position * chain.gradient, axis=1),
            latents=sums.latents + tf.reduce_sum(latents, axis=1),
            latent_squares=sums.latent_squares + tf.reduce_sum(latents**2, axis=1),
            acceptance=sums.acceptance + tf.reduce_mean(went.acceptance),
            divergences=sums.divergences + tf.reduce_sum(tf.cast(went.diverged, tf.int32)),
        )
        place = [[number % KEPT_DRAWS]]
        excess = chain.value + 0.5 * tf.reduce_sum(chain.position**2, axis=0)
        sums = sums._replace(excess=tf.tensor_scatter_nd_update(sums.excess, place, excess[None]))
        if options.watched:
            row = tf.gather(latents[:, 0], watched)[None]
            sums = sums._replace(draws=tf.tensor_scatter_nd_update(sums.draws, place, row))
        return batch, count + 1, chain, sums

    def take_draws(
        batch: Tensor, count: Tensor, end: Tensor, chain: hmc.Chain, sums: Sums
    ) -> tuple[hmc.Chain, Sums]:
        _, _, chain, sums = tf.while_loop(
            lambda batch, count, *_: count < end, draw, (batch, count, chain, sums)
        )
        return chain, sums

    # The complete information costs d further gradients: taken once in d draws it costs as much as the scores.
    stretch = tf.minimum(tf.constant(max(1, d)), control.per_batch)
    num_stretches = tf.cast((control.per_batch + stretch - 1) // stretch, dtype)

    def take_stretch(
        batch: Tensor, count: Tensor, chain: hmc.Chain, sums: Sums
    ) -> tuple[Tensor, ...]:
        end = tf.minimum(count + stretch, control.per_batch)
        chain, sums = take_draws(batch, count, end, chain, sums)
        assert problem.information is not None
        found = problem.information(params, chain.position, control.arrays, data)
        share = found / (NUM_BATCHES * num_stretches)
        return batch, end, chain, sums._replace(information=sums.information + share)

    def take_batch(batch: Tensor, chain: hmc.Chain, sums: Sums) -> tuple[Tensor, ...]:
        first = tf.constant(0)
        if estimates_information:
            _, _, chain, sums = tf.while_loop(
                lambda batch, count, *_: count < control.per_batch,
                take_stretch,
                (batch, first, chain, sums),
            )
        else:
            chain, sums = take_draws(batch, first, control.per_batch, chain, sums)
        return batch + 1, chain, sums

    def zeros(*shape: int) -> Tensor:
        return tf.zeros(shape, dtype)

    empty = Sums(
        controlled=zeros(NUM_BATCHES, d, c),
        raw=zeros(NUM_BATCHES, d, c),
        raw_products=zeros(d, d),
        controlled_squares=zeros(d),
        information=zeros(d, d),
        position=zeros(q),
        gradient=zeros(q),
        gradient_squares=zeros(q),
        position_gradient=zeros(q),
        latents=zeros(q),
        latent_squares=zeros(q),
        acceptance=zeros(),
        divergences=tf.constant(0),
        draws=zeros(KEPT_DRAWS if options.watched else 0, len(options.watched)),
        excess=zeros(KEPT_DRAWS, c),
    )
    _, chain, sums = tf.while_loop(
        lambda batch, *_: batch < NUM_BATCHES, take_batch, (tf.constant(0), chain, empty)
    )
    return chain, sums


def _advance(
    problem: Problem,
    options: Options,
    control: Control,
    state: State,
    data: Any,
    chain: hmc.Chain,
    step_size: Tensor,
    sums: Sums,
) -> tuple[State, Info]:
    dtype = state.params.dtype
    per_chain = tf.cast(control.per_batch * NUM_BATCHES, dtype)
    total = per_chain * options.num_chains
    batches = sums.controlled / tf.cast(control.per_batch, dtype)  # (batches, d, c) means
    raw_batches = sums.raw / tf.cast(control.per_batch, dtype)
    score = tf.reduce_mean(batches, axis=[0, 2])
    raw_score = tf.reduce_mean(raw_batches, axis=[0, 2])
    raw_covariance = sums.raw_products / total - raw_score[:, None] * raw_score[None, :]
    effective = _effective(raw_batches, tf.linalg.diag_part(raw_covariance), total)
    state, complete, observed = _information(
        problem, control, state, sums, raw_covariance, effective
    )
    # What is known of the observed information: all, or what its Monte Carlo noise cannot hide.
    one = tf.ones([], dtype)
    noise = 2.0 * tf.sqrt(2.0 / state.evidence) if problem.geometry is None else 0.0 * one
    least = tf.clip_by_value(noise, LOWEST_FLOOR * one, one)
    bent = newton.metric(complete, observed, least)
    distance = newton.step(bent, score)
    projected = tf.einsum("ij,bjc->bic", bent.inverse, batches - score[None, :, None])
    num_means = NUM_BATCHES * options.num_chains
    mc_covariance = tf.einsum("bic,bjc->ij", projected, projected) / (num_means * (num_means - 1))
    cautious = newton.metric(complete, observed, tf.maximum(control.floor, least))
    step, momentum = newton.step(cautious, score), state.momentum
    if options.mstep == "adam":
        step, momentum = adam.step(state.momentum, score, state.count, options.learning_rate)
    if problem.max_step is not None:
        step /= tf.maximum(one, tf.reduce_max(tf.abs(step) / tf.constant(problem.max_step, dtype)))
    variance = sums.controlled_squares / total - score**2
    latents_at = problem.to_latents(_mean_position(sums, total)[:, None], control.arrays, data)
    latent_mean = sums.latents / total
    info = Info(
        score=score,
        step=step,
        distance=distance,
        mc_covariance=mc_covariance,
        stderr=tf.sqrt(tf.linalg.diag_part(bent.inverse)),
        observed=bent.information,
        resolved=bent.fraction >= least,
        reduction=tf.linalg.diag_part(raw_covariance) / tf.maximum(variance, 1e-300),
        acceptance=sums.acceptance / per_chain,
        divergences=sums.divergences,
        rhat=_split_rhat(raw_batches, tf.linalg.diag_part(raw_covariance), per_chain),
        effective=effective,
        latent_mean=latents_at[:, 0],
        latent_variance=sums.latent_squares / total - latent_mean**2,
        draws=sums.draws,
        excess=sums.excess,
    )
    following = state._replace(
        params=state.params + step,
        position=chain.position,
        step_size=step_size,
        momentum=momentum,
        count=state.count + 1,
    )
    return following, info


def _information(
    problem: Problem,
    control: Control,
    state: State,
    sums: Sums,
    raw_covariance: Tensor,
    effective: Tensor,
) -> tuple[State, Tensor, Tensor]:
    """The complete and observed information: the host's, or Louis's from this and earlier iterations."""
    if problem.geometry is not None:
        return state, control.complete, control.observed
    # Earlier iterations were taken at other parameters: they count for less and less.
    past = 0.8 * state.evidence
    share = effective / (past + effective)
    complete = state.complete + share * (sums.information - state.complete)
    missing = state.missing + share * (raw_covariance - state.missing)
    complete = 0.5 * (complete + tf.transpose(complete))
    return (
        state._replace(complete=complete, missing=missing, evidence=past + effective),
        complete,
        complete - missing,
    )


def _mean_position(sums: Sums, total: Tensor) -> Tensor:
    """The mean position (q,), with the gradient as control variate: its expectation is zero.

    Coordinate by coordinate with the regression coefficient, which for a Gaussian posterior leaves no variance.
    """
    position, gradient = sums.position / total, sums.gradient / total
    covariance = sums.position_gradient / total - position * gradient
    variance = sums.gradient_squares / total - gradient**2
    return position - gradient * covariance / tf.maximum(variance, 1e-300)


def _effective(batches: Tensor, variance: Tensor, total: Tensor) -> Tensor:
    """The smallest effective number of draws over the scores, from batch means (batches, d, c)."""
    num_means = batches.shape[0] * batches.shape[2]
    mean = tf.reduce_mean(batches, axis=[0, 2], keepdims=True)
    of_means = tf.reduce_sum((batches - mean) ** 2, axis=[0, 2]) / (num_means - 1)
    ratio = variance / tf.maximum(of_means / num_means, 1e-300)
    return tf.clip_by_value(tf.reduce_min(ratio), tf.ones_like(total), total)


def _split_rhat(batches: Tensor, variance: Tensor, per_chain: Tensor) -> Tensor:
    """Split R-hat, the largest over the scores: between and within half-chains (Gelman et al. 2013, 11.4)."""
    half = batches.shape[0] // 2
    halves = tf.stack(
        [tf.reduce_mean(batches[:half], 0), tf.reduce_mean(batches[half:], 0)], axis=-1
    )
    halves = tf.reshape(halves, [batches.shape[1], -1])
    count = halves.shape[1]
    mean = tf.reduce_mean(halves, axis=1, keepdims=True)
    between = tf.reduce_sum((halves - mean) ** 2, axis=1) / (count - 1)
    length = per_chain / 2.0
    within = tf.maximum(variance - between * (count - 1) / count, 1e-300)
    return tf.reduce_max(tf.sqrt((length - 1.0) / length + between / within))
