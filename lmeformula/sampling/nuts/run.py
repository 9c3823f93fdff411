"""The no-U-turn sampler of TensorFlow Probability, with warm-up in windows: one program, compiled once.

TFP's windowed_adaptive_nuts takes a joint distribution, which flat priors are not, and learns scales alone.
Here the same parts are put together otherwise: its NoUTurnSampler in its DualAveragingStepSizeAdaptation, in
blocks of transitions of one size; between windows the root of the parameters' covariance and the scales of the
effects are brought up to date from the draws.

References: Hoffman, Gelman (2014), J. Mach. Learn. Res. 15, 1593-1623; Carpenter et al. (2017), J. Stat. Softw.
76(1), section 3 and Stan's reference manual for windows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from lmeformula.arrays import Floats, Tensor
from lmeformula.drawn import Effort, Stats
from lmeformula.em.cached_program import Kept
from lmeformula.em.recent import Recent
from lmeformula.sampling.nuts.target import Given, Metric, Target

with warnings.catch_warnings():
    # It is about products in less than float32, which these are not.
    warnings.filterwarnings("ignore", "TensorFloat-32", UserWarning)
    mcmc = tfp.mcmc.NoUTurnSampler and tfp.mcmc

# Transitions of one call of the program.
BLOCK = 25
# Shares of warm-up before and after the windows in which spreads are learned.
FIRST_SHARE, LAST_SHARE = 0.15, 0.1
# A covariance from n draws counts so, beside that of the fit as so many draws.
PRIOR_DRAWS = 10.0
# Energies that differ by more are divergent transitions, as in Stan.
LARGEST_ENERGY = 1000.0


class Pace(NamedTuple):
    """The state of the step size's dual averaging; see TFP's `DualAveragingStepSizeAdaptation`.

    Attributes:
      step_size: of the next transition.
      error_sum, log_averaging_step, log_shrinkage_target, step: as TFP has them.
    """

    step_size: Tensor
    error_sum: Tensor
    log_averaging_step: Tensor
    log_shrinkage_target: Tensor
    step: Tensor

    @classmethod
    def starting(cls, step_size: float) -> Pace:
        """At the start of a window."""
        one = np.asarray(step_size, float)
        return cls(one, np.zeros_like(one), np.zeros_like(one), np.log(10.0 * one), np.int32(0))


class Block(NamedTuple):
    """Successive transitions.

    Attributes:
      positions: (m, c, d + q) of the sampler.
      stats: (c, m) of each transition.
      coordinates: (m, c, d) of the parameters.
      effects: (m, c, l, k) of each term.
    """

    positions: Floats
    stats: Stats
    coordinates: Floats
    effects: tuple[Floats, ...]


class Run(NamedTuple):
    """What a run has.

    Attributes:
      coordinates: (c, m, d) of the parameters.
      effects: (c, m, l, k) of each term.
      stats: of the transitions.
      warmup_coordinates: (c, w, d) during warm-up.
      warmup_stats: of its transitions.
      was_interrupted: whether Ctrl-C has ended it early.
    """

    coordinates: Floats
    effects: tuple[Floats, ...]
    stats: Stats
    warmup_coordinates: Floats
    warmup_stats: Stats
    was_interrupted: bool = False


# Programs of this many structures are kept, those used last.
KEPT = 4
# By what they hang on but the shapes of their arguments.
kept_programs: Recent[Kept] = Recent(KEPT)


def program(target: Target, effort: Effort) -> Kept:
    """The compiled transitions of a target, or of one whose density is the same function of other data."""
    key = ("nuts", target.structure, effort.max_tree_depth, effort.target_acceptance)
    return kept_programs.get(key, lambda: _program(target, effort))


def _program(target: Target, effort: Effort) -> Kept:
    def run(w: Any, pace: Pace, last: Any, seed: Any, metric: Metric, given: Given) -> Any:
        inner = mcmc.NoUTurnSampler(
            lambda w: target.log_prob(w, metric, given),
            step_size=pace.step_size,
            max_tree_depth=effort.max_tree_depth,
            max_energy_diff=LARGEST_ENERGY,
        )
        kernel = mcmc.DualAveragingStepSizeAdaptation(
            inner,
            num_adaptation_steps=last,
            target_accept_prob=tf.constant(effort.target_acceptance, w.dtype),
        )
        first = kernel.bootstrap_results(w)
        first = first._replace(
            error_sum=[pace.error_sum],
            log_averaging_step=[pace.log_averaging_step],
            log_shrinkage_target=[pace.log_shrinkage_target],
            step=pace.step,
        )
        found = mcmc.sample_chain(
            BLOCK,
            current_state=w,
            previous_kernel_results=first,
            kernel=kernel,
            trace_fn=_told,
            return_final_kernel_results=True,
            seed=seed,
        )
        after = found.final_kernel_results
        return (
            found.all_states,
            found.trace,
            Pace(
                after.new_step_size,
                after.error_sum[0],
                after.log_averaging_step[0],
                after.log_shrinkage_target[0],
                after.step,
            ),
        )

    return Kept(run)


def _told(state: Tensor, results: Any) -> tuple[Tensor, ...]:
    """The statistics of one transition, (c,) each."""
    inner = results.inner_results
    return (
        inner.target_log_prob,
        -inner.energy,
        tf.exp(tf.minimum(inner.log_accept_ratio, 0.0)),
        tf.broadcast_to(inner.step_size, tf.shape(inner.energy)),
        tf.cast(inner.leapfrogs_taken, inner.energy.dtype),
        tf.cast(inner.reach_max_depth, inner.energy.dtype),
        tf.cast(inner.has_divergence, inner.energy.dtype),
    )


class Sampler:
    """Chains on their way.

    Args:
      target: the density.
      given: what it is of.
      effort: how much to draw.
      metric: where to start, and in what units.
      seed: of all random numbers.
    """

    def __init__(
        self, target: Target, given: Given, effort: Effort, metric: Metric, seed: int
    ) -> None:
        self.target, self.given, self.effort, self.metric = target, given, effort, metric
        self.program = program(target, effort)
        self.seed, self.calls = seed, 0
        random = np.random.default_rng([seed, 11])
        self.w = random.standard_normal((effort.num_chains, target.size))
        self.pace = Pace.starting(0.5 * target.size**-0.25)

    def advance(self, last: int) -> Block:
        """Make the next transitions, the step size tuned until the transition of that number."""
        seed = np.array([self.seed % 2**31, self.calls], np.int32)
        self.calls += 1
        w, told, pace = self.program(
            self.w, self.pace, np.int32(last), seed, self.metric, self.given
        )
        self.pace = Pace(*(np.asarray(part) for part in pace))
        positions = np.asarray(w, float)
        self.w = positions[-1]
        m, c, size = positions.shape
        there = self.target.unwhitened(
            tf.constant(positions.reshape(m * c, size).T), self.metric, self.given
        )
        coordinates = there.x.numpy().T.reshape(m, c, -1)
        effects = tuple(
            np.moveaxis(b.numpy(), -1, 0).reshape(m, c, *b.shape[:2]) for b in there.effects
        )
        stats = Stats(*(np.asarray(part).T for part in told))
        return Block(positions, stats, coordinates, effects)

    def learn(self, blocks: list[Block]) -> None:
        """Bring the metric up to date from a window's draws, the chains where they are."""
        d = self.target.coordinates.size
        before = self.metric
        x = np.concatenate([block.coordinates for block in blocks]).reshape(-1, d)
        z = np.concatenate([block.positions[:, :, d:] for block in blocks])
        z = z.reshape(len(x), -1) * np.asarray(before.scales)
        share = len(x) / (len(x) + PRIOR_DRAWS)
        covariance = share * np.atleast_2d(np.cov(x.T))
        root = np.asarray(before.root)
        covariance += (1.0 - share) * root @ root.T
        scales = np.sqrt(share * z.var(axis=0) + (1.0 - share) * np.asarray(before.scales) ** 2)
        try:
            new = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            return
        centre = x.mean(axis=0)
        last = blocks[-1].coordinates[-1]
        self.w = np.concatenate(
            [
                np.linalg.solve(new, (last - centre).T).T,
                self.w[:, d:] * np.asarray(before.scales) / scales,
            ],
            axis=1,
        )
        self.metric = Metric(centre, new, scales)
        self.pace = Pace.starting(float(self.pace.step_size))


def windows(num_warmup: int) -> list[int]:
    """The numbers of transitions of the windows of warm-up: multiples of a block, doubling in the middle.

    Example:
      >>> windows(1000), windows(200), windows(50), windows(0)
      ([150, 50, 100, 200, 400, 100], [25, 50, 100, 25], [50], [])
    """
    blocks = -(-num_warmup // BLOCK)
    if blocks < 4:
        return [blocks * BLOCK] if blocks else []
    first, last = (max(1, round(blocks * share)) for share in (FIRST_SHARE, LAST_SHARE))
    rest, size, middle = blocks - first - last, 2, []
    while rest > 0:
        size = rest if rest < 3 * size else size
        middle.append(size)
        rest, size = rest - size, 2 * size
    return [BLOCK * part for part in (first, *middle, last)]


def sample(
    target: Target,
    given: Given,
    effort: Effort,
    metric: Metric,
    seed: int,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> Run:
    """Draw.

    Args:
      target: the density.
      given: what it is of.
      effort: how much to draw.
      metric: where to start, and in what units.
      seed: of all random numbers.
      tell: told how many transitions of how many there were, now and then.
    """
    sampler = Sampler(target, given, effort, metric, seed)
    spans = windows(effort.num_warmup)
    total = sum(spans) + effort.num_draws
    warm: list[Block] = []
    for number, span in enumerate(spans):
        window = []
        for _ in range(span // BLOCK):
            window.append(sampler.advance(span))
            tell(len(warm) * BLOCK + len(window) * BLOCK, total)
        warm += [block._replace(effects=()) for block in window]
        # Of the first and last window the step size is all that is learned.
        if 0 < number < len(spans) - 1 or len(spans) == 1:
            sampler.learn(window)
    kept: list[Block] = []
    was_interrupted = False
    sampler.pace = sampler.pace._replace(step=np.int32(1))
    try:
        while len(kept) * BLOCK < effort.num_draws:
            kept.append(sampler.advance(0))
            tell(sum(spans) + len(kept) * BLOCK, total)
    except KeyboardInterrupt:
        if len(kept) < 2:
            raise
        was_interrupted = True
    m = min(effort.num_draws, len(kept) * BLOCK)
    x, effects, stats = _joined(kept, m)
    warm_x, _, warm_stats = _joined(warm, len(warm) * BLOCK)
    return Run(x, effects, stats, warm_x, warm_stats, was_interrupted)


def _joined(blocks: list[Block], count: int) -> tuple[Floats, tuple[Floats, ...], Stats]:
    """Coordinates (c, m, d), effects (c, m, l, k) and statistics (c, m) of the first transitions."""
    x = np.concatenate([block.coordinates for block in blocks])[:count].swapaxes(0, 1)
    effects = tuple(
        np.concatenate(parts)[:count].swapaxes(0, 1)
        for parts in zip(*(block.effects for block in blocks), strict=True)
    )
    stats = Stats(
        *(
            np.concatenate(parts, axis=1)[:, :count]
            for parts in zip(*(block.stats for block in blocks), strict=True)
        )
    )
    return np.ascontiguousarray(x), effects, stats
